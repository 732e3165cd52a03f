"""One segment by itself, under keys, ISNs and an SNE that are stated: what an endpoint has and a
capture must first find out."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

from tcpao_fast.core.wire.rewrite cimport (
    ALREADY_SIGNED,
    MAX_GROWTH,
    OPTION_AO,
    OPTION_MD5,
    POSSIBLE,
    SIGNED,
    Kept,
    Outcome,
    aligned,
    check_room,
    check_segment,
    insert_option,
    remove_option,
    set_checksums,
)
from tcpao_fast.core.mac.kernels cimport TCPAO_MD5, tcpao_equal
from tcpao_fast.core.mac.mac cimport TrafficKeys
from tcpao_fast.core.mac.messages cimport DIGEST, MAX_PREFIX, SCRATCH, ao_prefix, context, md5_prefix
from tcpao_fast.core.wire.parse cimport Layers, parse_frame, parse_options
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    AUTH_MD5,
    AUTH_NONE,
    KIND_MALFORMED,
    KIND_SEGMENT,
    Segment,
    between,
)

from tcpao_fast.errors import InvalidArgumentError


def context_between(const uint8_t[::1] source, uint16_t source_port, const uint8_t[::1] destination,
                    uint16_t destination_port, uint32_t isn_source, uint32_t isn_destination,
                    uint8_t nat=0):
    """The KDF's context (RFC 5925 section 5.2) for segments from one endpoint to another, for
    `derive_traffic_keys`: 20 bytes for IPv4, 44 for IPv6.

    Parameters
    ----------
    source, destination : 4 or 16 bytes
    source_port, destination_port, isn_source, isn_destination : int
        A SYN without ACK has destination ISN 0.
    nat : int
        Which sides count as zero (RFC 6978): 1 the source's, 2 the destination's, 3 both.
    """
    cdef Segment segment
    cdef uint8_t text[64]
    if len(source) != len(destination) or len(source) not in (4, 16):
        raise InvalidArgumentError("addresses have 4 bytes, or 16")
    between(&segment, 4 if len(source) == 4 else 6, &source[0], &destination[0], source_port,
            destination_port, 0)
    return text[:context(&segment, isn_source, isn_destination, nat, text)]


@cython.final
cdef class ParsedSegment:
    """A parsed frame.

    Parameters
    ----------
    frame : buffer protocol, contiguous bytes
        It must not change while this lives.
    linktype : int
        As in pcap files; 101 is a raw IP packet.
    least_options : int
        Options are looked for while so many bytes of the header are left: 1, or more for stacks that
        stop before (Linux: 5), and do not see what is broken there.

    Attributes
    ----------
    kind : int
        0 not TCP, 1 segment, 2 cut, 3 malformed, 4 fragment.
    auth : int
        0 none, 1 TCP-AO, 2 TCP-MD5.
    whole : bool
        Whether all bytes of the segment are there.
    version : int
        4 or 6; 0 where there is no IP packet.
    packet : bytes
        From the innermost IP header on, as far as it was captured.
    tcp_offset : int
        Where in `packet` TCP begins; -1 where there is none.
    header, payload : bytes
        Of TCP, as far as they were captured; empty where `kind` is not 1.
    source, destination : bytes
        Addresses as the MAC has them, 4 or 16 bytes, network order.
    source_port, destination_port, flags, seq, ack, vlan : int
    header_length, payload_length : int
        In bytes, of TCP.
    auth_offset, auth_length : int
        Of the option in the TCP header; its length is 0 where there is none.
    key_id, rnext_key_id : int
        Of TCP-AO.
    mac : bytes
        As the option has it.
    """

    cdef Py_buffer view
    cdef const uint8_t *frame
    cdef size_t size
    cdef Segment segment
    cdef Layers layers

    def __cinit__(self, frame, int linktype=101, uint32_t least_options=1):
        try:
            PyObject_GetBuffer(frame, &self.view, PyBUF_SIMPLE)
        except (TypeError, BufferError, ValueError):
            raise InvalidArgumentError(
                f"frame is a {type(frame).__name__}; it must be contiguous bytes") from None
        self.frame = <const uint8_t *>self.view.buf
        self.size = self.view.len
        parse_frame(self.frame, self.size, self.size, linktype, &self.segment, &self.layers)
        if least_options > 1:
            self.look_again(least_options)

    cdef void look_again(self, uint32_t least):
        """Parse the options once more, up to where a stack stops."""
        cdef Segment *segment = &self.segment
        if (segment.kind not in (KIND_SEGMENT, KIND_MALFORMED) or segment.tcp == NULL
                or segment.header_length < 20 or segment.header_length > segment.captured):
            return
        segment.kind = KIND_SEGMENT
        segment.auth = AUTH_NONE
        segment.auth_offset = segment.auth_length = segment.key_id = segment.rnext_key_id = 0
        parse_options(segment, 20, least)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    @property
    def kind(self):
        return self.segment.kind

    @property
    def auth(self):
        return self.segment.auth

    @property
    def whole(self):
        return self.segment.kind == KIND_SEGMENT and self.segment.captured >= self.segment.length

    @property
    def version(self):
        return self.segment.version if self.segment.ip != NULL else 0

    @property
    def packet(self):
        cdef const uint8_t *end = self.frame + self.size
        if self.segment.ip == NULL:
            return b""
        return self.segment.ip[:end - self.segment.ip]

    @property
    def tcp_offset(self):
        return self.segment.tcp - self.segment.ip if self.segment.tcp != NULL else -1

    @property
    def header(self):
        if self.segment.kind != KIND_SEGMENT:
            return b""
        return self.segment.tcp[:self.segment.header_length]

    @property
    def payload(self):
        if self.segment.kind != KIND_SEGMENT:
            return b""
        return self.segment.tcp[self.segment.header_length:self.segment.captured]

    @property
    def source(self):
        return self.address(self.segment.source)

    @property
    def destination(self):
        return self.address(self.segment.destination)

    cdef bytes address(self, const uint8_t *start):
        if self.segment.ip == NULL:
            return b""
        return start[:16 if self.segment.version == 6 else 4]

    def is_between(self, bytes source not None, bytes destination not None, int source_port,
                   int destination_port):
        """Whether it goes from one address and port to another, addresses as in `source`."""
        cdef Segment *it = &self.segment
        cdef Py_ssize_t size = 16 if it.version == 6 else 4
        return (it.ip != NULL and len(source) == size and len(destination) == size
                and it.source_port == source_port and it.destination_port == destination_port
                and memcmp(it.source, <const uint8_t *>source, size) == 0
                and memcmp(it.destination, <const uint8_t *>destination, size) == 0)

    @property
    def source_port(self):
        return self.segment.source_port

    @property
    def destination_port(self):
        return self.segment.destination_port

    @property
    def flags(self):
        return self.segment.flags

    @property
    def seq(self):
        return self.segment.seq

    @property
    def ack(self):
        return self.segment.ack

    @property
    def vlan(self):
        return self.segment.vlan

    @property
    def header_length(self):
        return self.segment.header_length

    @property
    def payload_length(self):
        return self.segment.length - self.segment.header_length

    @property
    def auth_length(self):
        return self.segment.auth_length

    @property
    def auth_offset(self):
        return self.segment.auth_offset

    @property
    def key_id(self):
        return self.segment.key_id

    @property
    def rnext_key_id(self):
        return self.segment.rnext_key_id

    @property
    def mac(self):
        cdef int skip = 4 if self.segment.auth == AUTH_AO else 2
        cdef const uint8_t *option
        self.require()
        option = self.segment.tcp + self.segment.auth_offset
        return option[skip:self.segment.auth_length]

    cdef int require(self) except -1:
        if not self.whole or self.segment.auth == AUTH_NONE:
            raise InvalidArgumentError("frame holds no whole TCP segment with TCP-AO or TCP-MD5")
        return 0

    def message(self, uint32_t sne=0, bint exclude_options=False, uint8_t nat=0):
        """The bytes that the MAC covers.

        Parameters
        ----------
        sne : int
            The sequence number extension; TCP-MD5 has none.
        exclude_options : bool
            Whether the MKT leaves TCP options out (RFC 5925 section 3.1).
        nat : int
            As for `context_between`.

        Returns
        -------
        bytes
            SNE, pseudo-header, TCP header, payload. For TCP-MD5 without SNE and without the key.

        Raises
        ------
        InvalidArgumentError
            Not a whole segment with an option.
        """
        cdef uint8_t prefix[MAX_PREFIX]
        cdef size_t length
        self.require()
        length = self.prefix(&self.segment, sne, exclude_options, nat, prefix)
        body = self.segment.tcp[self.segment.header_length:self.segment.length]
        return prefix[:length] + body

    cdef inline size_t prefix(self, const Segment *segment, uint32_t sne, bint exclude_options,
                              uint8_t nat, uint8_t *out) noexcept:
        if segment.auth == AUTH_AO:
            return ao_prefix(segment, sne, exclude_options, nat, out)
        return md5_prefix(segment, out)

    cdef int mac_into(self, const Segment *segment, TrafficKeys keys, uint32_t sne,
                      bint exclude_options, uint8_t nat, uint8_t *out) except -1:
        """The MAC of a segment with an option (this one, or its copy with one), to `out`."""
        cdef uint8_t scratch[SCRATCH]
        cdef size_t length
        if (keys.primitive == TCPAO_MD5) != (segment.auth == AUTH_MD5):
            raise InvalidArgumentError("traffic_keys are not for the segment's option")
        length = self.prefix(segment, sne, exclude_options, nat, scratch)
        return keys.mac_into(0, scratch, length, segment.tcp + segment.header_length,
                             segment.length - segment.header_length, out)

    def verify(self, TrafficKeys traffic_keys not None, uint32_t sne=0, bint exclude_options=False,
               uint8_t nat=0):
        """Whether the option's MAC is the one of the first of `traffic_keys`, compared in constant
        time.

        Parameters
        ----------
        traffic_keys : TrafficKeys
        sne, exclude_options, nat
            As for `message`.

        Returns
        -------
        bool

        Raises
        ------
        InvalidArgumentError
            Not a whole segment with an option, or keys for the other kind of option.
        """
        cdef uint8_t mac[DIGEST]
        cdef int skip = 4 if self.segment.auth == AUTH_AO else 2
        cdef int length = self.segment.auth_length - skip
        self.require()
        if length > traffic_keys.algorithm.digest_length:
            return False
        self.mac_into(&self.segment, traffic_keys, sne, exclude_options, nat, mac)
        return bool(tcpao_equal(mac, self.segment.tcp + self.segment.auth_offset + skip, length))

    def sign(self, TrafficKeys traffic_keys not None, int mac_length, uint8_t key_id=0,
             uint8_t rnext_key_id=0, uint32_t sne=0, bint exclude_options=False, uint8_t nat=0,
             bint make_room=False):
        """The packet with a TCP-AO or TCP-MD5 option first among its options, signed with the first of
        `traffic_keys`; data offset, lengths and checksums around it are right.

        Parameters
        ----------
        traffic_keys : TrafficKeys
            Those of TCP-MD5 make it a TCP-MD5 option.
        mac_length : int
            Bytes of the MAC; 16 for TCP-MD5.
        key_id, rnext_key_id : int
            TCP-MD5 has none.
        sne, exclude_options, nat
            As for `message`.
        make_room : bool
            Give up other options where there is no room, as `Engine.sign` does.

        Returns
        -------
        int, bytes or None
            A `SignOutcome`, and where it is `signed` the packet.

        Raises
        ------
        InvalidArgumentError
            There is no option with so long a MAC.
        """
        cdef Segment signed = self.segment
        cdef bint is_md5 = traffic_keys.primitive == TCPAO_MD5
        cdef int skip = 2 if is_md5 else 4
        cdef uint8_t mac[DIGEST]
        cdef Outcome outcome
        cdef Kept kept
        cdef uint8_t *to
        cdef const uint8_t *frame = self.frame
        cdef size_t length = self.size
        if not 0 <= mac_length <= MAX_GROWTH - 4 or (is_md5 and mac_length != 16) or (
                mac_length > traffic_keys.algorithm.digest_length):
            raise InvalidArgumentError(f"mac_length is {mac_length}; no such option has a MAC of that")
        outcome = check_segment(&self.segment)
        if outcome == POSSIBLE and self.segment.auth != AUTH_NONE:
            outcome = ALREADY_SIGNED
        if outcome == POSSIBLE:
            outcome = check_room(frame, &self.segment, &self.layers, skip + mac_length, make_room,
                                 &kept)
        if outcome != POSSIBLE:
            return outcome, None
        length += aligned(skip + mac_length) + kept.length - (self.segment.header_length - 20)
        packet = PyBytes_FromStringAndSize(NULL, length)
        to = <uint8_t *>PyBytes_AS_STRING(packet)
        insert_option(frame, self.size, &self.layers, OPTION_MD5 if is_md5 else OPTION_AO,
                      skip + mac_length, key_id, rnext_key_id, &kept, to, &signed, 0)
        self.mac_into(&signed, traffic_keys, sne, exclude_options, nat, mac)
        memcpy(<uint8_t *>signed.tcp + signed.auth_offset + skip, mac, mac_length)
        set_checksums(to, &self.layers, &signed, True, 0, True)
        return <int>SIGNED, packet

    def strip(self):
        """The packet without its TCP-AO or TCP-MD5 option, lengths and checksums right; as it is where
        it has none.

        Returns
        -------
        bytes
        """
        cdef Segment segment = self.segment
        cdef Outcome outcome
        cdef size_t length = self.size
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, length + 4)
        length = remove_option(self.frame, length, &self.layers,
                               <uint8_t *>PyBytes_AS_STRING(packet), &segment, 0, &outcome).length
        return packet[:length]
