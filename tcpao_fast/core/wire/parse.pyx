"""Stage `parse`: link layer, tunnels, IPv4 / IPv6 and TCP of each record -> one `Segment` a record.

Nothing is copied and nothing is believed: each length that a header states is checked against the
bytes that are there before a byte behind it is read.  What is checked is read once: the buffer may
be somebody's shared memory, and later stages ask the `Segment`, never the bytes again.
"""

from libc.stdint cimport int32_t, uint16_t
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.mac.kernels cimport tcpao_once8, tcpao_once16
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    AUTH_MD5,
    AUTH_NONE,
    KIND_CUT,
    KIND_FRAGMENT,
    KIND_MALFORMED,
    KIND_SEGMENT,
    Segment,
    be16,
    be32,
)

cdef enum LinkType:
    LINK_NULL = 0
    LINK_ETHERNET = 1
    LINK_PPP = 9
    LINK_RAW_12 = 12
    LINK_RAW_14 = 14
    LINK_RAW = 101
    LINK_PPP_HDLC = 50
    LINK_PPP_ETHER = 51
    LINK_C_HDLC = 104
    LINK_FRELAY = 107
    LINK_LOOP = 108
    LINK_SLL = 113
    LINK_JUNIPER_ETHER = 178
    LINK_JUNIPER_PPP = 179
    LINK_JUNIPER_FRELAY = 180
    LINK_JUNIPER_CHDLC = 181
    LINK_MPLS = 219
    LINK_IPV4 = 228
    LINK_IPV6 = 229
    LINK_NFLOG = 239
    LINK_SLL2 = 276

cdef enum EtherType:
    ETHER_IPV4 = 0x0800
    ETHER_TEB = 0x6558          # Ethernet inside GRE
    ETHER_VLAN = 0x8100
    ETHER_IPV6 = 0x86DD
    ETHER_MPLS = 0x8847
    ETHER_MPLS_MULTICAST = 0x8848
    ETHER_PPPOE = 0x8864
    ETHER_QINQ = 0x88A8
    ETHER_QINQ_OLD = 0x9100
    ETHER_BACKBONE = 0x88E7     # 802.1ah: a customer's frame in a provider's
    ETHER_CISCO_METADATA = 0x8909
    ETHER_ERSPAN = 0x88BE       # type I and II
    ETHER_ERSPAN_3 = 0x22EB

cdef enum Protocol:
    PROTOCOL_HOP_BY_HOP = 0
    PROTOCOL_IPIP = 4
    PROTOCOL_TCP = 6
    PROTOCOL_UDP = 17
    PROTOCOL_IPV6 = 41
    PROTOCOL_ROUTING = 43
    PROTOCOL_FRAGMENT = 44
    PROTOCOL_GRE = 47
    PROTOCOL_AH = 51
    PROTOCOL_DESTINATION = 60
    PROTOCOL_L2TP = 115         # version 3
    PROTOCOL_MOBILITY = 135
    PROTOCOL_HIP = 139
    PROTOCOL_SHIM6 = 140

cdef enum:
    MAX_DEPTH = 8          # headers inside headers; real stacks have three
    ALIGNED_TIMESTAMPS = 0x0101080A   # NOP, NOP, kind, length: RFC 7323 appendix A

#: Link types (as in pcap files) that `parse` understands, by name.
LINK_TYPES = {
    0: "BSD loopback", 1: "Ethernet", 9: "PPP", 12: "raw IP", 14: "raw IP", 50: "PPP in HDLC framing",
    51: "PPPoE", 101: "raw IP", 104: "Cisco HDLC", 107: "Frame Relay", 108: "OpenBSD loopback",
    113: "Linux SLL", 178: "Juniper Ethernet", 179: "Juniper PPP", 180: "Juniper Frame Relay",
    181: "Juniper Cisco HDLC", 219: "MPLS", 228: "raw IPv4", 229: "raw IPv6", 239: "NFLOG",
    276: "Linux SLL2",
}


cdef void note_layer(Noted *noted, const uint8_t *start, LayerKind kind, uint16_t field=0,
                     uint8_t size=0) noexcept nogil:
    cdef Layers *layers
    cdef Layer *layer
    if noted == NULL or noted.layers == NULL:
        return
    layers = noted.layers
    if layers.count >= MAX_LAYERS or start - noted.frame > 0x7FFFFFFF:
        layers.incomplete = 1
        return
    layer = &layers.layer[layers.count]
    layer.start = <uint32_t>(start - noted.frame)
    layer.field = field
    layer.size = size
    layer.kind = <uint8_t>kind
    layers.count += 1


