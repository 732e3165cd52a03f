"""What documentation shows of the command line: run, and compared or renewed.

    python tests/console.py docs/commands.md      # puts in what the commands print now

A fenced ``console`` block holds commands behind ``$``, each with what it prints; ``echo $?`` shows
the exit status of the one before. Times and rates, which differ from run to run, are not compared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARYING = re.compile(r"in \d+\.\d s( \(\d+\.\d million a second\))?")


def tcpao(*arguments, **options):
    """``tcpao`` as a process of its own."""
    code = "from tcpao_fast.cli import main; main()"
    options = {"capture_output": True, "timeout": 300, **options}
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], **options)


def shown(block):
    """The commands of a block, each with its output."""
    found = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append([line[2:].strip(), ""])
        else:
            found[-1][1] += line
    return found


def run(commands, scratch):
    """What the commands print, in a folder that has the checkout's tests."""
    code = "from tcpao_fast.cli import main; main()"
    script = f'tcpao() {{ "{sys.executable}" -c "{code}" "$@"; }}\nexec 2>&1\n'
    script += f'python() {{ "{sys.executable}" "$@"; }}\n'
    script += "".join(f"{command}\nstatus=$?; printf '\\f'; (exit $status)\n"
                      for command in commands)  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=scratch,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb"},
    )  # fmt: skip
    outputs = done.stdout.split("\f")[:-1]
    return ["".join(f"{line.rstrip()}\n" for line in text.splitlines()) for text in outputs]


def furnish(scratch):
    """What commands on a page find where they are run."""
    here = Path(__file__).parent.resolve()
    (scratch / "tests").symlink_to(here)
    (scratch / "examples").symlink_to(here.parent / "examples")


def comparable(text):
    return _VARYING.sub("in TIME", text)


def renewed(text, scratch):
    def block(match):
        commands = [command for command, _ in shown(match[1])]
        outputs = run(commands, scratch)
        body = "".join(f"$ {c}\n{o}" for c, o in zip(commands, outputs, strict=True))
        return f"```console\n{body}```"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    import tempfile

    for name in sys.argv[1:]:
        path = Path(name)
        with tempfile.TemporaryDirectory() as folder:
            furnish(Path(folder))
            path.write_text(renewed(path.read_text(), folder))
