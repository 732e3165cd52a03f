"""OpenSSL 3's EVP_MAC through ctypes: a keyed context a key, a few calls a message."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools

import numpy as np

from peers import Contestant, UnavailableError

MOST = 2048


class Param(ctypes.Structure):
    """OSSL_PARAM."""

    _fields_ = [
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    ]


UTF8_STRING = 4


@functools.cache
def library():
    path = ctypes.util.find_library("crypto")
    if path is None:
        raise UnavailableError("OpenSSL: libcrypto is not here")
    found = ctypes.CDLL(path)
    if not hasattr(found, "EVP_MAC_fetch"):
        raise UnavailableError(f"OpenSSL: {path} is older than 3")
    for name in ("EVP_MAC_fetch", "EVP_MAC_CTX_new", "EVP_MAC_CTX_dup"):
        getattr(found, name).restype = ctypes.c_void_p
    found.EVP_MAC_CTX_new.argtypes = [ctypes.c_void_p]
    found.EVP_MAC_init.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p,
    ]  # fmt: skip
    found.EVP_MAC_update.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    found.EVP_MAC_final.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t,
    ]  # fmt: skip
    return found


def contestants(work):
    crypto = library()
    name, option, value = {
        "hmac-sha-1-96": (b"HMAC", b"digest", b"SHA1"),
        "aes-128-cmac-96": (b"CMAC", b"cipher", b"AES-128-CBC"),
    }[work.algorithm]
    params = (Param * 2)(
        Param(
            option, UTF8_STRING, ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p), len(value), 0
        )
    )
    mac = crypto.EVP_MAC_fetch(None, name, None)
    contexts = []
    for key in work.raw:
        context = crypto.EVP_MAC_CTX_new(mac)
        if not crypto.EVP_MAC_init(context, bytes(key), len(key), params):
            raise UnavailableError(f"OpenSSL: no {name.decode()}")
        contexts.append(context)
    jobs = [(contexts[i], message, len(message)) for i, message in work.messages(MOST)]
    digest = ctypes.create_string_buffer(64)
    init, update, final = crypto.EVP_MAC_init, crypto.EVP_MAC_update, crypto.EVP_MAC_final

    def run():
        found = []
        for context, message, length in jobs:
            init(context, None, 0, None)  # the key stays
            update(context, message, length)
            final(context, digest, None, 64)
            found.append(digest.raw[:12])
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 12)

    return [Contestant("OpenSSL EVP through ctypes", run, len(jobs))]
