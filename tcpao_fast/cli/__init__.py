"""The command line ``tcpao``: one file a command, and nothing that the library does not offer."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run ``tcpao``; the console script."""
    try:
        from tcpao_fast.cli.app import tcpao
    except ValueError as error:  # a kernel that TCPAO_FAST_KERNELS names and this CPU lacks
        print(f"tcpao: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        tcpao(prog_name="tcpao")
    except BrokenPipeError:
        # whoever read our output has seen enough; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
