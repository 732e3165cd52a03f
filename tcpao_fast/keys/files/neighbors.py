"""Neighbors of ``router bgp`` as IOS, NX-OS, EOS, FRR and AOS-CX say them: a line each
(``neighbor A WORDS``), or lines below ``neighbor A``; with groups, templates and listen ranges.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from typing import Any

from tcpao_fast.keys.files.records import Peer, Secret, inherited, is_address, typed
from tcpao_fast.keys.files.sections import Line

#: Templates whose settings are not about keys.
_OTHER_TEMPLATES = ("peer-policy",)


class Neighbors:
    """What one ``router bgp`` and its VRFs say of neighbors and groups.

    Attributes
    ----------
    peers : dict of (str or None, str) to Peer
        By VRF and name, groups and templates among them.
    """

    #: How a password is read.
    password: Callable[[str], Secret] = staticmethod(typed)

    def __init__(self) -> None:
        self.peers: dict[tuple[str | None, str], Peer] = {}

    def of(self, name: str, vrf: str | None, line: Line) -> Peer:
        """What is said of a name so far."""
        return self.peers.setdefault((vrf, name), Peer(name, line.number, vrf))

    def read(self, lines: list[Line], vrf: str | None = None) -> None:
        """The lines of a section, and of those inside."""
        for line in lines:
            self.line(line, vrf)

    def line(self, line: Line, vrf: str | None) -> None:
        """One line of ``router bgp``, a VRF or an address family."""
        words = line.lowered
        if words[:1] == ("neighbor",) and len(words) > 1:
            peer = self.of(line.words[1], vrf, line)
            if len(words) > 2:
                self.say(peer, line, line.behind(2))
            for below in line.inside:
                self.say(peer, below, below.text)
        elif words[:2] == ("no", "neighbor") and len(words) > 3:
            self.unsay(self.of(line.words[2], vrf, line), line.behind(3))
        elif words[:3] == ("bgp", "listen", "range") and len(words) > 5:
            self.listen(line, vrf)
        elif words[0] in ("template", "peer-group") and len(words) > 1:
            self.template(line, vrf)
        elif words[0] == "vrf" and len(words) > 1:
            self.read(line.inside, line.words[1])
        elif words[0] == "address-family":
            named = line.words[words.index("vrf") + 1] if "vrf" in words[:-1] else vrf
            self.read(line.inside, named)

    def listen(self, line: Line, vrf: str | None) -> None:
        """``bgp listen range PREFIX peer-group NAME``: dynamic neighbors."""
        words = line.lowered
        name = line.words[5] if words[4:6] == ("peer", "group") else line.words[-1]
        if "peer-group" in words[:-1]:
            name = line.words[words.index("peer-group") + 1]
        self.of(line.words[3], vrf, line).inherits.append(name)

    def template(self, line: Line, vrf: str | None) -> None:
        """``template KIND NAME`` with its lines below."""
        words = line.lowered
        if words[1] in _OTHER_TEMPLATES:
            return
        peer = self.of(line.words[-1], vrf, line)
        for below in line.inside:
            self.say(peer, below, below.text)

    def say(self, peer: Peer, line: Line, text: str) -> None:
        """What a line says of a neighbor or a group."""
        words = text.split()
        head, rest = words[0].lower(), text.split(None, 1)[1] if len(words) > 1 else ""
        if head == "no":
            self.unsay(peer, rest)
        elif head == "password" and rest:
            peer.settings["password"] = type(self).password(rest)
        elif head == "peer-group" and rest:
            peer.inherits.append(words[1])
        elif head == "peer" and len(words) > 2 and words[1].lower() == "group":
            peer.inherits.append(words[2])
        elif head == "inherit" and len(words) > 2:
            if words[1].lower() not in _OTHER_TEMPLATES:
                peer.inherits.append(words[2])
        elif head == "update-source" and is_address(rest):
            peer.settings["local"] = rest
        elif head == "address-family":
            for below in line.inside:
                self.say(peer, below, below.text)
        else:
            self.more(peer, line, text)

    def more(self, peer: Peer, line: Line, text: str) -> None:
        """What a system says beyond that."""

    def unsay(self, peer: Peer, text: str) -> None:
        """``no password`` and the like."""
        name = {"password": "password", "ao": "chain"}.get(text.split()[0].lower() if text else "")
        if name is not None:
            peer.settings[name] = None

    def resolved(self) -> list[Peer]:
        """Every neighbor with what it inherits; groups are its VRF's, then the global ones."""
        of_vrf: dict[str | None, dict[str, Peer]] = {None: {}}
        for (vrf, name), peer in self.peers.items():
            of_vrf.setdefault(vrf, {})[name] = peer
        known: dict[str | None, dict[str, dict[str, Any]]] = {vrf: {} for vrf in of_vrf}
        groups = {vrf: ChainMap(named, of_vrf[None]) for vrf, named in of_vrf.items()}
        return [
            inherited(peer, groups[vrf], known[vrf])
            for (vrf, name), peer in self.peers.items()
            if is_address(name)
        ]
