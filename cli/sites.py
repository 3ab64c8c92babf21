"""fednode sites: the sites that the local node knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, duration, echo_table, human_size
from node.admin.control import SITE_STATES, SITES_MAX

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
RELEASE: the newest one; 2 of 3: release 2 is here, 3 is the newest.

\b
HOSTS: the nodes that count as hosts, this one among them, of those that the
publisher wishes for at least; PROVED: how long ago another one of them proved
that it has the site. More: fednode resilience SITE

\b
Exit codes: 0 done; 3 no daemon.
"""


@click.command("sites", epilog=EPILOG)
@click.option("--find", default="", metavar="TEXT", help="Only those with TEXT in their id or one of their domains.")
@click.option("--state", type=click.Choice(SITE_STATES), default=None, help="Only those in this state.")
@click.option("--sort", type=click.Choice(["site", "size", "updated"]), default="site", help="Default: by site id.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many.")
@click.option("--limit", type=click.IntRange(1, SITES_MAX), default=SITES_MAX, help="Show at most so many.")
@config_options
@json_option
def command(
    find: str,
    state: str | None,
    sort: str,
    offset: int,
    limit: int,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """List the sites that the local node knows."""
    with daemon(config_file, data_dir) as client:
        found = client.sites_page(find=find, state=state or "", sort=sort, offset=offset, limit=limit)
    if as_json:
        echo_json(found)
    elif not found["total"]:
        narrowed = bool(find or state)
        click.echo("no such sites" if narrowed else "no sites yet; publish one: fednode publish DIR")
    else:
        echo_table(("STATE", "RELEASE", "SIZE", "HOSTS", "PROVED", "UPDATED", "SITE"), map(_row, found["sites"]))


def _row(site: dict[str, Any]) -> tuple[object, ...]:
    head, held = site["head"], site["held"]
    release, size = head["seq"], human_size(head["size_bytes"])
    if head["ended"]:
        release = size = "-"
    elif held is not None and held["seq"] != head["seq"]:
        release, size = f"{held['seq']} of {head['seq']}", human_size(held["size_bytes"])
    return site["state"], release, size, *_hosts(site), ago(site["updated_s"]), site["site"]


def _hosts(site: dict[str, Any]) -> tuple[str, str]:
    """Those that count, of those wished for; and how long ago one of the others proved that it has the site."""
    hosts, head = site["hosts"], site["head"]
    if hosts is None or head["ended"]:
        return "-", "-"
    proved = duration(hosts["proved_s_ago"]) if hosts["proved_s_ago"] is not None else "-"
    return f"{hosts['counted']} of {head['min_hosts']}", proved
