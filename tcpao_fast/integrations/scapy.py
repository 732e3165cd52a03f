"""Scapy's packets through an engine: signed, verified and stripped as packets, with their layers.

Scapy is not installed with this package; it is here already where its packets are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tcpao_fast.capture.packets import Packets
from tcpao_fast.engine import Engine, VerifyResult, strip
from tcpao_fast.engine.verdicts import SignOutcome
from tcpao_fast.errors import InvalidArgumentError, MissingExtraError

try:
    from scapy.config import conf
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.packet import Packet
    from scapy.plist import PacketList
except ImportError as error:
    raise MissingExtraError("scapy is not here: pip install scapy") from error

_RAW_IP = 101
#: Fields that follow from what is around them: they change with an option, where they were set.
_DERIVED = {"IP": ("len", "chksum"), "IPv6": ("plen",), "TCP": ("dataofs", "chksum")}
_NOP = ("NOP", None)
_AUTHENTICATION = {"AO", "MD5", 29, 19}


def linktype_of(packet: Any) -> int:
    """The link type of a packet, as in pcap files, by its first layer.

    Parameters
    ----------
    packet : scapy.packet.Packet

    Returns
    -------
    int

    Raises
    ------
    InvalidArgumentError
        It is no packet, or its first layer is none that a file could begin with.
    """
    if not isinstance(packet, Packet):
        raise InvalidArgumentError(f"packet is a {type(packet).__name__}, not a scapy packet")
    if isinstance(packet, (IP, IPv6)):
        return _RAW_IP
    try:
        return int(conf.l2types.layer2num[type(packet)])
    except KeyError:
        raise InvalidArgumentError(
            f"packets that begin with {type(packet).__name__} have no link type"
        ) from None


def _time_of(packet: Any) -> int | None:
    time = getattr(packet, "time", None)
    return None if time is None else round(time * 10**9)


def verify(engine: Engine, packets: Any, *, final: bool = True) -> Any:
    """Verify a packet, or several.

    Parameters
    ----------
    engine : Engine
    packets : scapy.packet.Packet, PacketList, or iterable of packets
        Their ``time`` counts for the lifetimes of keys.
    final : bool
        As for `Engine.verify`.

    Returns
    -------
    Verified for one packet, or VerifyResult

    Raises
    ------
    InvalidArgumentError
        A packet that is none.
    """
    if isinstance(packets, Packet):
        return engine.verify(
            bytes(packets),
            linktype=linktype_of(packets),
            timestamps=_time_of(packets),
            final=final,
        )
    listed = list(packets)
    result: VerifyResult = engine.verify(
        [bytes(one) for one in listed],
        linktype=[linktype_of(one) for one in listed] if listed else 1,
        timestamps=[-1 if (time := _time_of(one)) is None else time for one in listed],
        final=final,
    )
    return result


def sign(engine: Engine, packets: Any, *, make_room: bool = False) -> Any:
    """Sign a packet, or several, with a TCP-AO (or TCP-MD5) option first among its options.

    Layers and fields are the packet's own: what was left to scapy stays so, and of what was set
    only lengths and checksums that the option changes are others. The packet that was given stays
    as it is.

    Parameters
    ----------
    engine : Engine
    packets : scapy.packet.Packet, PacketList, or iterable of packets
        In the order in which they are sent.
    make_room : bool
        As for `Engine.sign`.

    Returns
    -------
    scapy.packet.Packet, or PacketList
        A packet that cannot be signed comes back as it is; `outcome_of` says why.

    Raises
    ------
    InvalidArgumentError
        A packet that is none.
    """
    if isinstance(packets, Packet):
        return _signed(engine, packets, make_room)
    return PacketList([_signed(engine, one, make_room) for one in packets])


def signed(engine: Engine, packets: Iterable[Any], *, make_room: bool = False) -> Iterator[Any]:
    """Packets signed one by one as they come, for `wrpcap`, ``PcapWriter.write`` and `sendp`.

    Parameters
    ----------
    engine, packets, make_room
        As for `sign`.

    Yields
    ------
    scapy.packet.Packet
    """
    for packet in packets:
        yield _signed(engine, packet, make_room)


def _signed(engine: Engine, packet: Any, make_room: bool) -> Any:
    done = engine.sign(
        bytes(packet),
        linktype=linktype_of(packet),
        timestamps=_time_of(packet),
        make_room=make_room,
    )
    if done.outcome is not SignOutcome.signed:
        unchanged = packet.copy()
        unchanged.tcpao_outcome = done.outcome
        return unchanged
    again = _rebuilt(packet, done.packet, removed=False)
    again.tcpao_outcome = done.outcome
    return again


def strip_packets(packets: Any) -> Any:
    """A packet, or several, without TCP-AO and TCP-MD5 options.

    Parameters
    ----------
    packets : scapy.packet.Packet, PacketList, or iterable of packets

    Returns
    -------
    scapy.packet.Packet, or PacketList
    """
    if not isinstance(packets, Packet):
        return PacketList([strip_packets(one) for one in packets])
    done = strip(bytes(packets), linktype=linktype_of(packets))
    if done.outcome is not SignOutcome.stripped:
        return packets.copy()
    return _rebuilt(packets, done.packet, removed=True)


def outcome_of(packet: Any) -> SignOutcome | None:
    """What became of a packet that `sign` gave back; None of any other.

    Parameters
    ----------
    packet : scapy.packet.Packet

    Returns
    -------
    SignOutcome or None
    """
    found: SignOutcome | None = vars(packet).get("tcpao_outcome")
    return found


def capture_of(packets: Iterable[Any]) -> Packets:
    """Scapy's packets as a capture, for `verify_capture`, `diagnose_capture` and the others.

    Parameters
    ----------
    packets : PacketList, ``PcapReader``, or iterable of packets
        All with the same first layer.

    Returns
    -------
    Packets
    """
    if isinstance(packets, PacketList):
        packets = packets.res
    stream = iter(packets)
    first = next(stream, None)
    if first is None:
        return Packets(())

    def pairs() -> Iterator[tuple[Any, bytes]]:
        yield first.time, bytes(first)
        for one in stream:
            yield one.time, bytes(one)

    return Packets(pairs(), linktype_of(first))


def _innermost(packet: Any) -> Any:
    """The TCP layer that authentication is about: the last."""
    found = None
    layer = packet.getlayer(TCP)
    while layer is not None:
        found = layer
        layer = layer.payload.getlayer(TCP)
    return found


def _rebuilt(packet: Any, data: bytes, *, removed: bool) -> Any:
    """The packet's own layers, so that they are these bytes; where they cannot be, the bytes
    dissected.
    """
    dissected = type(packet)(data)
    dissected.time = packet.time
    own = packet.copy()
    theirs, ours = _innermost(dissected), _innermost(own)
    if theirs is None or ours is None:
        return dissected
    kept = [one for one in ours.options if one[0] not in _AUTHENTICATION]
    if removed:
        ours.options = theirs.options
    else:
        before = next((i for i, one in enumerate(theirs.options) if one[0] in _AUTHENTICATION), 0)
        after = before + 1
        while (
            before == 0
            and after < len(theirs.options)
            and theirs.options[after][0] == "NOP"
            and (_size(theirs.options[:after]) % 4)
        ):
            after += 1
        ours.options = theirs.options[:after] + kept
    layer, other = own, dissected
    while layer and other and layer.name == other.name:
        for name in _DERIVED.get(layer.name, ()):
            if layer.fields.get(name) is not None:
                layer.fields[name] = getattr(other, name)
        layer, other = layer.payload, other.payload
    own.raw_packet_cache = None
    layer = own
    while layer:
        layer.raw_packet_cache = None
        layer = layer.payload
    return own if bytes(own) == data else dissected


def _size(options: list[Any]) -> int:
    """Bytes of options."""
    return len(TCP().get_field("options").i2m(None, options))
