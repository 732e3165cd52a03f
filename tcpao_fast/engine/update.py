"""Other keys for an engine that runs: which of the new ones takes the place of which old one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest

import numpy as np
import numpy.typing as npt

from tcpao_fast.keys import MasterKey


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """What `Engine.update` changed.

    Attributes
    ----------
    added : tuple of MasterKey
        New keys that are like no old one.
    replaced : tuple of (MasterKey, MasterKey)
        Old and new one of the same identity, with another secret or other lifetimes.
    removed : tuple of MasterKey
        Old keys that no new one is like.
    kept : tuple of MasterKey
        Keys that stay as they are.
    """

    added: tuple[MasterKey, ...]
    replaced: tuple[tuple[MasterKey, MasterKey], ...]
    removed: tuple[MasterKey, ...]
    kept: tuple[MasterKey, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.replaced or self.removed)


def _identity(key: MasterKey, *, named: bool) -> str:
    """All that tells a key from others, as text; the name only where it counts."""
    told = key.identity()
    if not named:
        told = told | {"name": None}
    return json.dumps(told, sort_keys=True)


def _same_secret(one: MasterKey, other: MasterKey) -> bool:
    return one.has_secret and other.has_secret and compare_digest(one.secret, other.secret)


def match_keys(old: Sequence[MasterKey], new: Sequence[MasterKey]) -> list[int]:
    """Which new key takes the place of each old one: its index, or -1.

    A key is the same by its identity (`MasterKey.identity`), first with its secret, then without;
    then by its identity without its name. No new key takes two places.
    """
    found = [-1] * len(old)
    taken: set[int] = set()
    for named in (True, False):
        of_identity = defaultdict(list)
        for i, key in enumerate(new):
            of_identity[_identity(key, named=named)].append(i)
        for with_secret in (True, False):
            for i, key in enumerate(old):
                if found[i] >= 0:
                    continue
                for j in of_identity.get(_identity(key, named=named), ()):
                    if j not in taken and (not with_secret or _same_secret(key, new[j])):
                        found[i] = j
                        taken.add(j)
                        break
    return found


def numbers_of(
    old: Sequence[MasterKey], new: Sequence[MasterKey]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], KeyChanges]:
    """What `KeyTable.adopt` is to be told (same, kin), and what a caller is."""
    kin = match_keys(old, new)
    same = [
        j if j >= 0 and _same_secret(key, new[j]) else -1 for key, j in zip(old, kin, strict=True)
    ]

    def lifetimes(key: MasterKey) -> tuple[object, object]:
        return key.send_lifetime, key.accept_lifetime

    pairs = [(old[i], new[j], same[i] >= 0) for i, j in enumerate(kin) if j >= 0]
    kept = [
        after for before, after, secret in pairs if secret and lifetimes(before) == lifetimes(after)
    ]
    replaced = [
        (before, after)
        for before, after, secret in pairs
        if not (secret and lifetimes(before) == lifetimes(after))
    ]
    changes = KeyChanges(
        added=tuple(key for j, key in enumerate(new) if j not in set(kin)),
        replaced=tuple(replaced),
        removed=tuple(old[i] for i, j in enumerate(kin) if j < 0),
        kept=tuple(kept),
    )
    return np.array(same, np.int32), np.array(kin, np.int32), changes
