"""fednode block: refuse a site, a CID or a peer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from cli.common import config_options, confirm, echo_json, json_option, yes_option
from cli.daemon import TARGET, daemon, find_target
from cli.tables import human_size, moment, plain
from cli.until import UNTIL

EPILOG = """\b
TARGET is a site id (a unique beginning will do), /ipns/SITE, a CID,
/ipfs/CID[/path], or /p2p/PEER for a node, as `fednode peers` shows it.

A rule of yours that ends a hosted site takes effect after the notice period
(policy.notice_s): the publisher is told at once, and can move. --now and
--legal take effect at once; so does what no hosted site depends on.

\b
Exit codes: 0 the rule is in force; 1 failed; 2 TARGET makes no sense;
3 no daemon; 130 not confirmed.
"""


@click.command("block", epilog=EPILOG)
@click.argument("target", type=TARGET)
@click.option("--reason", default="", help="Why; shown to readers and told to publishers.")
@click.option("--legal", is_flag=True, help="The law demands it: readers get 451 instead of 410.")
@click.option("--now", is_flag=True, help="At once, without a notice period.")
@click.option(
    "--drop", is_flag=True, help="Also delete what is stored: with --now at once, else after the export time."
)
@click.option("--until", type=UNTIL, default=None, help="When the rule ends: 12h, 30d, or a date (2027-01-31).")
@click.option("--note", default="", help="For yourself; the public log has only a commitment to it.")
@click.option("--secret", is_flag=True, help="The public log does not say what is refused, nor why.")
@yes_option
@config_options
@json_option
def command(
    target: str,
    reason: str,
    legal: bool,
    now: bool,
    drop: bool,
    until: int | None,
    note: str,
    secret: bool,
    yes: bool,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Refuse a site, a CID or a peer on this node, on every path in and out.

    Publishers of hosted sites get a signed notice, and time to move unless you say --now. What is stored stays on disk,
    unserved, so that `fednode unblock` undoes it without the network, and the publisher alone can fetch it; --drop
    deletes it. Other nodes are not affected.
    """
    with daemon(config_file, data_dir) as client:
        whole = find_target(client, target)
        if drop and not whole.startswith("/p2p/"):
            confirm(f"Delete what this node stores of {whole}?", yes=yes)
        ground = "legal" if legal else "policy"
        done = client.block(
            whole, ground=ground, reason=reason, drop=drop, note=note, secret=secret, now=now, until_s=until
        )
    if as_json:
        echo_json(done)
        return
    target_text = plain(done["rule"]["target"])
    if done["effective_s"] > time.time():
        click.echo(f"notice given: {target_text} is refused from {moment(done['effective_s'])} on")
        click.echo(f"sooner: fednode block --now {target_text}")
    else:
        click.echo(f"refused: {target_text}{_kept(done, drop=drop)}")
    if done["rule"]["until_s"]:
        click.echo(f"ends by itself: {moment(done['rule']['until_s'])}")
    click.echo(f"undo it: fednode unblock {target_text}")


def _kept(done: dict[str, Any], *, drop: bool) -> str:
    if done["rule"]["target"].startswith("/p2p/"):
        return ", no connection with it"
    if drop and done["drop_s"] > time.time():
        return f", kept for its publisher until {moment(done['drop_s'])}, then deleted"
    return f", {human_size(done['freed_bytes'])} deleted" if drop else ", kept on disk"
