"""fednode drop: give up a tree, or the record of a name of somebody else."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.errors import WrongUsage
from cli.tables import human_size

EPILOG = """\b
For trees that `fednode import` brought; `fednode trees` lists them. Blocks that
a site or another tree needs stay. A site is given up with
`fednode block SITE --drop`.

\b
Exit codes: 0 done; 1 it is not kept here; 2 wrong usage; 3 no daemon.
"""


@click.command("drop", epilog=EPILOG)
@click.argument("target", metavar="/ipfs/CID|/ipns/NAME")
@config_options
@json_option
def command(target: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Give up a tree, or the record of a name of somebody else."""
    kind, _, name = target.removeprefix("/").partition("/")
    if kind not in ("ipfs", "ipns") or not name or not target.startswith("/"):
        raise WrongUsage(f"{target!r} is neither /ipfs/CID nor /ipns/NAME")
    with daemon(config_file, data_dir) as client:
        found = client.drop_tree(name) if kind == "ipfs" else client.drop_name(name)
    if as_json:
        echo_json(found)
    elif kind == "ipfs":
        click.echo(f"dropped /ipfs/{found['root']}: {human_size(found['freed_bytes'])} freed")
        click.echo(f"it can come back: fednode import /ipfs/{found['root']}")
    else:
        click.echo(f"dropped the record of /ipns/{found['name']}")
