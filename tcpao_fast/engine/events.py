"""What happens to segments, one by one: Linux's trace points, to a callback or to `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.keys.addresses import Address, AddressLike, as_network

#: Linux's trace points (``include/trace/events/tcp.h``).
EVENTS = (
    "tcp_hash_bad_header",
    "tcp_hash_md5_required",
    "tcp_hash_md5_unexpected",
    "tcp_hash_md5_mismatch",
    "tcp_hash_ao_required",
    "tcp_ao_handshake_failure",
    "tcp_ao_wrong_maclen",
    "tcp_ao_mismatch",
    "tcp_ao_key_not_found",
    "tcp_ao_rnext_request",
    "tcp_ao_synack_no_key",
    "tcp_ao_snd_sne_update",
    "tcp_ao_rcv_sne_update",
)

logger = logging.getLogger("tcpao_fast.events")

_FLAGS = ((0x01, "F"), (0x02, "S"), (0x04, "R"), (0x08, "P"), (0x10, "."))


@dataclass(frozen=True, slots=True)
class Event:
    """One trace point that was passed.

    Attributes
    ----------
    name : str
        One of `EVENTS`.
    source, destination : address
    source_port, destination_port : int
    vrf : int
        Linux's ``l3index``.
    flags : str
        As Linux and tcpdump write them: letters of ``FSRP.``
    key_id, rnext_key_id, mac_length : int or None
        Of the segment's TCP-AO option. With ``tcp_ao_rnext_request`` the KeyID is the SendID of
        the own current_key, as in Linux.
    sne : int or None
        The new SNE, of the two ``_sne_update`` events.
    state : str or None
        The endpoint's state; None from an `Engine`.
    """

    name: str
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    vrf: int = 0
    flags: str = ""
    key_id: int | None = None
    rnext_key_id: int | None = None
    mac_length: int | None = None
    sne: int | None = None
    state: str | None = None

    def __str__(self) -> str:
        parts = [
            self.name,
            f"src={_endpoint(self.source, self.source_port)}",
            f"dest={_endpoint(self.destination, self.destination_port)}",
            f"l3index={self.vrf}",
            f"[{self.flags}]",
        ]
        parts += [
            f"{label}={value}"
            for label, value in (
                ("keyid", self.key_id),
                ("rnext", self.rnext_key_id),
                ("maclen", self.mac_length),
                ("sne", self.sne),
                ("state", self.state),
            )
            if value is not None
        ]
        return " ".join(parts)


def _endpoint(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def flag_letters(flags: int) -> str:
    """TCP flags in letters."""
    return "".join(letter for bit, letter in _FLAGS if flags & bit)


class Tracer:
    """Where events go, and which.

    Parameters
    ----------
    callback : callable, optional
        Takes an `Event`. Without one, events become records of the logger ``tcpao_fast.events``,
        level INFO, with the event as the record's ``event``.
    names : iterable of str, optional
        Only these events.
    address, source, destination : address or prefix, optional
        Only segments with either end, with the source, with the destination there.
    port, source_port, destination_port : int, optional
        Likewise.
    version : int, optional
        Only segments over IPv4 (4) or IPv6 (6).
    flags : str, optional
        Only segments with all these TCP flags, as ``"S."``.
    key_id, rnext_key_id, mac_length, vrf : int, optional
        Only segments with this KeyID, RNextKeyID, MAC length, of this VRF.

    Raises
    ------
    InvalidArgumentError
        A name that is no event, or an address that is none.

    Examples
    --------
    >>> seen = []
    >>> trace = Tracer(seen.append, names=["tcp_ao_mismatch"], address="10.0.0.0/8")
    """

    def __init__(
        self,
        callback: Callable[[Event], object] | None = None,
        *,
        names: Iterable[str] | None = None,
        address: AddressLike = None,
        source: AddressLike = None,
        destination: AddressLike = None,
        port: int | None = None,
        source_port: int | None = None,
        destination_port: int | None = None,
        version: int | None = None,
        flags: str = "",
        key_id: int | None = None,
        rnext_key_id: int | None = None,
        mac_length: int | None = None,
        vrf: int | None = None,
    ) -> None:
        self._callback = callback
        self._names = frozenset(EVENTS if names is None else names)
        unknown = sorted(self._names - set(EVENTS))
        if unknown:
            raise InvalidArgumentError(
                f"there is no event {unknown[0]!r}; there are {', '.join(EVENTS)}"
            )
        wrong = sorted(set(flags) - {letter for _, letter in _FLAGS})
        if wrong:
            raise InvalidArgumentError(f"flags: {wrong[0]!r} is no flag; FSRP. are")
        networks = {}
        for name, value in (
            ("address", address),
            ("source", source),
            ("destination", destination),
        ):
            try:
                networks[name] = as_network(value)
            except (TypeError, ValueError) as error:
                raise InvalidArgumentError(f"{name}: {error}") from None
        self._ends = (
            (networks["address"], port, True, True),
            (networks["source"], source_port, True, False),
            (networks["destination"], destination_port, False, True),
        )
        self._flags = frozenset(flags)
        self._version = version
        self._equal = [
            (name, value)
            for name, value in (
                ("key_id", key_id),
                ("rnext_key_id", rnext_key_id),
                ("mac_length", mac_length),
                ("vrf", vrf),
            )
            if value is not None
        ]

    def wants(self, name: str) -> bool:
        """Whether events of that name can pass at all.

        Parameters
        ----------
        name : str
            Of an event, as in `Event`.

        Returns
        -------
        bool
        """
        return name in self._names and (
            self._callback is not None or logger.isEnabledFor(logging.INFO)
        )

    def emit(self, event: Event) -> None:
        """Pass an event on, unless a filter holds it back.

        Parameters
        ----------
        event : Event
        """
        if not self.wants(event.name):
            return
        if not self._passes(event):
            return
        if self._callback is not None:
            self._callback(event)
        else:
            logger.info("%s", event, extra={"event": event})

    def _passes(self, event: Event) -> bool:
        """Whether no filter holds an event back."""
        source = event.source, event.source_port
        destination = event.destination, event.destination_port
        for network, port, at_source, at_destination in self._ends:
            ends = [source] * at_source + [destination] * at_destination
            if network is not None and not any(address in network for address, _ in ends):
                return False
            if port is not None and not any(port == own for _, own in ends):
                return False
        return (
            self._version in (None, event.source.version)
            and self._flags <= set(event.flags)
            and all(getattr(event, name) == value for name, value in self._equal)
        )
