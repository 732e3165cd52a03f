"""AOS-CX: the passwords of neighbors of ``router bgp`` (TCP-MD5).

``ciphertext`` is not read. Its key chains are other protocols'.
"""

from __future__ import annotations

import re

from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.neighbors import Neighbors
from tcpao_fast.keys.files.records import Assembly, Dialect, Secret, plain, refused, unquoted
from tcpao_fast.keys.files.sections import lines_of, section

_INSIDE = "neighbor bgp no network redistribute maximum-paths router-id timers distance"
_SECTIONS = (
    section(
        "router bgp", 3, _INSIDE,
        section("vrf", 2, _INSIDE, section("address-family", 3, _INSIDE)),
        section("address-family", 3, _INSIDE),
    ),
)  # fmt: skip


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?im)^\s*neighbor \S+ password (plaintext|ciphertext) ", text)
        or re.search(r"(?im)^!(Version )?ArubaOS-CX", text)
    )


def _secret(text: str) -> Secret:
    kind, _, rest = text.partition(" ")
    if kind.lower() == "plaintext" and rest:
        return refused(rest.strip()) or plain(unquoted(rest.strip()))
    return Secret.unread("ciphertext" if kind.lower() == "ciphertext" else kind)


class _Neighbors(Neighbors):
    password = staticmethod(_secret)


def read_aos_cx(text: str) -> KeyFile:
    """The keys of an AOS-CX configuration."""
    found = KeyFile()
    assembly = Assembly(found, Dialect({}))
    for line in lines_of(text, _SECTIONS):
        if line.begins("router", "bgp"):
            table = _Neighbors()
            table.read(line.inside)
            assembly.passwords(table.resolved())
    return found


FORMAT = Format("aos_cx", "AOS-CX (neighbor passwords)", _looks_like, read_aos_cx)
