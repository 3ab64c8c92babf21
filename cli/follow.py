"""fednode follow: fetch and keep a site."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import SITE, daemon
from cli.tables import plain

EPILOG = "Exit codes: 0 done; 1 not a site id; 3 no daemon."


@click.command("follow", epilog=EPILOG)
@click.argument("site", type=SITE)
@config_options
@json_option
def command(site: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Fetch a site and keep it, now and after restarts, also in mode `follow`. SITE is the whole id."""
    with daemon(config_file, data_dir) as client:
        done = client.follow(site)
    echo_json(done) if as_json else click.echo(f"followed: {plain(done['site'])}")
