"""fednode blocklist: files of refusals that the node follows."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, count, plain

EPILOG = """\b
A list has one rule a line: /ipns/SITE or /ipfs/CID[/path]; lines that begin
with # are comments. The node reads a file again when it changes. A file that
vanishes or breaks leaves the last good rules in force.

\b
Exit codes: 0 done; 1 failed, or no such list; 2 no such file; 3 no daemon.
"""


@click.group("blocklist", epilog=EPILOG)
def command() -> None:
    """Follow files of refusals."""


@command.command("add", epilog=EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_options
@json_option
def add(file: Path, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Follow a file. The node must be able to read it."""
    with daemon(config_file, data_dir) as client:
        status = client.blocklist_add(str(file.absolute()))
    if as_json:
        echo_json(status)
        return
    click.echo(f"{plain(status['path'])}: {count(status['rule_count'], 'rule')} in force")
    _echo_problems(status)


@command.command("remove", epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@config_options
@json_option
def remove(file: Path, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Stop following a file; its rules go."""
    with daemon(config_file, data_dir) as client:
        done = client.blocklist_remove(str(file.absolute()))
    echo_json(done) if as_json else click.echo(f"no longer followed: {plain(done['path'])}")


@command.command("show", epilog=EPILOG)
@config_options
@json_option
def show(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the followed files and how their last reading went."""
    with daemon(config_file, data_dir) as client:
        lists = client.blocklists()
    if as_json:
        echo_json({"blocklists": lists})
    elif not lists:
        click.echo("no blocklists; follow one: fednode blocklist add FILE")
    for status in [] if as_json else lists:
        click.echo(f"{plain(status['path'])}: {count(status['rule_count'], 'rule')}, read {ago(status['read_s'])}")
        _echo_problems(status)


def _echo_problems(status: dict[str, object]) -> None:
    if status["error"]:
        click.echo(f"  not readable now, older rules are in force: {plain(status['error'])}")
    problems = status["problems"]
    for problem in problems if isinstance(problems, list) else []:
        click.echo(f"  line {problem['line']} left out: {plain(problem['message'])}")
    total = status["problem_count"]
    shown = len(problems) if isinstance(problems, list) else 0
    if isinstance(total, int) and total > shown:
        click.echo(f"  and {total - shown} more")
