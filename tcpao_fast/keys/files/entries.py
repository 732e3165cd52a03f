"""What a key file of any format comes to, before it is a `KeyChain`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcpao_fast.errors import InvalidKeyError, KeyFileError
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import single_address
from tcpao_fast.keys.key_chain import overlap_problems
from tcpao_fast.keys.master_key import UNKNOWN_SECRET


@dataclass(slots=True)
class Entry:
    """One key, as far as the file has it.

    Attributes
    ----------
    where : str
        For messages: the line, and what the file calls the key.
    fields : dict
        Arguments of `MasterKey`.
    encrypted : str or None
        How the file has the secret encrypted, so that it is not known.
    cipher : str or None
        The secret as the file has it then, where a master key opens it.
    """

    where: str
    fields: dict[str, Any] = field(repr=False)
    encrypted: str | None = None
    cipher: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class KeyFile:
    """What was read.

    Attributes
    ----------
    entries : list of Entry
    problems : list of str
        What makes it unusable.
    notes : list of str
        What was assumed, and what has no place in a key.
    accept_tolerance : float
        In seconds, as of `KeyChain`.
    tolerances : dict of str to float
        The same of each chain.
    chains : set of str
        Those whose keys are among the entries.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    accept_tolerance: float = 0
    tolerances: dict[str, float] = field(default_factory=dict)
    chains: set[str] = field(default_factory=set)

    @property
    def tolerance(self) -> float:
        """The largest of the chains whose keys are there."""
        of_chains = [seconds for name, seconds in self.tolerances.items() if name in self.chains]
        return max([self.accept_tolerance, *of_chains])


def _starts(key: MasterKey) -> list[object]:
    return [one[0] for one in (key.send_lifetime, key.accept_lifetime) if one is not None]


#: What a key may state beside IDs, algorithm and secret.
STATEMENTS: Mapping[str, Callable[[MasterKey], bool]] = {
    "names": lambda key: key.name is not None,
    "keys for any address": lambda key: key.remote is None,
    "addresses of peers": lambda key: single_address(key.remote) is not None,
    "prefixes of peers": lambda key: key.remote is not None and not single_address(key.remote),
    "local addresses": lambda key: single_address(key.local) is not None,
    "local prefixes": lambda key: key.local is not None and not single_address(key.local),
    "ports": lambda key: key.local_port is not None or key.remote_port is not None,
    "VRFs": lambda key: key.vrf is not None,
    "NAT flags": lambda key: key.local_nat or key.remote_nat,
    "MAC lengths": lambda key: not key.is_tcp_md5 and key.mac_length != TYPICAL_MAC_LENGTH,
    "options left out of the MAC": lambda key: key.exclude_options,
    "starts of send lifetimes": lambda key: bool(key.send_lifetime and key.send_lifetime[0]),
    "ends of send lifetimes": lambda key: bool(key.send_lifetime and key.send_lifetime[1]),
    "accept lifetimes": lambda key: key.accept_lifetime is not None,
    "lifetimes without a start": lambda key: None in _starts(key),
}
#: What a chain may state.
TOLERANCE = "the tolerance of accept lifetimes"
EVERYTHING = frozenset({*STATEMENTS, TOLERANCE})
LIFETIMES = frozenset({"starts of send lifetimes", "ends of send lifetimes", "accept lifetimes"})
PEERS = frozenset({"addresses of peers", "prefixes of peers"})
TYPICAL_MAC_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Written:
    """A chain in a format.

    Attributes
    ----------
    text : str
    keys : sequence of MasterKey
        Those that it has.
    carries : frozenset of str
        Which of `STATEMENTS` it has of them; what else they state is lost.
    lost : tuple of str
        What was left out, or changed, beyond that.
    """

    text: str
    keys: Sequence[MasterKey]
    carries: frozenset[str]
    lost: tuple[str, ...] = ()

    def all_lost(self, chain: KeyChain) -> tuple[str, ...]:
        """What of a chain the text has not, a line each."""
        lost = list(self.lost)
        for what, holds in STATEMENTS.items():
            if what not in self.carries:
                lost += not_carried(self.keys, what, holds)
        if chain.accept_tolerance and TOLERANCE not in self.carries:
            lost.append(TOLERANCE)
        return tuple(lost)


@dataclass(frozen=True, slots=True)
class Format:
    """A format of key files.

    Attributes
    ----------
    name, title : str
    looks_like : callable
        Whether a text is likely of this format.
    read : callable
        The text's keys.
    write : callable or None
        A chain as text.
    read_in : callable or None
        The text's keys, with the files that it includes from a folder.
    """

    name: str
    title: str
    looks_like: Callable[[str], bool]
    read: Callable[[str], KeyFile]
    write: Callable[[KeyChain], Written] | None = None
    read_in: Callable[[str, Path | None], KeyFile] | None = None


def build(name: str, found: KeyFile, form: str, *, allow_encrypted: bool = False) -> KeyChain:
    """The chain of what was read from a file of that format.

    A key whose secret is hidden is left out, which is noted; with `allow_encrypted` it is there,
    with `UNKNOWN_SECRET`.

    Raises
    ------
    KeyFileError
        With every mistake; and where no key is left.
    """
    problems = list(found.problems)
    notes = list(found.notes)
    hidden: list[str] = []
    keys: list[MasterKey] = []
    where: list[str] = []
    for entry in found.entries:
        if entry.encrypted and not allow_encrypted:
            hidden.append(
                f"{entry.where}: the secret is encrypted ({entry.encrypted}) and not guessed; "
                "write it in clear text, or convert the file to TOML and give it as secret_env"
            )
        try:
            secret = {"secret": UNKNOWN_SECRET} if entry.encrypted else {}
            key = MasterKey(**{**entry.fields, **secret, "form": form})
        except InvalidKeyError as error:
            problems += [f"{entry.where}: {what}: {why}" for what, why in error.problems]
            continue
        except TypeError:
            problems.append(f"{entry.where}: has no secret, or no algorithm")
            continue
        if allow_encrypted or not entry.encrypted:
            keys.append(key)
            where.append(entry.where)
    problems += [f"{where[index]}: {what}" for index, what in overlap_problems(enumerate(keys))]
    if not keys:
        problems += hidden
    if not keys and not problems:
        problems.append(
            "has no key for TCP-AO or TCP-MD5" + (f"; {'; '.join(notes)}" if notes else "")
        )
    if problems:
        raise KeyFileError(name, problems)
    notes += [f"{one.partition('; write it')[0]}: left out" for one in hidden]
    return KeyChain(keys, accept_tolerance=found.tolerance, notes=notes)


def text_secret(key: MasterKey) -> str | None:
    """A secret as text for formats that know nothing else: printable, without blanks and quotes."""
    try:
        text = key.secret.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if re.fullmatch(r"[!#-&(-\[\]-~]+", text) else None


def not_carried(
    chain: Sequence[MasterKey], what: str, holds: Callable[[MasterKey], bool]
) -> list[str]:
    """A line of `Written.lost`, if it holds for a key."""
    labels = [key.label for key in chain if holds(key)]
    return [f"{what}: {', '.join(labels)}"] if labels else []
