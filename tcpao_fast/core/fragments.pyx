"""Stage `fragments`: whole IP datagrams out of their fragments (RFC 791, RFC 8200, RFC 5722).

Fragments are rare and hold state across batches, so this one stage works with Python objects.  It
copies fragments; a joined datagram lives in memory of its own until the batch is done.
"""

from collections import OrderedDict

from tcpao_fast.core.parse cimport parse_ip
from tcpao_fast.core.segment cimport KIND_FRAGMENT, KIND_NOT_TCP, Segment, be16, be32
from libc.string cimport memset
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef int64_t MAX_AGE_NS = 30 * 1000 * 1000 * 1000
cdef int64_t MAX_HELD_BYTES = 16 << 20
cdef int MAX_NESTING = 8


class Datagram:
    """What is known of one datagram: its parts by offset, its header, its length."""

    __slots__ = ("header", "is_tcp", "length", "parts", "row", "size", "timestamp")

    def __init__(self, row, timestamp, is_tcp):
        self.row = row
        self.timestamp = timestamp
        self.is_tcp = is_tcp
        self.header = None
        self.length = None
        self.parts = {}
        self.size = 0

    def add(self, offset, data, more):
        """Whether the part fits to the others; the same part twice is fine (RFC 5722 errata)."""
        end = offset + len(data)
        if self.parts.get(offset) == data:
            return True
        if end > 65535 or (more and len(data) % 8) or (more and not data):
            return False
        if any(offset < at + len(part) and at < end for at, part in self.parts.items()):
            return False
        if not more:
            if self.length is not None:
                return False
            self.length = end
        if self.length is not None:
            ends = [at + len(part) for at, part in self.parts.items()]
            if max(end, *ends, 0) > self.length:
                return False
        self.parts[offset] = data
        self.size += len(data)
        return True

    @property
    def whole(self):
        return self.header is not None and self.size == self.length


cdef class Reassembler:
    """Joins fragments; `given_up` collects the rows of TCP datagrams that stay incomplete."""

    def __cinit__(self):
        self.pending = OrderedDict()
        self.held_bytes = 0
        self.joined = []
        self.given_up = []

    def release(self):
        """Forget the joined datagrams of the batch that is done."""
        self.joined.clear()

    def give_up_all(self):
        """No more fragments will come."""
        for identification in list(self.pending):
            self.discard(identification)

    cdef int discard(self, object identification) except -1:
        datagram = self.pending.pop(identification)
        self.held_bytes -= datagram.size
        if datagram.is_tcp:
            self.given_up.append(datagram.row)
        return 0

    cdef int add(self, Segment *segment, int64_t row, int64_t timestamp) except -1:
        """Take the fragment in `segment`; when it completes a datagram, `segment` becomes what the
        datagram holds, else it stays a fragment."""
        cdef const uint8_t *ip
        cdef const uint8_t *at
        cdef uint32_t vrf, field
        cdef Py_ssize_t header_length
        cdef const uint8_t[::1] whole
        for _ in range(MAX_NESTING):
            ip = segment.ip
            at = segment.tcp
            vrf = segment.vrf
            if segment.version == 4:
                field = be16(ip + 6)
                offset, more = (field & 0x1FFF) * 8, bool(field & 0x2000)
                identification = (vrf, ip[12:20], be16(ip + 4), ip[9])
                is_tcp = ip[9] == 6
                header_length = at - ip
            else:
                field = be16(at + 2)
                offset, more = field & 0xFFF8, bool(field & 1)
                identification = (vrf, ip[8:40], be32(at + 4))
                is_tcp = at[0] == 6
                header_length = at + 8 - ip
            self.expire(timestamp)
            datagram = self.pending.get(identification)
            if datagram is None:
                datagram = self.pending[identification] = Datagram(row, timestamp, is_tcp)
            if segment.captured < segment.length or segment.captured < header_length:
                self.discard(identification)    # cut by the snap length: can never be whole
                return 0
            before = datagram.size
            fits = datagram.add(offset, bytes(ip[header_length:segment.captured]), more)
            self.held_bytes += datagram.size - before
            if not fits:
                self.discard(identification)
                return 0
            if offset == 0:
                datagram.header = bytes(ip[:header_length])
            if not datagram.whole:
                while self.held_bytes > MAX_HELD_BYTES:
                    self.discard(next(iter(self.pending)))
                return 0
            del self.pending[identification]
            self.held_bytes -= datagram.size
            packet = bytearray(datagram.header)
            if segment.version == 4:
                packet[2:4] = (len(packet) + datagram.size).to_bytes(2, "big")
                packet[6:8] = bytes(2)
            else:
                packet[4:6] = (len(packet) - 40 + datagram.size).to_bytes(2, "big")
                at_offset = len(packet) - 6     # in the fragment header: offset 0, no more
                packet[at_offset:at_offset + 2] = bytes(2)
            for part_offset in sorted(datagram.parts):
                packet += datagram.parts[part_offset]
            data = bytes(packet)
            self.joined.append(data)
            whole = data
            memset(segment, 0, sizeof(Segment))
            parse_ip(&whole[0], &whole[0] + len(data), 0, 1, vrf, segment, NULL)
            if segment.kind != KIND_FRAGMENT:
                return 0
        segment.kind = KIND_NOT_TCP
        return 0

    def expire(self, int64_t timestamp):
        """Give up the datagrams that began too long before `timestamp` (nanoseconds)."""
        while timestamp >= 0 and self.pending:
            identification, oldest = next(iter(self.pending.items()))
            if timestamp - oldest.timestamp < MAX_AGE_NS:
                return
            self.discard(identification)
