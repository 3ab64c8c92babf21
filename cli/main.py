"""The `fednode` program: finds the verb, runs it, turns errors into `error:` lines and exit codes.

Verbs are imported only when they run, so that `fednode --help` stays fast: nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from cli.errors import WrongUsage
from protocol.errors import FednodeError, OperatorError

SECTIONS: dict[str, dict[str, str]] = {
    "Run a node": {
        "init": "Write a commented configuration file and a node key.",
        "start": "Run a node in the foreground.",
        "status": "Show how the local node is doing.",
        "peers": "List connected nodes, or connect to one.",
        "members": "List the known nodes with what they state.",
        "metrics": "Print the node's numbers for Prometheus.",
        "doctor": "Look for what is wrong and say what to do.",
        "store": "Check the blocks on disk, or mend their index.",
        "config": "Show the settings in force and where each comes from.",
    },
    "Decide what it hosts": {
        "console": "Decide in a browser: sites, reports, lists, rules, the log.",
        "sites": "List the sites that the local node knows.",
        "show": "Show one site.",
        "resilience": "Show what a site survives, and where it is weakest.",
        "block": "Refuse a site, a CID or a peer.",
        "allow": "Allow what lists refuse.",
        "unblock": "Take a rule back.",
        "list": "Follow lists of refusals: files, https or sites.",
        "blocklist": "The same for files alone.",
        "policy": "Show the rules; say why something is served or not.",
        "reports": "See what was reported or appealed, and decide it.",
        "notices": "Show what a node holds against a site.",
        "log": "Show what was decided here, or check another node's log.",
        "invite": "Invite publishers to your node.",
        "follow": "Fetch and keep a site.",
        "unfollow": "Stop following a site.",
        "export": "Write a hosted site as a bundle, or a tree as a CAR file.",
        "import": "Take a site from a bundle, or a tree from a CAR file or IPFS.",
        "imports": "List the imports from IPFS that are under way; cancel one.",
        "trees": "List the IPFS trees and the names of others that are kept.",
        "drop": "Give up a tree or a name of somebody else.",
    },
    "Publish": {
        "key": "Make and show site keys.",
        "publish": "Publish a folder or a bundle.",
        "bundle": "Make a signed bundle of a folder, offline.",
        "appeal": "Answer a node that refuses a site.",
        "unpublish": "End a site, signed by its key.",
    },
    "More": {
        "report": "Report something to another node's operator.",
        "demo": "Show what fednode does, with three nodes on this machine.",
        "completion": "Print a shell completion script.",
        "version": "Print the version.",
    },
}
MODULES = {"import": "import_"}  # verbs that cannot be names of modules
VERBS: dict[str, str] = {name: text for verbs in SECTIONS.values() for name, text in verbs.items()}

EPILOG = """\b
Exit codes, the same for every verb:
  0    done
  1    failed
  2    wrong usage or configuration
  3    no daemon, or no node, could be reached
  4    every node refused
  5    some nodes refused or failed, others accepted
  6    a key is missing, locked, or readable by others
  130  interrupted
"""


class LazyGroup(click.Group):
    """A group whose commands live in cli/VERB.py as `command`, imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"cli.{MODULES.get(cmd_name, cmd_name)}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"cli.{cmd_name}.command is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            close = difflib.get_close_matches(args[0], VERBS, n=1)
            more = f"; did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"there is no verb {args[0]!r}{more}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(verbs.items()), col_max=12)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fednode", message="fednode %(version)s")
def cli() -> None:
    """fednode: a federated hosting node.

    Sites that no single host can take down; refusals that every operator decides alone.

    \b
    A node on this machine, with a sample site:   fednode start --sample
    Publish a folder to it:                       fednode publish DIR
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Prints fednode's own errors; others are bugs, and raised."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = _invoke(arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return report(_from_click(error), as_json="--json" in arguments)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except FednodeError as error:
        return report(error, as_json="--json" in arguments)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0


def _invoke(arguments: Sequence[str]) -> object:
    """Errors and Ctrl-C inside trio's nurseries come in groups; the first one in is what happened."""
    try:
        return cli.main(args=list(arguments), prog_name="fednode", standalone_mode=False)
    except BaseExceptionGroup as group:
        found: BaseException = group
        while isinstance(found, BaseExceptionGroup):
            found = found.subgroup(KeyboardInterrupt) or found
            found = found.exceptions[0] if isinstance(found, BaseExceptionGroup) else found
        raise found from group


def _from_click(error: click.ClickException) -> OperatorError:
    """A wrong command line as an error of ours, so that all errors look the same."""
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"{error.ctx.command_path} --help"
    return WrongUsage(error.format_message().rstrip("."), hint=hint)


def report(error: FednodeError, *, as_json: bool) -> int:
    """Print an error for people, and for programs with --json; the exit code."""
    click.echo(f"error: {error}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    if as_json:
        click.echo(json.dumps({"error": {"code": error.code, "message": str(error), "hint": error.hint}}))
    return error.exit_code if isinstance(error, OperatorError) else 1


def main() -> NoReturn:
    """Console script."""
    sys.exit(run())
