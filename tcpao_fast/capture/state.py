"""What is known of connections, in a JSON file from run to run."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.engine import Engine
from tcpao_fast.errors import StateError


def read_state(engine: Engine, path: str | os.PathLike[str]) -> list[str]:
    """Import the state that a file holds; nothing where there is no such file yet.

    Returns
    -------
    list of str
        What `Engine.import_state` could not take over.

    Raises
    ------
    StateError
        The file cannot be read, or holds no state.
    """
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"{os.fspath(path)}: {error.strerror}") from error
    try:
        return engine.import_state(json.loads(text))
    except ValueError as error:  # StateError is one too
        raise StateError(f"{os.fspath(path)}: {error}") from None


def write_state(engine: Engine, path: str | os.PathLike[str]) -> None:
    """Export everything that is known of connections; the file is whole, or the one before.

    Raises
    ------
    CaptureError
        It cannot be written.
    """
    output = OutputFile(path)
    try:
        output.put(json.dumps(engine.export_state(candidates=True), indent=1).encode() + b"\n")
        output.commit()
    finally:
        output.discard()
