"""MikroTik RouterOS 6 and 7: ``tcp-md5-key`` of BGP's connections, of the templates that they name,
and of peers, as in ``/export``.
"""

from __future__ import annotations

import re

from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.records import (
    Assembly,
    Dialect,
    Peer,
    inherited,
    is_address,
    plain,
    refused,
)

_PAIR = re.compile(r"""([\w.-]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))""")
_TEMPLATES = "/routing bgp template"
_MENUS = ("/routing bgp connection", "/routing bgp peer", _TEMPLATES)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*/routing bgp (connection|peer|template|instance)\b", text))


def read_routeros(text: str) -> KeyFile:
    """The keys of a RouterOS export."""
    found = KeyFile()
    peers: dict[str, Peer] = {}
    templates: dict[str, Peer] = {}
    menu = ""
    for number, line in _joined(text):
        stripped = line.strip()
        if stripped.startswith("/"):
            stripped = re.sub(r"^/routing/bgp/", "/routing bgp ", stripped)
            menu = next((one for one in _MENUS if stripped.startswith(one)), "")
            stripped = stripped[len(menu) :].strip() if menu else ""
        if not menu or not re.match(r"(add|set)\b", stripped):
            continue
        pairs = _pairs(stripped)
        if pairs.get("disabled") == "yes" or pairs.get("disable") == "yes":
            found.notes.append(f"line {number}: is disabled: left out")
            continue
        name = pairs.get("name", f"line {number}")
        match = re.match(r"set \[?\s*(?:find name=)?\"?([^\s\"\]]+)", stripped)
        known = templates if menu == _TEMPLATES else peers
        # the template "default" is there from the start
        if match and (match[1] in known or menu == _TEMPLATES):
            name = match[1]
        peer = known.setdefault(name, Peer("", number, noun="connection"))
        if pairs.get("templates"):
            peer.inherits = pairs["templates"].split(",")
        peer.name = pairs.get("remote.address", pairs.get("remote-address", peer.name))
        if pairs.get("tcp-md5-key"):
            key = pairs["tcp-md5-key"]
            peer.settings["password"] = refused(key) or plain(key)
        elif "tcp-md5-key" in pairs:
            peer.settings["password"] = None
        local = pairs.get("local.address", pairs.get("update-source", ""))
        if is_address(local):
            peer.settings["local"] = local
        if pairs.get("vrf", "main") != "main":
            peer.vrf = pairs["vrf"]
    listed = [inherited(peer, templates) for peer in peers.values()]
    found.notes += [
        f"line {peer.line}: has no address (remote.address): left out"
        for peer in listed
        if peer.settings.get("password") and not is_address(peer.name)
    ]
    Assembly(found, Dialect({})).passwords(listed)
    return found


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines, with those that a backslash at the end continues; comments are not there."""
    found: list[tuple[int, str]] = []
    open_line = False
    for number, line in enumerate(text.splitlines(), 1):
        if open_line:
            found[-1] = (found[-1][0], found[-1][1] + line.lstrip())
        elif not line.lstrip().startswith("#"):
            found.append((number, line))
        else:
            continue
        open_line = line.endswith("\\")
        if open_line:
            found[-1] = (found[-1][0], found[-1][1][:-1])
    return found


def _pairs(text: str) -> dict[str, str]:
    """Names and values; a name that begins with a dot goes on with the part before the last dot."""
    pairs: dict[str, str] = {}
    prefix = ""
    for match in _PAIR.finditer(text):
        name = match[1]
        if name.startswith("."):
            name = prefix + name
        else:
            prefix = name.rpartition(".")[0]
        value = match[3]
        if match[2] is not None:
            value = re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), match[2])
        pairs[name] = value
    return pairs


FORMAT = Format("routeros", "MikroTik RouterOS (tcp-md5-key)", _looks_like, read_routeros)
