"""The compiled core: from `wire` through `keys`, `mac` and `flow`; `batch` drives packets along."""

from importlib.util import find_spec
from pathlib import Path

if find_spec(f"{__name__}.wire.parse") is None:  # the sources are here, what they compile to is not
    root = Path(__file__).parents[2]
    where = "another folder, or" if (root / "setup.py").exists() else "a sound installation, or"
    raise ImportError(
        f"tcpao_fast is imported from {root}, where its extension modules are not built: run "
        f"Python from {where} build them here with 'pip install -e .'"
    )
