"""Stage `fragments`: whole IP datagrams out of their fragments (RFC 791, RFC 8200, RFC 5722).

Fragments are rare and hold state across batches, so this one stage works with Python objects.  It
copies fragments; a joined datagram lives in memory of its own until the batch is done.
"""

cimport cython

from bisect import bisect_left
from collections import OrderedDict

from tcpao_fast.core.wire.parse cimport parse_ip
from tcpao_fast.core.wire.segment cimport KIND_FRAGMENT, KIND_NOT_TCP, Segment, be16, be32
from libc.string cimport memset
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef int64_t MAX_AGE_NS = 30 * 1000 * 1000 * 1000
# Of all datagrams together, with what it takes to keep them: empty parts and datagrams count too.
cdef int64_t MAX_HELD_BYTES = 16 << 20
cdef enum:
    PART_COST = 192           # an entry of a dict and a list, an int, a bytes object
    DATAGRAM_COST = 1024      # the object, its dict and list, its identification and header
    MAX_NESTING = 8


@cython.final
cdef class Datagram:
    """What is known of one datagram: its parts by offset, its header, its length."""

    cdef bytes header
    cdef bint is_tcp
    cdef int64_t length           # -1: the last part was not seen
    cdef int64_t size             # bytes of all parts
    cdef int64_t top              # where the furthest part ends
    cdef int64_t row
    cdef int64_t timestamp
    cdef int64_t cost
    cdef dict parts               # offset -> bytes
    cdef list offsets             # in rising order

    def __cinit__(self, int64_t row, int64_t timestamp, bint is_tcp):
        self.row = row
        self.timestamp = timestamp
        self.is_tcp = is_tcp
        self.length = -1
        self.parts = {}
        self.offsets = []
        self.cost = DATAGRAM_COST

    cdef bint add(self, int64_t offset, bytes data, bint more) except -1:
        """Whether the part fits to the others; the same part twice is fine (RFC 5722 errata).  In
        time that does not grow with how many there are."""
        cdef int64_t end = offset + len(data), neighbour
        cdef Py_ssize_t place
        if self.parts.get(offset) == data:
            return True
        if end > 65535 or (more and (len(data) % 8 or not data)):
            return False
        place = bisect_left(self.offsets, offset)
        if place < len(self.offsets):
            neighbour = self.offsets[place]
            if neighbour < end or neighbour == offset:
                return False
        if place:
            neighbour = self.offsets[place - 1]
            if neighbour + <int64_t>len(self.parts[neighbour]) > offset:
                return False
        if not more:
            if self.length >= 0:
                return False
            self.length = end
        self.top = max(self.top, end)
        if 0 <= self.length < self.top:
            return False
        self.offsets.insert(place, offset)
        self.parts[offset] = data
        self.size += len(data)
        self.cost += PART_COST + len(data)
        return True

    cdef bint whole(self):
        return self.header is not None and self.size == self.length

    cdef bytes joined(self, int version):
        """The packet, or None where its length cannot be stated."""
        cdef int64_t length = len(self.header) + self.size - (40 if version == 6 else 0)
        if length > 65535:
            return None
        packet = bytearray(self.header)
        if version == 4:
            packet[2:4] = length.to_bytes(2, "big")
            packet[6:8] = bytes(2)
        else:
            packet[4:6] = length.to_bytes(2, "big")
            at = len(packet) - 6        # in the fragment header: offset 0, no more
            packet[at:at + 2] = bytes(2)
        for offset in self.offsets:
            packet += self.parts[offset]
        return bytes(packet)


@cython.final
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

    def waiting(self):
        """Whether fragments wait for others of their datagram."""
        return bool(self.pending)

    def give_up_all(self):
        """No more fragments will come."""
        for identification in list(self.pending):
            self.discard(identification)

    cdef int discard(self, object identification) except -1:
        cdef Datagram datagram = self.pending.pop(identification)
        self.held_bytes -= datagram.cost
        if datagram.is_tcp:
            self.given_up.append(datagram.row)
        return 0

    cdef int add(self, Segment *segment, int64_t row, int64_t timestamp) except -1:
        """Take the fragment in `segment`; when it completes a datagram, `segment` becomes what the
        datagram holds, else it stays a fragment."""
        cdef const uint8_t *ip
        cdef const uint8_t *at
        cdef uint32_t vlan, field
        cdef Py_ssize_t header_length
        cdef const uint8_t[::1] whole
        cdef Datagram datagram
        cdef bytes data
        cdef int64_t before
        cdef int version
        cdef bint fits
        for _ in range(MAX_NESTING):
            ip = segment.ip
            at = segment.tcp
            vlan = segment.vlan
            version = segment.version
            if version == 4:
                field = be16(ip + 6)
                offset, more = (field & 0x1FFF) * 8, bool(field & 0x2000)
                identification = (vlan, ip[12:20], be16(ip + 4), ip[9])
                is_tcp = ip[9] == 6
                header_length = at - ip
            else:
                field = be16(at + 2)
                offset, more = field & 0xFFF8, bool(field & 1)
                identification = (vlan, ip[8:40], be32(at + 4))
                is_tcp = at[0] == 6
                header_length = at + 8 - ip
            self.expire(timestamp)
            datagram = self.pending.get(identification)
            if datagram is None:
                datagram = self.pending[identification] = Datagram(row, timestamp, is_tcp)
                self.held_bytes += datagram.cost
            if segment.captured < segment.length or segment.captured < header_length:
                self.discard(identification)    # cut by the snap length: can never be whole
                return 0
            before = datagram.cost
            fits = datagram.add(offset, bytes(ip[header_length:segment.captured]), more)
            self.held_bytes += datagram.cost - before
            if not fits:
                self.discard(identification)
                return 0
            if offset == 0:
                datagram.header = bytes(ip[:header_length])
            if not datagram.whole():
                while self.held_bytes > MAX_HELD_BYTES:
                    self.discard(next(iter(self.pending)))
                return 0
            data = datagram.joined(version)
            if data is None:
                self.discard(identification)
                return 0
            del self.pending[identification]
            self.held_bytes -= datagram.cost
            self.joined.append(data)
            whole = data
            memset(segment, 0, sizeof(Segment))
            parse_ip(&whole[0], &whole[0] + len(data), 0, 1, vlan, segment, NULL)
            if segment.kind != KIND_FRAGMENT:
                return 0
        segment.kind = KIND_NOT_TCP
        return 0

    def expire(self, int64_t timestamp):
        """Give up the datagrams that began too long before `timestamp` (nanoseconds)."""
        cdef Datagram oldest
        while timestamp >= 0 and self.pending:
            identification, oldest = next(iter(self.pending.items()))
            if timestamp - oldest.timestamp < MAX_AGE_NS:
                return
            self.discard(identification)
