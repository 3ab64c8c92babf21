"""fednode block: refuse a site or a CID."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, confirm, echo_json, json_option, yes_option
from cli.daemon import SITE, daemon, find_target
from cli.tables import human_size, plain

EPILOG = """\b
TARGET is a site id (a unique beginning will do), /ipns/SITE, a CID, or
/ipfs/CID[/path].

\b
Exit codes: 0 the rule is in force; 1 failed; 2 TARGET makes no sense;
3 no daemon; 130 not confirmed.
"""


@click.command("block", epilog=EPILOG)
@click.argument("target", type=SITE)
@click.option("--reason", default="", help="Why; shown to readers and told to publishers.")
@click.option("--legal", is_flag=True, help="The law demands it: readers get 451 instead of 410.")
@click.option("--drop", is_flag=True, help="Also delete what is stored; taking it back needs the network.")
@click.option("--note", default="", help="For yourself; the public log has only a commitment to it.")
@click.option("--secret", is_flag=True, help="The public log does not say what is refused, nor why.")
@yes_option
@config_options
@json_option
def command(
    target: str,
    reason: str,
    legal: bool,
    drop: bool,
    note: str,
    secret: bool,
    yes: bool,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Refuse a site or a CID on this node, at once and on every path in and out.

    What is stored stays on disk, unserved, so that `fednode unblock` undoes it without the network; --drop deletes
    it. Other nodes are not affected.
    """
    with daemon(config_file, data_dir) as client:
        whole = find_target(client, target)
        if drop:
            confirm(f"Delete what this node stores of {whole}?", yes=yes)
        ground = "legal" if legal else "policy"
        done = client.block(whole, ground=ground, reason=reason, drop=drop, note=note, secret=secret)
    if as_json:
        echo_json(done)
        return
    freed = f", {human_size(done['freed_bytes'])} deleted" if drop else ", kept on disk"
    click.echo(f"refused: {plain(done['rule']['target'])}{freed}")
    click.echo(f"undo it: fednode unblock {plain(done['rule']['target'])}")
