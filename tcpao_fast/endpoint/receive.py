"""What one end has received: RCV.NXT, what came ahead of it, and the window that was offered."""

from __future__ import annotations

from bisect import insort

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.flow.sne import extend_position
from tcpao_fast.endpoint.uapi import FIN, SYN

#: Parts that may wait for what is missing before them; a stack keeps no more than its window.
MOST_AHEAD = 4096
#: The largest window scale (RFC 7323 section 2.3): taken where it is not known.
LARGEST_SHIFT = 14


class Received:
    """The receiving direction of a connection (RFC 9293 section 3.3.1), in 64-bit positions.

    Attributes
    ----------
    position : int
        RCV.NXT: everything before it has come.
    fin : int or None
        Where the peer's FIN stands, once it was seen.
    shift : int
        The scale of the windows that are offered, where both ends scale.
    """

    __slots__ = ("_ahead", "_edge", "fin", "position", "shift")

    def __init__(self, isn: int = 0) -> None:
        self.position = isn
        self.fin: int | None = None
        self._ahead: list[tuple[int, int]] = []
        self._edge: int | None = None
        self.shift = 0

    def extend(self, seq: int) -> int:
        """A SEQ's position: the one nearest to RCV.NXT; negative before the ISN's epoch."""
        return extend_position(self.position, seq)

    def accept(self, begin: int, length: int) -> None:
        """Take numbers that have come; RCV.NXT moves over all that is there without a gap."""
        end = begin + length
        if begin > self.position:
            if length and len(self._ahead) < MOST_AHEAD:
                insort(self._ahead, (begin, end))
            return
        self.position = max(self.position, end)
        while self._ahead and self._ahead[0][0] <= self.position:
            self.position = max(self.position, self._ahead.pop(0)[1])

    def take(self, segment: ParsedSegment) -> bool:
        """Take a segment's payload, SYN and FIN; whether with it all up to the FIN has come."""
        begin = extend_position(self.position, segment.seq)
        if begin == self.position and not (
            segment.flags & (SYN | FIN) or self._ahead or self.fin is not None
        ):
            self.position += segment.payload_length  # nearly always: what comes next
            return False
        if begin < 0 or self.has_fin:
            return False
        numbers = segment.payload_length + bool(segment.flags & SYN)
        end = begin + numbers
        is_fin = bool(segment.flags & FIN) and end >= self.position
        if is_fin and (begin <= self.position or self.fin is None):
            self.fin = end
        self.accept(begin, numbers + is_fin)
        if not self.has_fin:
            return False
        assert self.fin is not None  # nothing follows it
        self.position = self.fin + 1
        self._ahead.clear()
        return True

    @property
    def has_fin(self) -> bool:
        """Whether everything up to the peer's FIN has come."""
        return self.fin is not None and self.position > self.fin

    def is_beyond_fin(self, segment: ParsedSegment) -> bool:
        """Whether a segment has data behind the peer's FIN, which TCP answers with a RST."""
        begin = self.extend(segment.seq)
        return begin < self.position < begin + segment.payload_length

    def is_in_window(self, segment: ParsedSegment) -> bool:
        """Whether TCP would look at a segment (RFC 9293 section 3.10.7.4): a part of it lies
        between what was acknowledged and the end of the window that was offered.
        """
        begin = extend_position(self.position, segment.seq)
        end = begin + segment.payload_length
        if segment.flags & (SYN | FIN):
            end += bool(segment.flags & SYN) + bool(segment.flags & FIN)
        return end >= self.position and (self._edge is None or begin <= self._edge)

    def offered(self, segment: ParsedSegment, scaled: bool) -> None:
        """Note what a segment that goes out acknowledges, and the window that it offers.

        Parameters
        ----------
        segment : ParsedSegment
            With ACK.
        scaled : bool
            Whether the peer offered window scaling, too.
        """
        acknowledged = self.extend(segment.ack)
        if acknowledged > self.position:  # the TCP above knows better
            self.accept(self.position, acknowledged - self.position)
        window = offered_window(segment)
        if not segment.flags & SYN and scaled:
            window <<= self.shift
        self._edge = max(self._edge or 0, acknowledged + window)


def offered_window(segment: ParsedSegment) -> int:
    """The window field, not scaled."""
    return int.from_bytes(segment.header[14:16], "big")
