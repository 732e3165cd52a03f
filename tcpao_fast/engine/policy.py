"""What is asked of traffic beyond the keys themselves."""

from __future__ import annotations

from dataclasses import dataclass

from tcpao_fast.keys.master_key import LINUX_ALGORITHMS

#: The first kernel that takes no others.
_FIXED_ALGORITHMS = (7, 2)


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices that the standards leave to the operator, and where Linux and RFC 5925 part.

    ``Policy()`` is `Policy.linux()`.  `Engine` asks only for `ao_required`, `follow_rnext`
    and `as_endpoint`: it says what a segment is, not what becomes of it; `Listener` and
    `Connection` ask for all others.

    Parameters
    ----------
    ao_required : bool
        Whether an unsigned segment is `ao_required` even where no MKT matches its connection, as
        Linux's ``ao_required`` socket flag has it (`set_info` changes an endpoint's own).
    follow_rnext : bool
        Whether `Engine.sign` takes the key that the other side's last good segment asks for by its
        RNextKeyID (RFC 5925 section 7.5), where it may send: right for who signs live traffic. Else
        a connection's key stays in use while it may send.
    as_endpoint : bool
        Whether an `Engine` that signs one side of connections verifies as that side: only under
        the ISNs that it signs under, and SYN-ACKs only for SYNs that it signed. Else late or
        replayed segments of an earlier connection between the same ports are good too, as an
        observer may see them.
    pass_unmatched : bool
        Whether a signed segment passes unverified where no MKT is meant by it: a SYN for whose
        peer and KeyID there is no key, or any segment where there are no TCP-AO keys at all.
        RFC 5925 section 7.5: yes, with a warning. Linux: no, it counts as ``TCPAOKeyNotFound``.
    unsigned_connect : bool
        Whether `Connection.connect` goes on unsigned when there are keys but none matches the
        peer. RFC 5925 section 7.4: yes. Linux: EKEYREJECTED.
    rnext_on_syn_ack : bool
        Whether current_key follows the RNextKeyID of the handshake's SYN-ACK. RFC 5925 section 7.5
        step e: yes. Linux: no, only that of one that comes again on an established connection.
    rnext_before_established : bool
        Whether current_key follows the RNextKeyID of segments that end a simultaneous open. RFC
        5925 section 7.5 step e: yes. Linux: only once the connection is established.
    newest_key_first : bool
        Whether, of several keys that match, the one that was added last is the first. Linux: yes;
        for RFC 5925 it is the one that was added first.
    algorithms : tuple of str or None
        The algorithms that keys may have; None is any. Linux from 7.2 on: HMAC-SHA-1, HMAC-SHA-256,
        AES-128-CMAC, and ``cmac(aes)`` with a secret of 16 bytes, else ENOENT; before, whatever its
        crypto API has. RFC 5925: any.
    any_is_own_family : bool
        Whether, on a listener of ``::``, a key without an address is for IPv6 peers alone, so that
        IPv4 peers may be unsigned. Linux: yes. For RFC 5925 a key without an address is for all.
    match_ports : bool
        Whether MKTs may name ports. RFC 5925 section 3.1: yes. Linux: EINVAL.
    max_secret_length : int or None
        Bytes a master key may have. Linux: 80. RFC 5925: any.
    max_mac_length : int
        Bytes a MAC may have. Linux: 16, what fits beside MSS, timestamps and window scale in a
        SYN. RFC 5925: 36, what the option space holds.
    every_md5_key : bool
        Whether, of several TCP-MD5 keys for a peer, every one that is valid may sign and verify,
        the one with the longest prefix first. Linux: no, that one alone, and a key for the same
        prefix replaces it. RFC 2385 has one key; RFC 3562 asks that keys can be changed.
    min_option_length : int
        The shortest TCP-AO option that is sound. Linux: 5 (a shorter one at the very end of the
        header is not even seen). RFC 5925 section 2.2: 4.
    """

    ao_required: bool = False
    follow_rnext: bool = False
    as_endpoint: bool = False
    pass_unmatched: bool = False
    unsigned_connect: bool = False
    rnext_on_syn_ack: bool = False
    rnext_before_established: bool = False
    newest_key_first: bool = True
    algorithms: tuple[str, ...] | None = LINUX_ALGORITHMS
    any_is_own_family: bool = True
    match_ports: bool = False
    max_secret_length: int | None = 80
    max_mac_length: int = 16
    every_md5_key: bool = False
    min_option_length: int = 5

    @classmethod
    def linux(cls, *version: int, ao_required: bool = False) -> Policy:
        """What Linux does (``tcp_ao.rst``): the default of `Listener` and `Connection`.

        Parameters
        ----------
        *version : int
            Of the kernel, such as ``6, 12``; the newest that is known (7.2), if not given.
        ao_required : bool
            As of `Policy`.

        Returns
        -------
        Policy
        """
        older = bool(version) and version < _FIXED_ALGORITHMS
        return cls(ao_required=ao_required, algorithms=None if older else LINUX_ALGORITHMS)

    @classmethod
    def rfc5925(cls, *, ao_required: bool = False) -> Policy:
        """What RFC 5925 says.

        Parameters
        ----------
        ao_required : bool
            As of `Policy`.

        Returns
        -------
        Policy
        """
        return cls(
            ao_required=ao_required,
            pass_unmatched=True,
            unsigned_connect=True,
            rnext_on_syn_ack=True,
            rnext_before_established=True,
            newest_key_first=False,
            algorithms=None,
            any_is_own_family=False,
            match_ports=True,
            max_secret_length=None,
            max_mac_length=36,
            every_md5_key=True,
            min_option_length=4,
        )
