"""What the commands share: options, consoles, progress, and errors as one clear line."""

from __future__ import annotations

import errno
import json
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from tcpao_fast.capture.output import require_distinct
from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.capture.sources import expand
from tcpao_fast.distributed.keys import ENVIRONMENT, KeySource
from tcpao_fast.distributed.result import RunResult, is_result
from tcpao_fast.distributed.store import expand_urls
from tcpao_fast.engine import Engine
from tcpao_fast.errors import CaptureError, KeyFileError
from tcpao_fast.keys import KeyChain
from tcpao_fast.keys.files import FORMATS, load_keys
from tcpao_fast.keys.join import join_chains
from tcpao_fast.report.inspection import Inspection
from tcpao_fast.report.results import Diagnosis, RewriteReport
from tcpao_fast.report.text import print_rewrite
from tcpao_fast.report.times import TIME_FORMATS
from tcpao_fast.text import counted

F = TypeVar("F", bound=Callable[..., Any])
Found = TypeVar("Found", Diagnosis, Inspection)


if TYPE_CHECKING:
    _KeysBase = click.ParamType[KeyChain]
else:
    _KeysBase = click.ParamType  # older releases of click know no type argument


#: A file, or "-": what cannot be opened is told by whoever opens it.
FILE = click.Path(allow_dash=True)


class KeysParameter(_KeysBase):
    """A key file, read when the command line is."""

    name = "keys"
    envvar_list_splitter = os.pathsep

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Files."""
        return [CompletionItem(incomplete, type="file")]

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> KeyChain:
        """Read the file; its mistakes are `KeyFileError`."""
        if isinstance(value, KeyChain):
            return value
        meta = {} if ctx is None else ctx.meta
        if value.startswith(ENVIRONMENT):
            if ctx is not None:
                ctx.find_root().meta.setdefault(KEY_FILE, []).append(value)
            return KeySource((value,), meta.get(KEY_FORMAT), meta.get(MASTER_KEY_NAME)).load()
        chain = load_keys(value, meta.get(KEY_FORMAT), master_key=meta.get(MASTER_KEY))
        if ctx is not None:
            ctx.find_root().meta.setdefault(KEY_FILE, []).append(value)
        for note in chain.notes[:SHOWN_NOTES]:
            click.echo(f"tcpao: note: {value}: {note}", err=True)
        if len(chain.notes) > SHOWN_NOTES:
            more = counted(len(chain.notes) - SHOWN_NOTES, "more note")
            click.echo(f"tcpao: note: {value}: {more}; keys check --json has them all", err=True)
        readers = who_can_read(value)
        if readers:
            what = f"{value}: {readers} can read its secrets; chmod 600 {shlex.quote(value)}"
            if ctx is not None and ctx.meta.get(STRICT):
                raise KeyFileError(value, [what.partition(": ")[2]])
            click.echo(f"tcpao: warning: {what}", err=True)
        return chain


#: Notes on a key file that are printed.
SHOWN_NOTES = 10
#: Where the context keeps the master key of the router whose configuration it is.
MASTER_KEY = "tcpao_fast.master_key"
#: Where it keeps the variable that holds it.
MASTER_KEY_NAME = "tcpao_fast.master_key_name"
#: Where the context keeps the key files' format.
KEY_FORMAT = "tcpao_fast.key_format"
#: Where the context keeps the key files' paths.
KEY_FILE = "tcpao_fast.key_file"


def who_can_read(path: str) -> str:
    """Who beside the owner can read a file, by its mode: "its group", "others", or both."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return ""
    if os.name != "posix" or not stat.S_ISREG(mode):
        return ""
    readers = [who for bit, who in ((stat.S_IRGRP, "its group"), (stat.S_IROTH, "others"))
               if mode & bit]  # fmt: skip
    return " and ".join(readers)


def refuse_key_file_as(*outputs: str | None) -> None:
    """Refuse outputs that are a key file."""
    require_distinct(outputs, click.get_current_context().find_root().meta.get(KEY_FILE, []))


