"""fednode unblock: take a rule of one's own back."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import TARGET, daemon, find_target
from cli.tables import plain

EPILOG = """\b
A refusal that comes from a blocklist is not undone by this: change the list
(fednode blocklist show).

\b
Exit codes: 0 done; 1 there is no such rule; 2 TARGET makes no sense; 3 no
daemon.
"""


@click.command("unblock", epilog=EPILOG)
@click.argument("target", type=TARGET)
@config_options
@json_option
def command(target: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Take a rule of your own back, also one of `fednode allow`. What was kept on disk is served again at once."""
    with daemon(config_file, data_dir) as client:
        done = client.unblock(find_target(client, target))
    echo_json(done) if as_json else click.echo(f"rule taken back: {plain(done['target'])}")
