"""fednode sites: the sites that the local node knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, echo_table, human_size

EPILOG = """\b
States:
  hosted       kept here and served
  updating     kept here; a newer release is being fetched
  fetching     not complete yet
  known        heard of, not kept
  quarantined  kept, refused by a rule
  refused      not kept, refused by a rule
  ended        ended by its publisher

\b
Exit codes: 0 done; 3 no daemon.
"""


@click.command("sites", epilog=EPILOG)
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the sites that the local node knows."""
    with daemon(config_file, data_dir) as client:
        sites = client.sites()
    if as_json:
        echo_json({"sites": sites})
    elif not sites:
        click.echo("no sites yet; publish one: fednode publish DIR")
    else:
        echo_table(("STATE", "RELEASE", "SIZE", "UPDATED", "SITE"), map(_row, sites))


def _row(site: dict[str, Any]) -> tuple[object, ...]:
    head = site["head"]
    release = "-" if head["ended"] else head["seq"]
    size = human_size(head["size_bytes"]) if not head["ended"] else "-"
    return site["state"], release, size, ago(site["updated_s"]), site["site"]
