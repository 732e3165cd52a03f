"""The MAC algorithms: names, key and MAC lengths, and key derivation of each, in one table.

The usual ones run in the compiled kernels; the rarer ones (Linux's other ``hmac(NAME)`` and
``cmac(aes)``) over `hmac` and `cryptography`, one message at a time, and the KDF of ``kmac256-128``
over pycryptodomex.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from tcpao_fast.core.mac.messages import (
    AES_CMAC,
    HMAC_SHA1,
    HMAC_SHA256,
    HMAC_SHA512,
    KMAC256,
    LIBRARY,
    MD5,
)
from tcpao_fast.errors import MissingExtraError, UnknownAlgorithmError
from tcpao_fast.text import meant

Prf = Callable[[bytes, bytes], bytes]


@dataclass(frozen=True)
class Algorithm:
    """One MAC algorithm with its KDF.

    Attributes
    ----------
    name : str
        The canonical name.
    primitive : int
        Which of the compiled MACs, or `LIBRARY`.
    digest_length : int
        Bytes of the untruncated MAC.
    traffic_key_length : int
        Bytes of a traffic key; 0 for TCP-MD5, which derives none.
    default_mac_length : int
        Bytes of the MAC on the wire unless the MKT says otherwise.
    kdf_prefix, kdf_suffix : bytes
        What the KDF's input has before and after the context: RFC 5926 section 3.1.1 puts
        ``0x01 | "TCP-AO"`` before and the output length in bits (16-bit big endian) behind.
    extract : bool
        Whether a master key is first condensed by the MAC under a key of zero bytes: the
        conditioning of RFC 5926 section 3.1.1.2, and the extract step of HKDF (RFC 5869).
    exact_secret_length : int or None
        A master key of just this many bytes is taken as it is.
    secret_lengths : tuple of int, or None
        The only lengths that a master key can have.
    mac : callable or None
        `LIBRARY` algorithms: ``mac(traffic_key, message) -> digest``.
    derive : callable or None
        Where the KDF is not the compiled MAC over prefix, context and suffix:
        ``derive(master_key, context) -> traffic_key``.
    """

    name: str
    primitive: int
    digest_length: int
    traffic_key_length: int
    default_mac_length: int = 12
    kdf_prefix: bytes = b"\x01TCP-AO"
    kdf_suffix: bytes = b""
    extract: bool = False
    exact_secret_length: int | None = None
    secret_lengths: tuple[int, ...] | None = None
    mac: Prf | None = None
    derive: Prf | None = None

    @property
    def is_tcp_md5(self) -> bool:
        """Whether this is RFC 2385's TCP-MD5, which has no key IDs and no traffic keys."""
        return self.primitive == MD5


def _bits(length: int) -> bytes:
    return (8 * length).to_bytes(2, "big")


def _cmac(key: bytes, message: bytes) -> bytes:
    # late: not every program has such a key
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def _cmac_aes_key(secret: bytes, context: bytes) -> bytes:
    return _cmac(secret, b"\x01TCP-AO" + context + _bits(16))


TABLE: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("hmac-sha-1-96", HMAC_SHA1, 20, 20, kdf_suffix=_bits(20)),
        Algorithm(
            "aes-128-cmac-96",
            AES_CMAC,
            16,
            16,
            kdf_suffix=_bits(16),
            extract=True,
            exact_secret_length=16,
        ),
        Algorithm("hmac(sha256)", HMAC_SHA256, 32, 32, kdf_suffix=_bits(32)),
        Algorithm("hmac(sha512)", HMAC_SHA512, 64, 64, kdf_suffix=_bits(64)),
        # draft-ietf-tcpm-tcp-ao-algs: HKDF-SHA-256 with a salt of zeros, info = context.
        Algorithm(
            "hmac-sha256-128",
            HMAC_SHA256,
            32,
            32,
            default_mac_length=16,
            kdf_prefix=b"",
            kdf_suffix=b"\x01",
            extract=True,
        ),
        # Linux up to 6.12 under this name: the master key is the AES key, nothing is condensed.
        Algorithm(
            "cmac(aes)",
            LIBRARY,
            16,
            16,
            secret_lengths=(16, 24, 32),
            mac=_cmac,
            derive=_cmac_aes_key,
        ),
        Algorithm("tcp-md5", MD5, 16, 0, default_mac_length=16),
    )
}

