"""TCP options that a middlebox padded, put in another order, changed, removed or added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

from tcpao_fast.core.wire.options import options_of
from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.diagnose.packets import with_options
from tcpao_fast.engine.candidates import Statement

_END, _NOP, _MSS, _SCALE, _SACK_PERMITTED = 0, 1, 2, 3, 4
_LARGEST_MSS = 9960
_ADVICE = "find the firewall, load balancer or MSS clamping on the path that modifies TCP options"
Options = list[tuple[int, bytes]]


def trailing_nops(case: Case, statement: Statement) -> Iterator[Variant]:
    """Cisco IOS XE leaves the NOPs behind the last option out of a SYN's MAC (CSCvx41293)."""
    options = options_of(statement.segment.header)
    count = 0
    while count < len(options) and options[-1 - count][0] in (_NOP, _END):
        count += 1
    for left_out in range(count, 0, -1):
        yield Variant(
            statement.but(left_out=left_out),
            "rewritten_options",
            f"their MACs do not cover the last {left_out} bytes of padding after the options, as "
            "with Cisco IOS XE in SYNs",
            "exclude TCP options from the MAC on both sides (no include-tcp-options), or update "
            "IOS XE (CSCvx41293, CSCvx80537)",
        )


def clamped_mss(case: Case, statement: Statement) -> Iterator[Variant]:
    """A smaller MSS was written into the SYN on the way."""
    options = options_of(statement.segment.header)
    place = next((n for n, (kind, o) in enumerate(options) if (kind, len(o)) == (_MSS, 4)), None)
    if place is None or not case.sample.segment.flags & 2:
        return
    own = int.from_bytes(options[place][1][2:], "big")
    usual = [1460, 1440, 1452, 1432, 1412, 1420, 1400, 1380, 8960, 8940, 536, 1220]
    for mss in dict.fromkeys((*usual, *range(own + 1, _LARGEST_MSS))):
        if mss == own:
            continue
        other = list(options)
        other[place] = (_MSS, b"\x02\x04" + mss.to_bytes(2, "big"))
        yield from _variant(
            case, statement, other,
            f"they were signed with MSS {mss}, but MSS {own} was captured: it was changed in "
            "transit (MSS clamping)",
        )  # fmt: skip


def rewritten_options(case: Case, statement: Statement) -> Iterator[Variant]:
    """Padding, order, and options that were taken out or put in."""
    options = options_of(statement.segment.header)
    if any(kind == -1 for kind, _ in options):
        return
    real = [one for one in options if one[0] not in (_NOP, _END)]
    for padded in _paddings(real):
        yield from _variant(case, statement, padded, "the padding of their options was changed")
    if len(real) <= 5:
        for order in permutations(real):
            if list(order) != real:
                for padded in _paddings(order):
                    yield from _variant(case, statement, padded, "their options were reordered")
    for number, (kind, _) in enumerate(real):
        if kind == 29:
            continue
        fewer = real[:number] + real[number + 1 :]
        for padded in _paddings(fewer):
            yield from _variant(
                case, statement, padded, f"an option (kind {kind}) was inserted in transit"
            )
    yield from _blanked(case, statement, options)


def _blanked(case: Case, statement: Statement, options: Options) -> Iterator[Variant]:
    """NOPs where a middlebox blanked an option out: those that have few values."""
    restored = [(b"\x04\x02", "SACK permitted")]
    restored += [(b"\x03\x03" + bytes([shift]), f"window scale {shift}") for shift in range(15)]
    for option, name in restored:
        for at in range(len(options) - len(option) + 1):
            if all(kind == _NOP for kind, _ in options[at : at + len(option)]):
                other = [*options[:at], (option[0], option), *options[at + len(option) :]]
                yield from _variant(
                    case, statement, other, f"{name} was overwritten with NOPs in transit"
                )


def _paddings(options: Iterable[tuple[int, bytes]]) -> Iterator[Options]:
    """Usual ways to pad options to multiples of 4: behind all, and before each."""
    listed = list(options)
    nop = (_NOP, b"\x01")
    total = sum(len(option) for _, option in listed)
    short = -total % 4
    yield [*listed, *[nop] * short]
    yield [*listed, *[(_END, b"\0")] * short]
    before: Options = []
    for option in listed:
        before += [nop] * (-len(option[1]) % 4)
        before.append(option)
    yield before
    behind: Options = []
    for option in listed:
        behind.append(option)
        behind += [nop] * (-len(option[1]) % 4)
    yield behind


def _variant(case: Case, statement: Statement, options: Options, what: str) -> Iterator[Variant]:
    segment = with_options(statement.segment, options)
    covered = statement.sne, statement.exclude_options, statement.nat
    # TCP-MD5 covers no options: what changes nothing in the MAC's input is no variant
    if segment is not None and segment.message(*covered) != statement.segment.message(*covered):
        yield Variant(statement.but(segment=segment), "rewritten_options", what, _ADVICE)
