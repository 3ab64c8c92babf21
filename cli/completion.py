"""fednode completion: a shell completion script."""

from __future__ import annotations

import click

EPILOG = """\b
  bash:  fednode completion bash > ~/.local/share/bash-completion/completions/fednode
  zsh:   fednode completion zsh > "${fpath[1]}/_fednode"
  fish:  fednode completion fish > ~/.config/fish/completions/fednode.fish

\b
Site ids are completed from what the local daemon knows.

Exit codes: 0 done; 2 unknown shell.
"""


@click.command("completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell completion script."""
    from click.shell_completion import get_completion_class

    from cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise LookupError(f"click has no completion for {shell}")
    click.echo(found(cli, {}, "fednode", "_FEDNODE_COMPLETE").source())
