"""fednode policy: why something is served or not."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon, find_target
from cli.tables import plain

EPILOG = """\b
Exit codes: 0 answered; 1 THING makes no sense; 3 no daemon.
"""


@click.group("policy", epilog=EPILOG)
def command() -> None:
    """Say why something is served or not."""


@command.command("explain", epilog=EPILOG)
@click.argument("thing")
@config_options
@json_option
def explain(thing: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Say for each act whether it is allowed, and which rule of which list decides.

    THING is a site id (a unique beginning will do), /ipns/SITE/path, a CID, /ipfs/CID/path or /ipns/DOMAIN.
    """
    with daemon(config_file, data_dir) as client:
        found = client.explain(find_target(client, thing))
    if as_json:
        echo_json(found)
        return
    for row in found["acts"]:
        why = ""
        if row["verdict"] != "allow":
            rule = f" by {plain(row['rule'])}" if row["rule"] else ""
            of = f" of {plain(row['list'])}" if row["list"] else ""
            why = f" ({row['ground']}, {row['code']}){rule}{of}" + (
                f": {plain(row['reason'])}" if row["reason"] else ""
            )
        click.echo(f"{row['act']:<11} {row['verdict']}{why}")
