"""BIRD 2.17 and 3: BGP protocols with ``authentication ao`` and ``keys``, or ``password`` (MD5),
and the passwords of RPKI sessions.

BIRD covers options and has MACs of 12 bytes. ``preferred`` and ``deprecated`` choose the key to
send and have no place in a key file; ``port`` is where a side listens, and keys go by address.
Constants (``define``) and included files are followed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text, single_address
from tcpao_fast.keys.files.braces import Statement, statements
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
)
from tcpao_fast.keys.files.records import network_of

_MOST_INCLUDED = 1000
#: What is tried where a key states no algorithm.
_DEFAULTS = (("hmac(sha1)", "hmac sha1"), ("aes-128-cmac-96", "cmac aes128"))


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*(protocol|template)\s+bgp\b", text))


@dataclass(slots=True)
class _Texts:
    """Files that were read, and the constants in them."""

    found: KeyFile
    folder: Path | None
    constants: dict[str, str] = field(default_factory=dict)
    files: int = 0

    def read(self, text: str, where: str = "") -> list[Statement]:
        """The statements of a text, with those of the files that it includes."""
        blocks: list[Statement] = []
        for one in statements(text, escapes=False):
            if one.words[:1] == ["include"] and len(one.words) == 2:
                blocks += self._included(one.words[1], f"{where}line {one.line}")
            elif one.words[:1] == ["define"]:
                self._define(one.words)
            else:
                blocks.append(one)
        return blocks

    def _included(self, name: str, where: str) -> list[Statement]:
        if self.folder is None:
            self.found.notes.append(f"{where}: include {name} is not followed")
            return []
        blocks: list[Statement] = []
        paths = [Path(name)] if Path(name).is_absolute() else sorted(self.folder.glob(name))
        for path in paths:
            self.files += 1
            if self.files > _MOST_INCLUDED:
                raise ValueError(f"{where}: more than {_MOST_INCLUDED} files are included")
            try:
                if not path.is_file():  # no device, and no pipe that nobody writes into
                    raise OSError(0, "is no file")
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                self.found.notes.append(f"{where}: include {name}: {error.strerror}")
            else:
                blocks += self.read(text, f"{path.name} ")
        if not paths:
            self.found.notes.append(f"{where}: include {name}: there is no such file")
        return blocks

    def _define(self, words: list[str]) -> None:
        """``define NAME = VALUE``, the blanks around the sign there or not."""
        name, _, value = " ".join(words[1:]).partition("=")
        self.constants[name.strip()] = value.strip()

    def word(self, text: str) -> str:
        """A word, or what the constant of that name says."""
        seen = set()
        while text in self.constants and text not in seen:
            seen.add(text)
            text = self.constants[text]
        return text


def read_bird(text: str, folder: Path | None = None) -> KeyFile:
    """The keys of a BIRD configuration; included files are looked for in a folder."""
    found = KeyFile()
    texts = _Texts(found, folder)
    try:
        blocks = texts.read(text)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    templates: dict[str, list[Statement]] = {}
    for block in blocks:
        if block.words[:2] not in (
            ["protocol", "bgp"], ["template", "bgp"], ["protocol", "rpki"],
        ):  # fmt: skip
            continue
        own = list(block.inside)
        if "from" in block.words[:-1]:
            own = templates.get(block.words[block.words.index("from") + 1], []) + own
        name = block.words[2] if len(block.words) > 2 and block.words[2] != "from" else ""
        if block.words[0] == "template":
            templates[name] = own
        else:
            name = name or f"{block.words[1]} of line {block.line}"
            _read_protocol(found, texts, name, block.line, own)
    return found


def _read_protocol(
    found: KeyFile, texts: _Texts, name: str, line: int, inside: list[Statement]
) -> None:
    fields: dict[str, Any] = {}
    kind = ""
    password: str | None = None
    keys: list[Statement] = []
    for one in inside:
        words = [texts.word(word) for word in one.words] or [""]
        if words[0] in ("local", "neighbor", "remote"):
            side = "local" if words[0] == "local" else "remote"
            if words[:2] == ["neighbor", "range"] and len(words) > 2:
                fields[side] = network_of(words[2])
            elif len(words) > 1 and network_of(words[1]) is not None:
                fields[side] = network_of(words[1])
        elif words[:2] == ["source", "address"] and len(words) > 2:
            fields["local"] = network_of(words[2])
        elif words[0] == "vrf" and len(words) > 1 and words[1] != "default":
            fields["vrf"] = words[1]
        elif words[0] == "authentication" and len(words) > 1:
            kind = words[1]
        elif words[0] == "password" and len(words) > 1:
            password = words[1]
        elif words[0] == "keys":
            keys = one.inside
    if kind in ("", "md5") and password is not None:
        fields |= {"algorithm": "tcp-md5", "secret": password.encode(), "name": name}
        found.entries.append(Entry(f"line {line} (protocol {name})", fields))
    elif kind == "ao":
        for number, key in enumerate(keys, 1):
            _read_key(found, texts, name, number, key, fields, len(keys))


def _number(word: str) -> int:
    try:
        return int(word, 16 if word.lower().startswith("0x") else 10)
    except ValueError:
        return -1


def _bytes(word: str) -> bytes:
    """A string, or a bytestring: ``hex:00:ff``, or sixteen bytes and more in hexadecimal."""
    match = re.fullmatch(r"hex:((?:[0-9a-fA-F]{2}:?)*)", word) or re.fullmatch(
        r"((?:[0-9a-fA-F]{2}){16,}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){15,})", word
    )
    return bytes.fromhex(match[1].replace(":", "")) if match else word.encode()


def _read_key(
    found: KeyFile,
    texts: _Texts,
    name: str,
    number: int,
    key: Statement,
    common: dict[str, Any],
    of: int,
) -> None:
    where = f"line {key.line} (protocol {name} key {number})"
    fields = {**common, "name": name if of == 1 else f"{name} key {number}", "mac_length": 12}
    for one in key.inside:
        words = [texts.word(word) for word in one.words] or [""]
        if words[0] == "id" and len(words) == 2:
            fields["send_id"] = fields["recv_id"] = _number(words[1])
        elif words[0] in ("send", "recv") and words[1:2] == ["id"] and len(words) == 3:
            fields[f"{words[0]}_id"] = _number(words[2])
        elif words[0] == "secret" and len(words) == 2:
            fields["secret"] = _bytes(words[1])
        elif words[0] == "algorithm" and len(words) > 1:
            fields["algorithm"] = (
                f"{words[1]}({words[2]})" if len(words) == 3 else " ".join(words[1:])
            )
        elif words[0] in ("preferred", "deprecated"):
            found.notes.append(f"{where}: {words[0]} has no place in a key file")
        else:
            found.problems.append(f"{where}: unknown {words[0]}")
    if "secret" not in fields:
        found.problems.append(f"{where}: lacks secret")
        return
    if fields.get("algorithm") == "cmac(aes128)":
        fields["algorithm"] = "aes-128-cmac-96"
    if "algorithm" in fields:
        found.entries.append(Entry(where, fields))
        return
    found.notes.append(f"{where}: states no algorithm: hmac sha1 and cmac aes128 are tried")
    for algorithm, said in _DEFAULTS:
        more = {"algorithm": algorithm, "reading": said, "name": f"{fields['name']} ({said})"}
        found.entries.append(Entry(where, {**fields, **more}))


_WRITTEN = {"hmac-sha-1-96": "hmac sha1", "aes-128-cmac-96": "cmac aes128"}


def _algorithm(key: MasterKey) -> str | None:
    match = re.fullmatch(r"hmac\((md5|sha224|sha256|sha384|sha512)\)", key.algorithm)
    return _WRITTEN.get(key.algorithm) or (f"hmac {match[1]}" if match else None)


def _secret(key: MasterKey) -> str:
    text = key.secret.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "hex:" + ":".join(f"{byte:02x}" for byte in key.secret)


def _fits(key: MasterKey) -> bool:
    if single_address(key.remote) is None:
        return False
    if key.is_tcp_md5:
        return _secret(key).startswith('"')
    return _algorithm(key) is not None and key.mac_length == 12 and not key.exclude_options


#: What the text has of keys.
_CARRIES = frozenset({"addresses of peers", "local addresses"})


def write_bird(chain: KeyChain) -> Written:
    """A chain as BGP protocols; one for each pair of addresses."""
    usable = [key for key in chain if _fits(key)]
    groups: dict[tuple[object, object, bool], list[MasterKey]] = defaultdict(list)
    for key in usable:
        groups[key.local, key.remote, key.is_tcp_md5].append(key)
    blocks = []
    for number, ((local, remote, md5), keys) in enumerate(groups.items(), 1):
        source = single_address(local)
        here = f" {source}" if source else ""
        there = network_text(remote)
        lines = [
            f"protocol bgp tcpao{number} {{",
            f"\tlocal{here} as 64512;",
            f"\tneighbor {there} as 64513;",
        ]
        if md5:
            lines += ["\tauthentication md5;", f"\tpassword {_secret(keys[0])};"]
        else:
            lines += ["\tauthentication ao;", "\tkeys {"]
            for key in keys:
                lines += [
                    "\t\tkey {",
                    f"\t\t\tsend id {key.send_id};",
                    f"\t\t\trecv id {key.recv_id};",
                    f"\t\t\tsecret {_secret(key)};",
                    f"\t\t\talgorithm {_algorithm(key)};",
                    "\t\t};",
                ]
            lines.append("\t};")
        blocks.append("\n".join([*lines, "}"]))
    lost = not_carried(
        chain,
        "BIRD has no such key (algorithm, a MAC of 12 bytes, options covered, one neighbor)",
        lambda k: not _fits(k),
    )
    if usable:
        lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n\n".join(blocks) + "\n", usable, _CARRIES, tuple(lost))


FORMAT = Format(
    "bird", "BIRD (protocol bgp)", _looks_like, read_bird, write_bird, read_in=read_bird
)
