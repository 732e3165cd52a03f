"""Keys by reference: tasks carry where keys are, never the keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcpao_fast.errors import KeyFileError
from tcpao_fast.keys import KeyChain
from tcpao_fast.keys.files import load_keys
from tcpao_fast.keys.join import join_chains

#: What begins a reference to a variable of the environment.
ENVIRONMENT = "env:"


@dataclass(frozen=True)
class KeySource:
    """Where keys are, for every process that needs them.

    Attributes
    ----------
    references : tuple of str
        Paths of key files, which every worker can read under that name; or ``env:NAME``: a
        variable of each worker's environment that holds a key file encrypted with Fernet
        (`cryptography.fernet`), whose own key is in the file that the variable ``NAME_KEY_FILE``
        names.
    form : str, optional
        The key files' format, where it is not to be detected.
    master_key_env : str, optional
        The variable that holds the master key of a router's configuration.
    """

    references: tuple[str, ...]
    form: str | None = None
    master_key_env: str | None = None

    def load(self) -> KeyChain:
        """The keys.

        Returns
        -------
        KeyChain

        Raises
        ------
        KeyFileError
            A file cannot be read or has mistakes, or a variable is missing or cannot be decrypted.
        """
        master_key = None
        if self.master_key_env is not None:
            master_key = os.environ.get(self.master_key_env)
        return join_chains([(one, self._one(one, master_key)) for one in self.references])

    def _one(self, reference: str, master_key: str | None) -> KeyChain:
        if not reference.startswith(ENVIRONMENT):
            return load_keys(reference, self.form, master_key=master_key)
        name = reference.removeprefix(ENVIRONMENT)
        text = _decrypted(name, reference)
        with tempfile.TemporaryDirectory() as folder:  # 0700
            path = Path(folder) / "keys"
            path.touch(0o600)
            path.write_bytes(text)
            return load_keys(path, self.form, master_key=master_key)


def _decrypted(name: str, reference: str) -> bytes:
    from cryptography.fernet import Fernet, InvalidToken

    token, place = os.environ.get(name), os.environ.get(f"{name}_KEY_FILE")
    if token is None or place is None:
        missing = name if token is None else f"{name}_KEY_FILE"
        raise KeyFileError(reference, [f"environment variable {missing} is not set here"])
    try:
        return Fernet(Path(place).read_bytes().strip()).decrypt(token.encode())
    except OSError as error:
        raise KeyFileError(place, [error.strerror or str(error)]) from error
    except (InvalidToken, ValueError):
        raise KeyFileError(
            reference, [f"cannot be decrypted with the key in {place}; encrypt it with Fernet"]
        ) from None


def require_same(keys: Sequence[Any], identities: Sequence[dict[str, Any]], what: str) -> None:
    """Raise KeyFileError where a worker's keys are not those of the run."""
    if [key.identity() for key in keys] != list(identities):
        raise KeyFileError(what, ["a worker reads other keys under this name than the client"])