cdef void parse_options(Segment *out, uint32_t at, uint32_t least=1) noexcept nogil:
    """Walk the TCP options (RFC 9293 section 3.1) from byte `at` of the header on, while there are
    `least` bytes left, and note the one that authenticates."""
    cdef const uint8_t *header = out.tcp
    cdef uint32_t length
    cdef uint8_t kind
    while at + least <= out.header_length:
        kind = tcpao_once8(header + at)
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        if at + 1 >= out.header_length:
            out.kind = KIND_MALFORMED
            return
        length = tcpao_once8(header + at + 1)
        if length < 2 or at + length > out.header_length:
            out.kind = KIND_MALFORMED
            return
        if kind == 29 or kind == 19:
            if out.auth != AUTH_NONE or (length < 4 if kind == 29 else length != 18):
                out.kind = KIND_MALFORMED
                return
            out.auth_offset = <uint8_t>at
            out.auth_length = <uint8_t>length
            if kind == 29:
                out.auth = AUTH_AO
                out.key_id = header[at + 2]
                out.rnext_key_id = header[at + 3]
            else:
                out.auth = AUTH_MD5
        at += length


cdef void parse_tcp(const uint8_t *tcp, const uint8_t *end, size_t missing,
                    Segment *out) noexcept nogil:
    """`end` is where the datagram's captured bytes end, `missing` how many more it had."""
    cdef size_t captured = end - tcp
    out.tcp = tcp
    out.captured = <uint32_t>captured
    out.length = <uint32_t>(captured + missing)
    if captured >= 4:
        out.source_port = be16(tcp)
        out.destination_port = be16(tcp + 2)
        out.has_ports = 1
    if out.length < 20:
        out.kind = KIND_MALFORMED
        return
    if captured < 20:
        out.kind = KIND_CUT
        return
    out.seq = be32(tcp + 4)
    out.ack = be32(tcp + 8)
    out.flags = be16(tcp + 12) & 0x0FFF
    out.header_length = (tcpao_once8(tcp + 12) >> 4) * 4
    if out.header_length < 20 or out.header_length > out.length:
        out.kind = KIND_MALFORMED
    elif out.header_length > captured:
        out.kind = KIND_CUT
    else:
        out.kind = KIND_SEGMENT
        parse_options(out, 20)


cdef const uint8_t *source_routed(const uint8_t *ip, size_t header_length) noexcept nogil:
    """The final destination that an IPv4 source route names (RFC 791), or NULL."""
    cdef size_t at = 20, length
    cdef uint8_t kind
    while at < header_length:
        kind = tcpao_once8(ip + at)
        if kind == 0:
            return NULL
        if kind == 1:
            at += 1
            continue
        if at + 1 >= header_length:
            return NULL
        length = tcpao_once8(ip + at + 1)
        if length < 2 or at + length > header_length:
            return NULL
        # loose or strict; the pointer (from 1) is past the end once the route is used up
        if (kind == 131 or kind == 137) and length >= 7 and ip[at + 2] <= length - 3:
            return ip + at + length - 4
        at += length
    return NULL


cdef const uint8_t *last_segment(const uint8_t *header, size_t length) noexcept nogil:
    """The final destination in an IPv6 routing header with segments left, or NULL."""
    if header[3] == 0 or length < 24:
        return NULL
    if header[2] == 4:                      # RFC 8754: the list is reversed
        return header + 8
    if header[2] == 0 or header[2] == 2:    # RFC 2460, RFC 6275
        return header + 8 + (length - 8) // 16 * 16 - 16
    return NULL


cdef const uint8_t *home_address(const uint8_t *header, size_t length) noexcept nogil:
    """The address in a Home Address option (RFC 6275 section 6.3), or NULL."""
    cdef size_t at = 2
    while at + 2 <= length:
        if header[at] == 0:
            at += 1
            continue
        if header[at] == 201 and header[at + 1] == 16 and at + 18 <= length:
            return header + at + 2
        at += 2 + <size_t>tcpao_once8(header + at + 1)
    return NULL


cdef void note_fragment(Segment *out, const uint8_t *at, const uint8_t *end,
                        size_t missing) noexcept nogil:
    """`tcp` is where the IPv4 payload or the IPv6 fragment header begins; lengths are the packet's."""
    out.kind = KIND_FRAGMENT
    out.tcp = at
    out.captured = <uint32_t>(end - out.ip)
    out.length = <uint32_t>(out.captured + missing)


