"""Secrets that a router encrypts with a master key of its own: Cisco's type 6, Junos's $8$."""

from __future__ import annotations

from tcpao_fast.errors import MissingExtraError
from tcpao_fast.keys.files.entries import KeyFile


def open_secrets(found: KeyFile, master_key: str) -> None:
    """Decrypt what a master key opens; a secret that it does not open is a mistake.

    Parameters
    ----------
    found : KeyFile
    master_key : str

    Raises
    ------
    MissingExtraError
        The library that does it is not installed.
    """
    try:
        from network_secret import cisco_type6, juniper8
    except ImportError:
        raise MissingExtraError(
            "encrypted secrets need network-secret: pip install 'tcpao_fast[master-key]' "
            "(Python 3.11 and later)"
        ) from None
    opens = {"type 6": cisco_type6.decrypt, "$8$": juniper8.decrypt}
    for entry in found.entries:
        if entry.cipher is None or entry.encrypted not in opens:
            continue
        try:
            secret = opens[entry.encrypted](entry.cipher.strip('"'), master_key)
        except ValueError:
            found.problems.append(
                f"{entry.where}: the master key does not open the secret ({entry.encrypted})"
            )
            continue
        entry.fields["secret"] = secret.encode()
        entry.encrypted = None
