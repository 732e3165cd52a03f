"""A traffic key from other ISNs than those of the handshake (RFC 5925 section 5.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement, first_sne, search_isn
from tcpao_fast.errors import TcpAoError

_SYN, _RST, _ACK = 2, 4, 16
#: Bytes of data that a SYN may have carried.
_SYN_DATA = 9216


def isn(case: Case, statement: Statement) -> Iterator[Variant]:
    """Swapped, one of them zero or off by one, an earlier connection's, Linux's signed RST."""
    if statement.algorithm == "tcp-md5":
        return
    source, destination = statement.isn_source, statement.isn_destination
    fix = "a bug on the signing side: check for an update of its TCP stack"

    def under(a: int, b: int) -> Statement:
        return statement.but(isn_source=a & 0xFFFFFFFF, isn_destination=b & 0xFFFFFFFF)

    if not case.is_syn:
        yield Variant(
            under(destination, source), "isn",
            "their traffic key was derived with the two ISNs swapped", fix,
        )  # fmt: skip
        yield Variant(
            under(source, 0), "isn",
            "their traffic key was derived with 0 instead of the peer's ISN, as only that "
            "of a SYN is", fix,
        )  # fmt: skip
        yield Variant(
            under(0, destination), "isn",
            "their traffic key was derived with 0 instead of their own ISN", fix,
        )  # fmt: skip
    else:
        for other in case.isns[1]:
            yield Variant(
                under(source, other), "isn",
                "the traffic key of the SYN was derived with the peer's ISN instead of 0", fix,
            )  # fmt: skip
    for a, b, what in (
        (1, 0, "their own ISN + 1"),
        (-1, 0, "their own ISN - 1"),
        (0, 1, "the peer's ISN + 1"),
        (0, -1, "the peer's ISN - 1"),
        (1, 1, "both ISNs + 1"),
    ):
        if not (case.is_syn and b):
            yield Variant(
                under(source + a, destination + b), "isn",
                f"their traffic key was derived with {what}", fix,
            )  # fmt: skip
    if case.sample.segment.flags & _RST:
        for other in dict.fromkeys((*case.isns[1], case.sample.segment.ack - 1)):
            # context as the peer's SYN has it: its ISN as source ISN, 0 as destination ISN
            yield Variant(
                under(0, other).but(other_end=True), "isn",
                "the RST is signed with the traffic key of the other direction, as Linux does "
                "on a listening socket",
                "a known bug in Linux; the keys are correct: find out why the listener refuses "
                "the connection",
            )  # fmt: skip
    for a in case.isns[0]:
        for b in (0,) if case.is_syn else case.isns[1]:
            if (a, b) != (source, destination):
                yield Variant(
                    under(a, b), "isn",
                    "they belong to another connection between the same ports, with other ISNs",
                    "nothing, if these are late segments of an earlier connection; otherwise "
                    "somebody replays them",
                )  # fmt: skip


def fast_open(case: Case, statement: Statement) -> Iterator[Variant]:
    """Data in a SYN that was not captured (RFC 7413): the SYN-ACK acknowledges more than an ISN."""
    if statement.algorithm == "tcp-md5" or not case.connection.is_supposed(case.sample):
        return
    client = next((1 - one.direction for one in case.connection.handshakes), None)
    is_source = case.sample.direction == client
    supposed = statement.isn_source if is_source else statement.isn_destination
    isns = (supposed - np.arange(1, _SYN_DATA + 1)) & 0xFFFFFFFF
    side = "source" if is_source else "destination"
    # a position behind the wrap of the ISN has SNE 1
    snes = (first_sne(int(isns[-1]), case.sample.segment.seq), statement.sne)
    for sne in dict.fromkeys(snes if is_source else (statement.sne,)):
        assumed = statement.but(sne=sne)
        try:
            found = search_isn(assumed, side, isns, case.sample.segment.mac)
        except TcpAoError:
            return
        for at in found:
            isn = int(isns[at])
            end = case.connection.text(client or 0)
            yield Variant(
                assumed.but(isn_source=isn) if is_source else assumed.but(isn_destination=isn),
                "missing_handshake",
                f"the capture begins at the SYN-ACK, and the MACs are those of ISN {isn} of {end}: "
                f"its SYN, which was not captured, carried {at + 1} bytes of data (TCP Fast Open, "
                "RFC 7413)",
                "capture from the SYN on, or provide the ISNs (--isn)",
            )