cdef void parse_ipv4(const uint8_t *ip, const uint8_t *end, size_t missing, int depth, uint32_t vlan,
                     Segment *out, Noted *noted) noexcept nogil:
    cdef size_t captured = end - ip, header_length, total
    cdef const uint8_t *final
    cdef uint16_t field
    if captured < 20:
        return
    header_length = (tcpao_once8(ip) & 15) * 4
    total = field = tcpao_once16(ip + 2)
    if total == 0:                          # not yet cut by segmentation offload
        total = captured + missing
    if header_length < 20 or total < header_length or captured < header_length:
        return
    if total <= captured:                   # what follows is the link layer's trailer
        end = ip + total
        missing = 0
    else:
        missing = total - captured
    out.ip = ip
    out.version = 4
    out.vlan = vlan
    out.source = ip + 12
    final = source_routed(ip, header_length) if header_length > 20 else NULL
    out.destination = final if final != NULL else ip + 16
    note_layer(noted, ip, LAYER_IPV4, field, <uint8_t>header_length)
    if be16(ip + 6) & 0x3FFF:
        note_fragment(out, ip + header_length, end, missing)
        return
    parse_payload(ip[9], ip + header_length, end, missing, depth, vlan, out, noted)


cdef void parse_ipv6(const uint8_t *ip, const uint8_t *end, size_t missing, int depth, uint32_t vlan,
                     Segment *out, Noted *noted) noexcept nogil:
    cdef size_t captured = end - ip, total, length, words
    cdef const uint8_t *at = ip + 40
    cdef const uint8_t *address
    cdef uint8_t protocol
    cdef uint16_t field
    if captured < 40:
        return
    field = tcpao_once16(ip + 4)
    total = 40 + <size_t>field
    if total == 40:                         # not yet cut by segmentation offload, or a jumbogram
        total = captured + missing
    if total <= captured:
        end = ip + total
        missing = 0
    else:
        missing = total - captured
    out.ip = ip
    out.version = 6
    out.vlan = vlan
    out.source = ip + 8
    out.destination = ip + 24
    note_layer(noted, ip, LAYER_IPV6, field)
    protocol = ip[6]
    while True:
        if protocol == PROTOCOL_FRAGMENT:
            if end - at < 8:
                return
            if be16(at + 2) & 0xFFF9:
                note_fragment(out, at, end, missing)
                return
            protocol = at[0]
            at += 8
        elif protocol in (PROTOCOL_HOP_BY_HOP, PROTOCOL_ROUTING, PROTOCOL_DESTINATION,
                          PROTOCOL_MOBILITY, PROTOCOL_HIP, PROTOCOL_SHIM6, PROTOCOL_AH):
            if end - at < 8:
                return
            words = tcpao_once8(at + 1)
            length = (words + 2) * 4 if protocol == PROTOCOL_AH else (words + 1) * 8
            if <size_t>(end - at) < length:
                return
            if protocol == PROTOCOL_AH:
                note_layer(noted, at, LAYER_AH)
            elif protocol == PROTOCOL_ROUTING:
                address = last_segment(at, length)
                if address != NULL:
                    out.destination = address
            elif protocol == PROTOCOL_DESTINATION:
                address = home_address(at, length)
                if address != NULL:
                    out.source = address
            protocol = at[0]
            at += length
        else:
            break
    parse_payload(protocol, at, end, missing, depth, vlan, out, noted)


cdef void parse_gre(const uint8_t *gre, const uint8_t *end, size_t missing, int depth, uint32_t vlan,
                    Segment *out, Noted *noted) noexcept nogil:
    """RFC 2784 with the key and sequence number of RFC 2890."""
    cdef size_t length = 4
    cdef uint16_t flags, protocol
    if end - gre < 4:
        return
    flags = tcpao_once16(gre)
    if flags & 0x4007:                      # source routing (RFC 1701) or another version
        return
    length += 4 * ((flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1))
    if <size_t>(end - gre) < length:
        return
    if flags & 0x8000:
        note_layer(noted, gre, LAYER_GRE)
    protocol = tcpao_once16(gre + 2)
    if protocol == ETHER_ERSPAN:            # type I has neither sequence number nor header
        length += 8 if flags & 0x1000 else 0
    elif protocol == ETHER_ERSPAN_3:
        length += 12
        if <size_t>(end - gre) >= length and tcpao_once8(gre + length - 1) & 1:
            length += 8                     # the platform's own part
    if <size_t>(end - gre) < length:
        return
    if protocol in (ETHER_TEB, ETHER_ERSPAN, ETHER_ERSPAN_3):
        parse_ethernet(gre + length, end, missing, depth + 1, vlan, out, noted)
    else:
        parse_ether(protocol, gre + length, end, missing, depth + 1, vlan, out, noted)


