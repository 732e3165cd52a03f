"""Addresses, prefixes and ports, as keys and their users write them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from tcpao_fast.errors import InvalidArgumentError

if TYPE_CHECKING:
    pass

Network = IPv4Network | IPv6Network
AddressLike = str | IPv4Address | IPv6Address | Network | None
PortsLike = int | Sequence[int] | None
Ports = tuple[int, int]
Address = IPv4Address | IPv6Address
AddressAndPort = tuple[str | Address, int]


def is_within(address: bytes, port: int, network: AddressLike, ports: PortsLike) -> bool:
    """Whether an endpoint (4 or 16 bytes, port) is of a network and a range of ports."""
    if isinstance(ports, tuple) and not ports[0] <= port <= ports[1]:
        return False
    if not isinstance(network, Network):
        return True
    found = ip_address(address)
    return found.version == network.version and found in network


def is_int(value: object, low: int, high: int) -> bool:
    """Whether a value is an integer (no bool) within both ends."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def as_network(value: AddressLike) -> Network | None:
    """An address or prefix as a network; IPv4-mapped IPv6 becomes IPv4.

    Raises
    ------
    TypeError, ValueError
        What is wrong, for behind the name of a field.
    """
    if value is None:
        return None
    if not isinstance(value, (str, IPv4Address, IPv6Address, IPv4Network, IPv6Network)):
        raise TypeError(f"is {value!r}; it must be an address or a prefix")
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(
            f"{error} (an address, or a prefix without bits beyond its length)"
        ) from None
    if network.version == 6 and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def as_ports(value: PortsLike) -> Ports | None:
    """A port or a range as a range.

    Raises
    ------
    ValueError
        What is wrong, for behind the name of a field.
    """
    if value is None:
        return None
    wrong = ValueError(f"is {value!r}; it must be a port or an inclusive range within 0 to 65535")
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value, value)
    if isinstance(value, (str, bool, int)):
        raise wrong
    try:
        low, high = value
    except (TypeError, ValueError):
        raise wrong from None
    if not is_int(low, 0, 65535) or not is_int(high, low, 65535):
        raise wrong
    return low, high


def networks_overlap(a: AddressLike, b: AddressLike) -> bool:
    """Whether two networks share an address; None is any."""
    if isinstance(a, IPv4Network) and isinstance(b, IPv4Network):
        return a.overlaps(b)
    if isinstance(a, IPv6Network) and isinstance(b, IPv6Network):
        return a.overlaps(b)
    return a is None or b is None


def ports_overlap(a: PortsLike, b: PortsLike) -> bool:
    """Whether two ranges share a port; None is any."""
    if not isinstance(a, tuple) or not isinstance(b, tuple):
        return True
    return bool(a[0] <= b[1] and b[0] <= a[1])


def endpoint(value: AddressAndPort, name: str = "endpoint") -> tuple[Address, int]:
    """An (address, port) pair, checked; IPv4-mapped IPv6 becomes IPv4.

    Raises
    ------
    InvalidArgumentError
    """
    try:
        text, port = value
        address = ip_address(text)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{name} is {value!r}; it must be an (address, port) pair: {error}"
        ) from None
    if not is_int(port, 0, 65535):
        raise InvalidArgumentError(f"{name} has port {port!r}; it must be 0 to 65535")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, port


def single_address(value: object) -> str | None:
    """A network of one address as that address."""
    if isinstance(value, Network) and value.num_addresses == 1:
        return str(value.network_address)
    return None


def network_text(value: object) -> str:
    """A network, without a length that says one address."""
    return single_address(value) or str(value)


def side_text(network: object, ports: object, unset: str) -> str:
    """One side of a key for people: its addresses (`unset` where it names none), and its ports."""
    text = unset if network is None else network_text(network)
    if isinstance(ports, (tuple, list)):
        text += f" port {ports[0]}" + (f"-{ports[1]}" if ports[1] != ports[0] else "")
    return text