def _note_format(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[KEY_FORMAT] = value


def _note_master_key(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    if name is None:
        return
    value = os.environ.get(name)
    if not value:
        raise click.BadParameter(f"environment variable {name} is not set", ctx, param)
    ctx.meta[MASTER_KEY] = value
    ctx.meta[MASTER_KEY_NAME] = name


def key_source() -> KeySource:
    """Where the keys of a command are, for other processes."""
    ctx = click.get_current_context()
    references = tuple(ctx.find_root().meta.get(KEY_FILE, []))
    return KeySource(references, ctx.meta.get(KEY_FORMAT), ctx.meta.get(MASTER_KEY_NAME))


def master_key_option(command: F) -> F:
    """``--master-key-env NAME``."""
    return click.option(
        "--master-key-env", metavar="NAME", is_eager=True, expose_value=False,
        callback=_note_master_key, help="Variable with a router's master key (type 6, $8$).",
    )(command)  # fmt: skip


def format_option(command: F) -> F:
    """``--from FORMAT``, and ``--master-key-env NAME``."""
    command = master_key_option(command)
    return click.option(
        "--from", type=click.Choice(FORMATS), is_eager=True, expose_value=False,
        callback=_note_format, metavar="FORMAT",
        help="Format of KEYS, if not detected.",
    )(command)  # fmt: skip


def with_notes(found: dict[str, Any], chain: KeyChain) -> dict[str, Any]:
    """A JSON object with what was assumed or left out where the keys were read."""
    return {**found, "notes": list(chain.notes)} if chain.notes else found


#: Where it keeps ``--strict``.
STRICT = "tcpao_fast.strict"


def _note_strict(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[STRICT] = value


#: Where it keeps that a command can do without keys.
KEYS_OPTIONAL = "tcpao_fast.keys_optional"


def _join_keys(
    ctx: click.Context, param: click.Parameter, chains: tuple[KeyChain, ...]
) -> KeyChain:
    """The keys of all files; without any, none, if the command can do without."""
    if chains:
        return join_chains(list(zip(ctx.find_root().meta.get(KEY_FILE, []), chains, strict=False)))
    if ctx.meta.get(KEYS_OPTIONAL):
        return KeyChain()
    raise click.MissingParameter(ctx=ctx, param=param)


def strict_option(command: F) -> F:
    """``--strict`` of commands without keys."""
    return click.option(
        "--strict", is_flag=True, expose_value=False, callback=_note_strict,
        help="End at damage in a capture.",
    )(command)  # fmt: skip


def keys_option(command: F) -> F:
    """``-k KEYS``, which several files can be given with, ``--from`` and ``--strict``."""
    command = format_option(command)
    command = click.option(
        "--strict", is_flag=True, is_eager=True, expose_value=False, callback=_note_strict,
        help="Refuse a key file that others can read; end at damage in a capture.",
    )(command)  # fmt: skip
    return click.option(
        "-k", "--keys", "chain", type=KeysParameter(), metavar="KEYS", multiple=True,
        envvar="TCPAO_KEYS", callback=_join_keys,
        help="TOML or a router's configuration; repeatable.",
    )(command)  # fmt: skip


def reload_keys(ctx: click.Context) -> tuple[list[str], Callable[[], KeyChain]]:
    """The key files of a command, and what reads them again, as ``-k`` did."""
    paths: list[str] = ctx.find_root().meta.get(KEY_FILE, [])
    form, master_key = ctx.meta.get(KEY_FORMAT), ctx.meta.get(MASTER_KEY)

    def load() -> KeyChain:
        return join_chains([(path, load_keys(path, form, master_key=master_key)) for path in paths])

    return paths, load


#: Where it keeps what ``-r`` names.
READ = "tcpao_fast.read"


def _note_read(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> None:
    ctx.meta[READ] = names


def _captures(
    ctx: click.Context, param: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    named = (*ctx.meta.get(READ, ()), *names)
    if not named:
        raise click.MissingParameter(ctx=ctx, param=param)
    if len(named) == 1 and is_result(named[0]):
        ctx.meta[RESULT] = result = RunResult(named[0])
        return tuple(result.explaining or result.captures[:1])
    return tuple(expand(expand_urls(named)))


#: Where it keeps the distributed run whose folder is named as a capture.
RESULT = "tcpao_fast.result"


def prepare_of_result() -> Callable[[Engine, str], None] | None:
    """What gives an engine the states of a distributed run, if its folder was named."""
    result: RunResult | None = click.get_current_context().meta.get(RESULT)
    return None if result is None else result.prepare


def captures_argument(command: F) -> F:
    """``CAPTURE...``: files, directories, patterns and lists; also ``-r CAPTURE``."""
    command = click.option(
        "-r", "--read", "read", metavar="CAPTURE", multiple=True, type=FILE, is_eager=True,
        expose_value=False, callback=_note_read, help="Another CAPTURE, as for tshark.",
    )(command)  # fmt: skip
    return click.argument(
        "captures", metavar="CAPTURE...", nargs=-1, type=FILE, callback=_captures
    )(command)


def capture_options(command: F) -> F:
    """What every command that verifies captures takes: ``--filter``, ``--isn``."""
    command = click.option(
        "--isn", "isns", multiple=True, metavar="ISNS",
        help="LOCAL,REMOTE,SNT_ISN,RCV_ISN or a JSON file.",
    )(command)  # fmt: skip
    return filter_option(command)


def filter_option(command: F) -> F:
    """``--filter``."""
    return click.option(
        "--filter", "packet_filter", metavar="FILTER",
        help="Only packets matching a tcpdump filter.",
    )(command)  # fmt: skip


def times_option(command: F) -> F:
    """``-t``, with tshark's letters."""
    letters = ", ".join(f"{letter} {what}" for letter, what in TIME_FORMATS.items())
    return click.option(
        "-t", "times", type=click.Choice(list(TIME_FORMATS)), default="r", metavar="FORMAT",
        help=f"How times are shown: {letters}.",
    )(command)  # fmt: skip


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def quiet_option(command: F) -> F:
    """``-q``."""
    return click.option("-q", "--quiet", is_flag=True, help="Print errors only.")(command)


def threads_option(command: F) -> F:
    """``--threads``."""
    return click.option(
        "--threads", type=click.IntRange(1, 1024), default=1, metavar="N",
        help="Number of threads.",
    )(command)  # fmt: skip


class _Console(Console):
    """A console that leaves it to us what a closed pipe means: rich would make status 1 of it,
    which says that something is bad.
    """

    def on_broken_pipe(self) -> None:
        """What the write said, again."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(stderr: bool = False) -> Console:
    """A console for standard output or error; when it is no terminal, lines are not cut."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 160
    # names are shown as they are, whatever brackets and colons are in them
    return _Console(stderr=stderr, width=width, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(value, indent=2))


def is_strict() -> bool:
    """Whether ``--strict`` was given."""
    return bool(click.get_current_context().meta.get(STRICT))


#: Damaged places that are printed.
SHOWN_DAMAGE = 10


def warn_of_damage(damage: Sequence[CaptureError], damaged: int) -> None:
    """A line for each damaged place on standard error."""
    for one in damage[:SHOWN_DAMAGE]:
        click.echo(f"tcpao: warning: {one}", err=True)
    if damaged > SHOWN_DAMAGE:
        more = counted(damaged - SHOWN_DAMAGE, "more damaged place")
        click.echo(f"tcpao: warning: {more}; --json lists them", err=True)


@contextmanager
def shown_before_damage(show: Callable[[Found], None]) -> Iterator[None]:
    """Show what was found before the damage of a capture; the damage is told after it."""
    try:
        yield
    except CaptureError as error:
        if error.found is not None and error.found.report.records:
            show(error.found)
        raise


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A progress callback that draws a bar on standard error, None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def update(path: str, done: int, size: int | None) -> None:
        if path not in tasks:
            tasks[path] = bar.add_task(Path(path).name, total=size)
        bar.update(tasks[path], completed=done)

    with bar:
        yield update


@contextmanager
def files_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """The same for many files: what is done of them."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    tasks: dict[str, TaskID] = {}

    def update(what: str, done: int, of: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=of)
        bar.update(tasks[what], completed=done)

    with bar:
        yield update


def show_rewrite(report: RewriteReport, as_json: bool, quiet: bool) -> None:
    """Print what `sign` or `strip` did; on standard error if the capture went to the other."""
    to_stderr = report.output == STANDARD_STREAM
    warn_of_damage(report.damage, len(report.damage))
    if quiet:
        return
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2), err=to_stderr)
    else:
        print_rewrite(console(to_stderr), report)