#: Other names of the same algorithms.
ALIASES = {"hmac(sha1)": "hmac-sha-1-96", "cmac(aes128)": "aes-128-cmac-96"}

# Linux's crypto API spells some hashes unlike OpenSSL, which stands behind hashlib.
_OPENSSL_NAMES = {"rmd160": "ripemd160", **{f"sha3-{n}": f"sha3_{n}" for n in (224, 256, 384, 512)}}


def _linux_hmac(name: str) -> Algorithm | None:
    """Linux's ``hmac(NAME)``: RFC 5926's KDF with that hash."""
    hash_name = name[len("hmac(") : -1]
    library_name = _OPENSSL_NAMES.get(hash_name, hash_name)
    try:
        length = hashlib.new(library_name, usedforsecurity=False).digest_size
        hmac.digest(b"", b"", library_name)
    except (ValueError, TypeError):
        return None
    if not length:  # an extendable-output function is no hash for HMAC
        return None

    def mac(key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, library_name)

    def derive(secret: bytes, context: bytes) -> bytes:
        return mac(secret, b"\x01TCP-AO" + context + _bits(length))

    return Algorithm(
        name, LIBRARY, length, length, default_mac_length=min(12, length), mac=mac, derive=derive
    )


def _kmac256() -> Algorithm:
    """``kmac256-128`` of draft-ietf-tcpm-tcp-ao-algs: KMAC256 (NIST SP 800-185) for KDF and MAC."""
    try:
        from Cryptodome.Hash import KMAC256 as LIBRARY_KMAC
    except ImportError as error:
        raise MissingExtraError(
            "algorithm kmac256-128 needs pycryptodomex: pip install 'tcpao-fast[kmac]'"
        ) from error

    def derive(secret: bytes, context: bytes) -> bytes:
        # NIST SP 800-56C one-step KDF: a salt of zeros, a counter, the secret, the context.
        data = b"\0\0\0\x01" + secret + context
        return LIBRARY_KMAC.new(key=bytes(132), data=data, mac_len=32, custom=b"KDF").digest()

    return Algorithm("kmac256-128", KMAC256, 16, 32, default_mac_length=16, derive=derive)


@lru_cache(maxsize=64)
def find(name: str) -> Algorithm:
    """The algorithm of that name (case does not matter), or of Linux's name for it.

    Raises
    ------
    UnknownAlgorithmError
        There is none.
    MissingExtraError
        It needs a library that is not installed.
    """
    if not isinstance(name, str):
        raise UnknownAlgorithmError(f"algorithm is {name!r}; it must be text")
    lowered = name.lower()
    lowered = ALIASES.get(lowered, lowered)
    if lowered in TABLE:
        return TABLE[lowered]
    if lowered == "kmac256-128":
        return _kmac256()
    if lowered.startswith("hmac(") and lowered.endswith(")"):
        algorithm = _linux_hmac(lowered)
        if algorithm:
            return algorithm
        raise UnknownAlgorithmError(
            f"algorithm {name!r}: this Python's OpenSSL has no such hash; "
            "usual ones are hmac(sha224), hmac(sha384), hmac(sha512), hmac(md5)"
        )
    names = [*TABLE, "kmac256-128", *ALIASES, "hmac(NAME)"]
    raise UnknownAlgorithmError(
        f"algorithm {name!r} is unknown{meant(name, names)}; known are {', '.join(names)}"
    )
