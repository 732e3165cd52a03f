"""`SequenceExtender`: the SNE rule (RFC 5925 section 6.2) for one direction, SEQ by SEQ."""

from __future__ import annotations

from tcpao_fast.core.flow.sne import extend_position
from tcpao_fast.errors import InvalidArgumentError


class SequenceExtender:
    """Extends 32-bit SEQs of one direction of a connection to 64 bits.

    The rule is Linux's: SEQ lies within 2^31 of the highest position that was accepted.  What was
    only looked at, as of a segment that does not verify, moves nothing.

    Parameters
    ----------
    isn : int
        The direction's initial sequence number: its position, with SNE 0.

    Attributes
    ----------
    position : int
        The highest accepted 64-bit position: SNE in the high half, SEQ in the low.

    Examples
    --------
    >>> extender = SequenceExtender(isn=0xFFFFFFF0)
    >>> extender.accept(0xFFFFFFF1), extender.accept(0x10), extender.peek(0xFFFFFFF8)
    (0, 1, 0)
    """

    __slots__ = ("isn", "position")

    def __init__(self, isn: int = 0) -> None:
        self.isn = _checked(isn, "isn")
        self.position = isn

    def peek(self, seq: int) -> int | None:
        """The SNE of a SEQ, or None where no such position exists (before the ISN's epoch).

        Parameters
        ----------
        seq : int
            32 bits.

        Returns
        -------
        int or None
        """
        position = extend_position(self.position, _checked(seq, "seq"))
        return position >> 32 if position >= 0 else None

    def accept(self, seq: int, length: int = 0) -> int | None:
        """The SNE of a SEQ whose segment has verified: later ones are counted from it.

        `length` is how many numbers the segment takes; the position then is behind them.

        Parameters
        ----------
        seq : int
            32 bits.
        length : int
            Sequence numbers that the segment takes: its payload, SYN and FIN.

        Returns
        -------
        int or None
            None where no such position exists; nothing changes then.
        """
        position = extend_position(self.position, _checked(seq, "seq"))
        if position < 0:
            return None
        self.position = max(self.position, position + _checked(length, "length"))
        return position >> 32

    def __repr__(self) -> str:
        return f"SequenceExtender(isn={self.isn:#010x}, position={self.position:#x})"


def _checked(value: int, name: str) -> int:
    if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be 0 to 4294967295")
    return value
