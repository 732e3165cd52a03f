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


#: The verdicts on TCP segments, in order: what is counted and reported.
SEGMENT_VERDICTS: tuple[Verdict, ...] = tuple(v for v in Verdict if v is not Verdict.not_tcp)

#: Verdicts that say: something is wrong.
BAD = frozenset(
    {
        Verdict.bad_mac,
        Verdict.key_not_found,
        Verdict.ao_required,
        Verdict.malformed,
        Verdict.md5_bad,
    }
)

#: Verdicts that say: signed or meant to be, but it could not be decided.
UNDECIDED = frozenset({Verdict.missing_isn, Verdict.truncated, Verdict.md5_unchecked})
