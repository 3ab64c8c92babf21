"""fednode policy: why something is served or not."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import TARGET, daemon, find_target
from cli.tables import count, moment, plain
from node.admin.control import RULES_PAGE_MAX

EPILOG = """\b
Exit codes: 0 answered; 1 failed; 2 THING makes no sense; 3 no daemon.
"""
RULES_EPILOG = "Exit codes: 0 done; 1 no such list; 3 no daemon."


@click.group("policy", epilog=EPILOG)
def command() -> None:
    """Show your rules, and say why something is served or not."""


@command.command("rules", epilog=RULES_EPILOG)
@click.option("--list", "list_name", metavar="NAME", default=None, help="The rules of this list instead of your own.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many.")
@click.option("--limit", type=click.IntRange(1, RULES_PAGE_MAX), default=RULES_PAGE_MAX, help="Show at most so many.")
@config_options
@json_option
def rules(
    list_name: str | None, offset: int, limit: int, config_file: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Show your own rules, or those of a list. `fednode unblock TARGET` takes one of yours back."""
    with daemon(config_file, data_dir) as client:
        found = client.rules_page(list_name=list_name, offset=offset, limit=limit)
    if as_json:
        echo_json(found)
        return
    for rule in found["rules"]:
        until = f", until {moment(rule['until_s'])}" if rule["until_s"] else ""
        note = f"  (note: {rule['note']})" if rule["note"] else ""
        ground = "" if rule["verdict"] == "allow" else f", {rule['ground']}"
        click.echo(plain(f"{rule['target']}  {rule['verdict']}{ground}{until}  {rule['reason']}{note}".rstrip()))
    shown = len(found["rules"])
    click.echo(count(found["total"], "rule") + (f", {shown} shown" if shown < found["total"] else ""))


@command.command("explain", epilog=EPILOG)
@click.argument("thing", type=TARGET)
@config_options
@json_option
def explain(thing: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Say for each act whether it is allowed, and which rule of which list decides.

    THING is a site id (a unique beginning will do), /ipns/SITE/path, a CID, /ipfs/CID/path, /ipns/DOMAIN or /p2p/PEER.
    """
    with daemon(config_file, data_dir) as client:
        found = client.explain(find_target(client, thing))
    if as_json:
        echo_json(found)
        return
    for row in found["acts"]:
        code = f" ({row['ground']}, {row['code']})" if row["verdict"] != "allow" else ""
        rule = f" by {plain(row['rule'])}" if row["rule"] else ""
        of = f" of {plain(row['list'])}" if row["list"] else ""
        reason = f": {plain(row['reason'])}" if row["reason"] else ""
        click.echo(f"{row['act']:<11} {row['verdict']}{code}{rule}{of}{reason}")
