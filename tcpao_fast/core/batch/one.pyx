"""One segment by itself, under keys, ISNs and an SNE that are stated: what an endpoint has and a
capture must first find out."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.mac.messages cimport MAX_PREFIX, ao_prefix, context, md5_prefix
from tcpao_fast.core.wire.parse cimport parse_frame
from tcpao_fast.core.wire.segment cimport AUTH_AO, AUTH_NONE, KIND_SEGMENT, Segment, between

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
cdef class OneSegment:
    """A parsed frame.

    Parameters
    ----------
    frame : buffer protocol, contiguous bytes
        It must not change while this lives.
    linktype : int
        As in pcap files; 101 is a raw IP packet.

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
    source, destination : bytes
        Addresses as the MAC has them, 4 or 16 bytes, network order.
    source_port, destination_port, flags, seq, ack, vrf : int
    header_length, payload_length : int
        In bytes, of TCP.
    auth_offset : int
        Of the option in the TCP header.
    key_id, rnext_key_id : int
        Of TCP-AO.
    mac : bytes
        As the option has it.
    """

    cdef Records records
    cdef Segment segment

    def __cinit__(self, frame, int linktype=101):
        self.records = Records(frame, [0], [memoryview(frame).nbytes], linktype)
        parse_frame(self.records.start(0), self.records.length(0), self.records.length(0), linktype,
                    &self.segment, NULL)

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
        cdef const uint8_t *end = self.records.start(0) + self.records.length(0)
        if self.segment.ip == NULL:
            return b""
        return self.segment.ip[:end - self.segment.ip]

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
    def vrf(self):
        return self.segment.vrf

    @property
    def header_length(self):
        return self.segment.header_length

    @property
    def payload_length(self):
        return self.segment.length - self.segment.header_length

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
        if self.segment.auth == AUTH_AO:
            length = ao_prefix(&self.segment, sne, exclude_options, nat, prefix)
        else:
            length = md5_prefix(&self.segment, prefix)
        body = self.segment.tcp[self.segment.header_length:self.segment.length]
        return prefix[:length] + body
