"""``tcpao completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and files of tcpao.

    \b
    For good:
      bash  tcpao completion bash > /etc/bash_completion.d/tcpao
      zsh   tcpao completion zsh > "${fpath[1]}/_tcpao"
      fish  tcpao completion fish > ~/.config/fish/completions/tcpao.fish
    """
    kind = get_completion_class(shell)
    if kind is None:  # click knows all of SHELLS
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "tcpao", "_TCPAO_COMPLETE").source())