cdef bint is_ether_frame(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Whether an Ethernet frame with an IP packet begins here, tags before it or not."""
    cdef uint32_t ethertype
    at += 12
    while end - at >= 8:
        ethertype = tcpao_once16(at)
        if ethertype == ETHER_IPV4:
            return tcpao_once8(at + 2) >> 4 == 4 and (tcpao_once8(at + 2) & 15) >= 5
        if ethertype == ETHER_IPV6:
            return tcpao_once8(at + 2) >> 4 == 6
        if ethertype not in (ETHER_VLAN, ETHER_QINQ):
            return False
        at += 4
    return False


cdef void parse_l2tp_session(const uint8_t *at, const uint8_t *end, size_t missing, int depth,
                             uint32_t vlan, Segment *out, Noted *noted) noexcept nogil:
    """L2TP version 3 behind the session's ID: both ends know how long the cookie is and whether
    there is a sublayer, the packet does not say it (RFC 3931 section 4.1)."""
    cdef int skip
    for skip in range(0, 16, 4):            # a cookie of 0, 4 or 8 bytes, and 4 of the sublayer
        if end - at < skip + 14:
            return
        if is_ether_frame(at + skip, end):
            parse_ethernet(at + skip, end, missing, depth, vlan, out, noted)
            return


cdef void parse_l2tp(const uint8_t *at, const uint8_t *end, size_t missing, int depth,
                     uint32_t vlan, Segment *out, Noted *noted) noexcept nogil:
    """L2TP in UDP: a data message of version 2 with PPP, or of version 3."""
    cdef uint16_t flags
    cdef Py_ssize_t skip
    if end - at < 8:
        return
    flags = tcpao_once16(at)
    if flags & 0x8000:                      # a control message
        return
    if flags & 15 == 3:
        parse_l2tp_session(at + 8, end, missing, depth, vlan, out, noted)
    elif flags & 15 == 2:
        skip = 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
        if flags & 0x0200:
            if end - at < skip + 2:
                return
            skip += 2 + tcpao_once16(at + skip)
        if end - at > skip:
            parse_ppp(at + skip, end, missing, depth, vlan, out, noted)


cdef void parse_udp(const uint8_t *udp, const uint8_t *end, size_t missing, int depth, uint32_t vlan,
                    Segment *out, Noted *noted) noexcept nogil:
    """Tunnels in UDP, by their ports: VXLAN (RFC 7348), Geneve (RFC 8926), GTP-U (3GPP TS 29.281),
    TZSP, L2TP (RFC 2661, RFC 3931).  Whoever rewrites is told that lengths and checksums of them are
    not looked after."""
    cdef const uint8_t *at = udp + 8
    cdef uint16_t port
    cdef uint8_t flags
    if end - udp < 16:
        return
    port = tcpao_once16(udp + 2)
    flags = tcpao_once8(at)
    if tcpao_once16(udp) == 1701:           # either end of L2TP
        port = 1701
    if port not in (4789, 8472, 6081, 2152, 37008, 1701):
        return
    if noted != NULL and noted.layers != NULL:
        noted.layers.incomplete = 1
    if port == 4789 or port == 8472:
        if flags & 0x08:
            parse_ethernet(at + 8, end, missing, depth + 1, vlan, out, noted)
    elif port == 1701:
        parse_l2tp(at, end, missing, depth + 1, vlan, out, noted)
    elif port == 6081:
        port = tcpao_once16(at + 2)
        at += 8 + 4 * (flags & 0x3F)
        if flags >> 6 == 0 and at < end:
            if port == ETHER_TEB:
                parse_ethernet(at, end, missing, depth + 1, vlan, out, noted)
            else:
                parse_ether(port, at, end, missing, depth + 1, vlan, out, noted)
    elif port == 2152:
        if flags >> 4 == 3 and tcpao_once8(at + 1) == 0xFF:       # a G-PDU
            at += 12 if flags & 7 else 8
            if flags & 4:                                         # extension headers
                while at < end and (at - 1)[0]:
                    flags = tcpao_once8(at)
                    if flags == 0 or end - at < 4 * flags:
                        return
                    at += 4 * flags
            parse_ip(at, end, missing, depth + 1, vlan, out, noted)
    elif flags == 1 and tcpao_once8(at + 1) == 0 and tcpao_once16(at + 2) == 1:
        at += 4
        while at < end and at[0] != 1:                            # tags up to the end tag
            if at[0] == 0:
                at += 1
            elif end - at < 2:
                return
            else:
                at += 2 + tcpao_once8(at + 1)
        parse_ethernet(at + 1, end, missing, depth + 1, vlan, out, noted)


cdef void parse_payload(uint8_t protocol, const uint8_t *at, const uint8_t *end, size_t missing,
                        int depth, uint32_t vlan, Segment *out, Noted *noted) noexcept nogil:
    cdef Py_ssize_t length
    while protocol == PROTOCOL_AH:
        if end - at < 12:
            return
        length = (<Py_ssize_t>tcpao_once8(at + 1) + 2) * 4
        if end - at < length:
            return
        note_layer(noted, at, LAYER_AH)
        protocol = at[0]
        at += length
    if protocol == PROTOCOL_TCP:
        parse_tcp(at, end, missing, out)
    elif protocol == PROTOCOL_IPIP or protocol == PROTOCOL_IPV6:
        parse_ip(at, end, missing, depth + 1, vlan, out, noted)
    elif protocol == PROTOCOL_GRE:
        parse_gre(at, end, missing, depth, vlan, out, noted)
    elif protocol == PROTOCOL_UDP:
        parse_udp(at, end, missing, depth, vlan, out, noted)
    elif protocol == PROTOCOL_L2TP and end - at > 4 and (at[0] | at[1] | at[2] | at[3]):
        parse_l2tp_session(at + 4, end, missing, depth + 1, vlan, out, noted)


cdef void parse_ip(const uint8_t *ip, const uint8_t *end, size_t missing, int depth, uint32_t vlan,
                   Segment *out, Noted *noted) noexcept nogil:
    cdef uint8_t version
    if end <= ip or depth > MAX_DEPTH:
        return
    version = tcpao_once8(ip) >> 4
    if version == 4:
        parse_ipv4(ip, end, missing, depth, vlan, out, noted)
    elif version == 6:
        parse_ipv6(ip, end, missing, depth, vlan, out, noted)


cdef void parse_ether(uint32_t ethertype, const uint8_t *at, const uint8_t *end, size_t missing,
                      int depth, uint32_t vlan, Segment *out, Noted *noted) noexcept nogil:
    """What an EtherType announces; VLAN tags, 802.3 with LLC and SNAP, and MPLS labels looked
    through, however many there are."""
    while True:
        if ethertype in (ETHER_VLAN, ETHER_QINQ, ETHER_QINQ_OLD):
            if end - at < 4:
                return
            vlan = vlan << 12 | (be16(at) & 0x0FFF)
            ethertype = tcpao_once16(at + 2)
            at += 4
        elif ethertype <= 1500:
            if end - at < 8 or at[0] != 0xAA or at[1] != 0xAA or at[2] != 3:
                return
            note_layer(noted, at - 2, LAYER_8023, <uint16_t>ethertype)
            ethertype = tcpao_once16(at + 6)
            if ethertype <= 1500:
                return
            at += 8
        elif ethertype == ETHER_CISCO_METADATA:
            if end - at < 8:
                return
            ethertype = tcpao_once16(at + 6)
            at += 8
        else:
            break
    if ethertype == ETHER_MPLS or ethertype == ETHER_MPLS_MULTICAST:
        while end - at >= 4:
            if at[2] & 1:                   # bottom of stack; the label does not say what follows
                if end - at >= 8 and tcpao_once8(at + 4) >> 4 == 0:       # a pseudowire (RFC 4448)
                    parse_ethernet(at + 8, end, missing, depth + 1, vlan, out, noted)
                else:
                    parse_ip(at + 4, end, missing, depth + 1, vlan, out, noted)
                return
            at += 4
    elif ethertype == ETHER_PPPOE:
        if end - at >= 8:
            note_layer(noted, at + 4, LAYER_PPPOE, tcpao_once16(at + 4))
            parse_ppp(at + 6, end, missing, depth, vlan, out, noted)
    elif ethertype == ETHER_BACKBONE:
        parse_ethernet(at + 4, end, missing, depth + 1, vlan, out, noted)
    elif ethertype == ETHER_IPV4 or ethertype == ETHER_IPV6:
        parse_ip(at, end, missing, depth, vlan, out, noted)


cdef void parse_ethernet(const uint8_t *frame, const uint8_t *end, size_t missing, int depth,
                         uint32_t vlan, Segment *out, Noted *noted) noexcept nogil:
    if end - frame >= 14 and depth <= MAX_DEPTH:
        parse_ether(tcpao_once16(frame + 12), frame + 14, end, missing, depth, vlan, out, noted)


cdef void parse_ppp(const uint8_t *at, const uint8_t *end, size_t missing, int depth,
                    uint32_t vlan, Segment *out, Noted *noted) noexcept nogil:
    cdef uint32_t protocol
    if end - at >= 2 and at[0] == 0xFF and at[1] == 0x03:
        at += 2
    if end - at < 2:
        return
    protocol = tcpao_once8(at)
    if protocol & 1:                        # compressed to a byte (RFC 1661 section 6.5)
        at -= 1
    else:
        protocol = be16(at)
    if protocol == 0x0021 or protocol == 0x0057:
        parse_ip(at + 2, end, missing, depth, vlan, out, noted)
    elif protocol == 0x0281:
        parse_ether(ETHER_MPLS, at + 2, end, missing, depth, vlan, out, noted)


cdef void parse_hdlc(const uint8_t *at, const uint8_t *end, size_t missing, Segment *out,
                     Noted *noted) noexcept nogil:
    """Cisco's HDLC: address, control, EtherType."""
    if end - at >= 4:
        parse_ether(tcpao_once16(at + 2), at + 4, end, missing, 0, 0, out, noted)


cdef void parse_frame_relay(const uint8_t *at, const uint8_t *end, size_t missing, Segment *out,
                            Noted *noted) noexcept nogil:
    """Frame Relay as in RFC 2427 (an NLPID behind the control byte), or as Cisco has it (an
    EtherType)."""
    cdef uint8_t nlpid
    while at < end and not tcpao_once8(at) & 1:        # the address's last byte has its lowest bit
        at += 1
    at += 1
    if end - at < 3:
        return
    if tcpao_once8(at) != 3:
        parse_ether(tcpao_once16(at), at + 2, end, missing, 0, 0, out, noted)
        return
    at += 1
    if tcpao_once8(at) == 0:                # padding
        at += 1
    nlpid = tcpao_once8(at)
    at += 1
    if nlpid == 0xCC or nlpid == 0x8E:
        parse_ip(at, end, missing, 0, 0, out, noted)
    elif nlpid == 0x80 and end - at >= 5 and at[0] == 0 and at[1] == 0 and at[2] == 0:
        parse_ether(tcpao_once16(at + 3), at + 5, end, missing, 0, 0, out, noted)


cdef void parse_nflog(const uint8_t *at, const uint8_t *end, size_t missing, Segment *out,
                      Noted *noted) noexcept nogil:
    """Linux's NFLOG: attributes, of which one is the IP packet; lengths in the host's byte order,
    which the type of an attribute tells: it is small, but for the flags on top."""
    cdef uint32_t size, kind
    at += 4
    while end - at >= 4:
        size = at[0] | at[1] << 8
        kind = (at[2] | at[3] << 8) & 0x3FFF
        if kind > 0xFF:                     # big endian
            size = be16(at)
            kind = be16(at + 2) & 0x3FFF
        if size < 4:
            return
        if kind == 9:                       # NFULA_PAYLOAD
            if size <= <size_t>(end - at):
                end = at + size
            if noted.layers != NULL:        # the attribute's length is not looked after
                noted.layers.incomplete = 1
            parse_ip(at + 4, end, missing, 0, 0, out, noted)
            return
        size = size + 3 & ~<uint32_t>3
        if size > <size_t>(end - at):
            return
        at += size


cdef void parse_juniper(const uint8_t *at, const uint8_t *end, size_t missing, int linktype,
                        Segment *out, Noted *noted) noexcept nogil:
    """What Junos puts before a frame: a magic number, flags, and extensions; without the layer 2
    header it is the number of a protocol."""
    cdef uint8_t flags
    if end - at < 6 or at[0] != 0x4D or at[1] != 0x47 or at[2] != 0x43:
        return
    flags = tcpao_once8(at + 3)
    at += 4
    if flags & 0x80:
        at += 2 + tcpao_once16(at)
    if at >= end:
        return
    if flags & 0x02:                        # the layer 2 header is left out
        if end - at > 4:
            parse_ip(at + 4, end, missing, 0, 0, out, noted)
    elif linktype == LINK_JUNIPER_ETHER:
        parse_ethernet(at, end, missing, 0, 0, out, noted)
    elif linktype == LINK_JUNIPER_PPP:
        parse_ppp(at, end, missing, 0, 0, out, noted)
    elif linktype == LINK_JUNIPER_CHDLC:
        parse_hdlc(at, end, missing, out, noted)
    else:
        parse_frame_relay(at, end, missing, out, noted)


cdef inline uint32_t note_ao(Segment *out, uint32_t at) noexcept nogil:
    """Note the TCP-AO option at byte `at` of the header, the first that authenticates; where it ends, or
    0 where its length cannot be."""
    cdef uint32_t length = tcpao_once8(out.tcp + at + 1)
    if length < 4 or at + length > out.header_length:
        return 0
    out.auth = AUTH_AO
    out.auth_offset = <uint8_t>at
    out.auth_length = <uint8_t>length
    out.key_id = out.tcp[at + 2]
    out.rnext_key_id = out.tcp[at + 3]
    return at + length


cdef inline bint parse_plain(const uint8_t *frame, size_t length, int linktype, uint32_t vlan,
                             Segment *out, Layers *layers) noexcept nogil:
    """The usual record at one go: a whole packet of IPv4 without options and fragments, or of IPv6
    without extension headers, behind one VLAN tag at most, and TCP.  What `parse_tagged` would find,
    or False: ask it."""
    cdef const uint8_t *ip = frame
    cdef const uint8_t *tcp
    cdef uint32_t total, header_length, end
    cdef uint16_t field
    cdef uint8_t first
    if length < 40:
        return False
    if linktype == LINK_ETHERNET:
        field = tcpao_once16(frame + 12)
        ip += 14
        if field == ETHER_VLAN:
            vlan = vlan << 12 | (be16(ip) & 0x0FFF)
            field = tcpao_once16(ip + 2)
            ip += 4
        if field != ETHER_IPV4 and field != ETHER_IPV6:
            return False
        length -= ip - frame
    elif linktype != LINK_RAW:
        return False
    if length < 40:
        return False
    first = tcpao_once8(ip)
    if first == 0x45:
        field = tcpao_once16(ip + 2)
        total = field
        if ip[9] != PROTOCOL_TCP or be16(ip + 6) & 0x3FFF or total > length or total < 40:
            return False
        tcp = ip + 20
        out.source = ip + 12
        out.destination = ip + 16
        out.version = 4
    elif first >> 4 == 6:
        field = tcpao_once16(ip + 4)
        total = 40 + <uint32_t>field
        if ip[6] != PROTOCOL_TCP or total > length or total < 60:
            return False
        tcp = ip + 40
        out.source = ip + 8
        out.destination = ip + 24
        out.version = 6
    else:
        return False
    total -= <uint32_t>(tcp - ip)
    header_length = (tcpao_once8(tcp + 12) >> 4) * 4
    if header_length < 20 or header_length > total:
        return False
    out.ip = ip
    out.tcp = tcp
    out.length = out.captured = total
    out.seq = be32(tcp + 4)
    out.ack = be32(tcp + 8)
    out.vlan = vlan
    out.source_port = be16(tcp)
    out.destination_port = be16(tcp + 2)
    out.flags = be16(tcp + 12) & 0x0FFF
    out.header_length = <uint8_t>header_length
    out.kind = KIND_SEGMENT
    out.has_ports = 1
    if layers != NULL:
        layers.count = 1
        layers.incomplete = 0
        layers.layer[0].start = <uint32_t>(ip - frame)
        layers.layer[0].field = field
        layers.layer[0].size = 20 if first == 0x45 else 0
        layers.layer[0].kind = LAYER_IPV4 if first == 0x45 else LAYER_IPV6
    end = 20
    if header_length >= 24 and tcp[20] == 29:        # where Linux has it
        end = note_ao(out, 20)
    else:
        out.auth = AUTH_NONE
        out.auth_offset = out.auth_length = out.key_id = out.rnext_key_id = 0
        if header_length >= 32 and be32(tcp + 20) == ALIGNED_TIMESTAMPS:
            end = 32
            if header_length >= 36 and tcp[32] == 29:
                end = note_ao(out, 32)
    if not end:
        return False
    if end < header_length:
        parse_options(out, end)
    return True


cdef void parse_tagged(const uint8_t *frame, size_t length, size_t wire_length, int linktype,
                       uint32_t vlan, Segment *out, Layers *layers) noexcept nogil:
    """Fill `out` from a captured frame of `length` bytes that had `wire_length` on the wire, behind
    the VLAN tag `vlan`."""
    cdef const uint8_t *end = frame + length
    cdef size_t missing = wire_length - length if wire_length > length else 0
    cdef Noted noted
    if parse_plain(frame, length, linktype, vlan, out, layers):
        return
    if layers != NULL:
        layers.count = layers.incomplete = 0
    noted.frame = frame
    noted.layers = layers
    memset(out, 0, sizeof(Segment))
    if linktype == LINK_ETHERNET:
        parse_ethernet(frame, end, missing, 0, vlan, out, &noted)
    elif linktype in (LINK_RAW, LINK_RAW_12, LINK_RAW_14, LINK_IPV4, LINK_IPV6):
        parse_ip(frame, end, missing, 0, vlan, out, &noted)
    elif linktype == LINK_SLL:
        if length >= 16:
            parse_ether(tcpao_once16(frame + 14), frame + 16, end, missing, 0, vlan, out, &noted)
    elif linktype == LINK_SLL2:
        if length >= 20:
            parse_ether(tcpao_once16(frame), frame + 20, end, missing, 0, vlan, out, &noted)
    elif linktype == LINK_NULL or linktype == LINK_LOOP:
        # the address family differs from one BSD to the next; the IP version does not
        if length >= 4:
            parse_ip(frame + 4, end, missing, 0, vlan, out, &noted)
    elif linktype == LINK_C_HDLC:
        parse_hdlc(frame, end, missing, out, &noted)
    elif linktype == LINK_FRELAY:
        parse_frame_relay(frame, end, missing, out, &noted)
    elif linktype == LINK_NFLOG:
        parse_nflog(frame, end, missing, out, &noted)
    elif linktype == LINK_MPLS:
        parse_ether(ETHER_MPLS, frame, end, missing, 0, vlan, out, &noted)
    elif linktype == LINK_PPP_ETHER:
        if length >= 6:
            note_layer(&noted, frame + 4, LAYER_PPPOE, tcpao_once16(frame + 4))
            parse_ppp(frame + 6, end, missing, 0, vlan, out, &noted)
    elif LINK_JUNIPER_ETHER <= linktype <= LINK_JUNIPER_CHDLC:
        parse_juniper(frame, end, missing, linktype, out, &noted)
    elif linktype == LINK_PPP or linktype == LINK_PPP_HDLC:
        parse_ppp(frame, end, missing, 0, vlan, out, &noted)


cdef packed struct Row:       # `DTYPE`
    uint8_t kind, version, auth, auth_offset, auth_length, key_id, rnext_key_id, header_length
    uint16_t source_port, destination_port, flags
    uint32_t seq, ack, vlan, length, captured
    int32_t ip_offset, tcp_offset
    uint8_t source[16]
    uint8_t destination[16]


#: The columns of `parse`. Offsets count from the record's first byte, -1 where there is none.
DTYPE = np.dtype([
    ("kind", "u1"), ("version", "u1"), ("auth", "u1"), ("auth_offset", "u1"), ("auth_length", "u1"),
    ("key_id", "u1"), ("rnext_key_id", "u1"), ("header_length", "u1"),
    ("source_port", "u2"), ("destination_port", "u2"), ("flags", "u2"),
    ("seq", "u4"), ("ack", "u4"), ("vlan", "u4"), ("length", "u4"), ("captured", "u4"),
    ("ip_offset", "i4"), ("tcp_offset", "i4"), ("source", "u1", 16), ("destination", "u1", 16),
])
assert DTYPE.itemsize == sizeof(Row)


def parse(buffer, offsets, lengths, linktype=1):
    """Parse records: the stage by itself, for pipelines and tests.

    Parameters
    ----------
    buffer : buffer protocol, contiguous bytes
    offsets, lengths : int64[n] (lengths also int32[n])
        Where each record begins in `buffer` and how many bytes it has.
    linktype : int or int32[n]
        The link type as in pcap files (1 is Ethernet; see `LINK_TYPES`).

    Returns
    -------
    numpy.ndarray
        n rows of `DTYPE`: ``kind`` is 0 not TCP, 1 segment, 2 cut, 3 malformed, 4 fragment;
        ``auth`` 0 none, 1 TCP-AO, 2 TCP-MD5; addresses in network order, IPv4 in the first 4 of
        the 16 bytes; ``ip_offset`` and ``tcp_offset`` in bytes from the record's beginning.

    Raises
    ------
    InvalidArgumentError
        A record lies outside the buffer, or shapes or dtypes differ from the above.
    """
    return parse_records(Records(buffer, offsets, lengths, linktype))


def parse_records(Records records not None, bint in_full=False):
    """`parse` of records that are checked already; `in_full`: without the short cut for the usual
    record, for tests."""
    cdef Segment segment
    cdef Layers layers
    cdef Py_ssize_t i
    cdef int size
    cdef Row *rows
    cdef Row *row
    cdef uint8_t[::1] memory
    table = np.zeros(records.count, dtype=DTYPE)
    if not records.count:
        return table
    memory = table.view(np.uint8)
    rows = <Row *>&memory[0]
    with nogil:
        for i in range(records.count):
            row = &rows[i]
            parse_tagged(records.start(i), records.length(i), records.wire_length(i),
                         records.linktype(i), records.vlan(i), &segment,
                         &layers if in_full else NULL)
            size = 16 if segment.version == 6 else 4
            row.kind = segment.kind
            row.version = segment.version
            row.auth = segment.auth
            row.auth_offset = segment.auth_offset
            row.auth_length = segment.auth_length
            row.key_id = segment.key_id
            row.rnext_key_id = segment.rnext_key_id
            row.header_length = segment.header_length
            row.source_port = segment.source_port
            row.destination_port = segment.destination_port
            row.flags = segment.flags
            row.seq = segment.seq
            row.ack = segment.ack
            row.vlan = segment.vlan
            row.length = segment.length
            row.captured = segment.captured
            row.ip_offset = <int32_t>(segment.ip - records.start(i)) if segment.ip != NULL else -1
            row.tcp_offset = <int32_t>(segment.tcp - records.start(i)) if segment.tcp != NULL else -1
            if segment.ip != NULL:
                memcpy(row.source, segment.source, size)
                memcpy(row.destination, segment.destination, size)
    return table
