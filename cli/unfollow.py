"""fednode unfollow: stop following a site."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import SITE, daemon, find_site
from cli.tables import plain

EPILOG = "Exit codes: 0 done; 1 it was not followed; 3 no daemon."


@click.command("unfollow", epilog=EPILOG)
@click.argument("site", type=SITE)
@config_options
@json_option
def command(site: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Stop following a site. What is stored stays; `fednode block SITE --drop` deletes."""
    with daemon(config_file, data_dir) as client:
        done = client.unfollow(find_site(client, site))
    echo_json(done) if as_json else click.echo(f"no longer followed: {plain(done['site'])}")
