"""Several files' keys as one set: both ends' configurations, or all routers' of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tcpao_fast.errors import KeyFileError
from tcpao_fast.keys.key_chain import KeyChain, overlap_problems
from tcpao_fast.keys.master_key import MasterKey


def join_chains(named: Sequence[tuple[str, KeyChain]]) -> KeyChain:
    """The keys of several files together.

    A key that another file has too, as it is or as the other end writes it, is taken once.

    Parameters
    ----------
    named : sequence of (str, KeyChain)
        Name and keys of each file.

    Returns
    -------
    KeyChain
        Its tolerance is the largest of the files'.

    Raises
    ------
    KeyFileError
        Two keys of different files can match one connection with the same IDs, and are not equal.
    """
    if len(named) == 1:
        return named[0][1]
    keys: list[MasterKey] = []
    origin: list[str] = []
    known: set[MasterKey] = set()
    for name, chain in named:
        for key in chain:
            plain = replace(key, name=None)
            if plain in known or plain.mirrored() in known:
                continue
            keys.append(key)
            origin.append(name)
        known |= {replace(key, name=None) for key in chain}
    problems = overlap_problems(enumerate(keys))
    if problems:
        at = problems[0][0]
        raise KeyFileError(
            origin[at],
            [
                f"key {keys[number].label} and a key of another file match the same connection "
                f"with the same IDs, but are not equal: {what}; tcpao keys compare shows how two "
                "files differ"
                for number, what in problems
            ],
        )
    tolerance = max((chain.accept_tolerance for _, chain in named), default=0)
    notes = [note for _, chain in named for note in chain.notes]
    return KeyChain(keys, accept_tolerance=tolerance, notes=notes)
