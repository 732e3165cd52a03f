"""The command line ``tcpao``: one file a command, and nothing that the library does not offer."""

from __future__ import annotations

import os
import sys

from tcpao_fast.cli.app import tcpao


def main() -> None:
    """Run ``tcpao``; the console script."""
    try:
        tcpao(prog_name="tcpao")
    except BrokenPipeError:
        # whoever read our output has seen enough; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
