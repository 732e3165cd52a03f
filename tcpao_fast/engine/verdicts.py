"""What the engine says of a segment: one name for each, everywhere."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """The verdict on one record.

    What is asked first wins: `malformed`, then `unsigned` / `ao_required`, `key_not_found`,
    `truncated`, `missing_isn`, and last the MAC.  Upper-case names are aliases.
    """

    #: The MAC is right.
    good = 0
    #: The MAC is wrong or of another length than the MKT's.
    bad_mac = 1
    #: Signed, but no MKT matches the connection and the KeyID.
    key_not_found = 2
    #: Unsigned, but an MKT matches the connection.
    ao_required = 3
    #: Unsigned, and no MKT matches.
    unsigned = 4
    #: Signed, but the handshake was not seen, so there is no traffic key.
    missing_isn = 5
    #: The snap length (or a missing IP fragment) cut bytes that the MAC covers.
    truncated = 6
    #: A broken or doubled option, TCP-AO beside TCP-MD5, or a broken TCP header.
    malformed = 7
    #: TCP-MD5, and the digest is right.
    md5_good = 8
    #: TCP-MD5, and the digest is wrong.
    md5_bad = 9
    #: TCP-MD5, but no key for it was given.
    md5_unchecked = 10
    #: Not a TCP segment, or a fragment of a datagram that another record completes.
    not_tcp = 11
    #: Unsigned, but a TCP-MD5 key matches the connection.
    md5_required = 12

    GOOD = good
    BAD_MAC = bad_mac
    KEY_NOT_FOUND = key_not_found
    AO_REQUIRED = ao_required
    UNSIGNED = unsigned
    MISSING_ISN = missing_isn
    TRUNCATED = truncated
    MALFORMED = malformed
    MD5_GOOD = md5_good
    MD5_BAD = md5_bad
    MD5_UNCHECKED = md5_unchecked
    NOT_TCP = not_tcp
    MD5_REQUIRED = md5_required


#: The verdicts on TCP segments, in order: what is counted and reported.
SEGMENT_VERDICTS: tuple[Verdict, ...] = tuple(v for v in Verdict if v is not Verdict.not_tcp)

#: Verdicts that say: the MAC is valid.
GOOD = frozenset({Verdict.good, Verdict.md5_good})

#: Verdicts on segments that are not signed although a key matches the connection.
UNSIGNED = frozenset({Verdict.ao_required, Verdict.md5_required})

#: Verdicts that say: something is wrong.
BAD = frozenset(
    {
        Verdict.bad_mac,
        Verdict.key_not_found,
        Verdict.ao_required,
        Verdict.malformed,
        Verdict.md5_bad,
        Verdict.md5_required,
    }
)

#: Verdicts that say: signed or meant to be, but it could not be decided.
UNDECIDED = frozenset({Verdict.missing_isn, Verdict.truncated, Verdict.md5_unchecked})


#: One line on each verdict: what it says of the segments.
MEANINGS = {
    Verdict.good: "the MAC is valid",
    Verdict.bad_mac: "the MAC is not valid",
    Verdict.key_not_found: "no key for this connection has the segment's KeyID",
    Verdict.ao_required: "not signed, but a key matches the connection",
    Verdict.unsigned: "not signed, and no key matches",
    Verdict.missing_isn: "cannot be checked: the handshake was not captured",
    Verdict.truncated: "cannot be checked: not all bytes covered by the MAC were captured",
    Verdict.malformed: "invalid TCP header, or an invalid or repeated option",
    Verdict.md5_good: "TCP-MD5, the digest is valid",
    Verdict.md5_bad: "TCP-MD5, the digest is not valid",
    Verdict.md5_required: "not signed, but a tcp-md5 key matches the connection",
    Verdict.md5_unchecked: "TCP-MD5, cannot be checked: no tcp-md5 key matches",
}


class SignOutcome(IntEnum):
    """What `Engine.sign`, `Engine.sign_inplace`, `strip` or `Engine.verify_and_strip` did with one
    record.

    All but `signed` and `stripped` say why it was left just as it was.
    """

    #: The option was inserted or filled in.
    signed = 0
    #: Not a TCP segment.
    not_tcp = 1
    #: No key matches the connection.
    no_key = 2
    #: The handshake was not seen, so there is no traffic key.
    missing_isn = 3
    #: The TCP header has no room for the option.
    no_option_space = 4
    #: It has a TCP-AO or TCP-MD5 option already.
    already_signed = 5
    #: It has no TCP-AO or TCP-MD5 option.
    no_option = 6
    #: The option that is there has room for a MAC of another length than the key's.
    wrong_mac_length = 7
    #: The snap length cut bytes that the MAC covers.
    truncated = 8
    #: A broken TCP header or options, or a length around it (802.3, PPPoE) that does not hold it.
    malformed = 9
    #: An IP fragment: the MAC belongs to the whole datagram.
    fragment = 10
    #: A length around it would become more than its field can say (IP, PPPoE, 802.3).
    too_long = 11
    #: An IPsec authentication header around it would become wrong.
    ipsec = 12
    #: Headers around it that are not adjusted: more than 20 with lengths or checksums, UDP tunnels.
    too_many_headers = 13
    #: The option was removed (`strip`).
    stripped = 14
    #: Its connection's SYN or SYN-ACK could not be signed, so the peer would drop it.
    unsigned_handshake = 15
    #: Signing in place: there is too little headroom, or none and a payload in the way of tailroom.
    no_room = 16
    #: `Engine.verify_and_strip`: its verdict is not good.
    not_good = 17


#: How TCP checksums are made where segments are rewritten, by what callers say.
CHECKSUMS = {"full": 0, "incremental": 1, "partial": 2}

#: What an outcome's number is shown as.
OUTCOMES = tuple(SignOutcome)
