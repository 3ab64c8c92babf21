"""fednode allow: say that lists do not refuse something here."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import TARGET, daemon, find_target
from cli.tables import moment, plain
from cli.until import UNTIL

EPILOG = """\b
TARGET is a site id (a unique beginning will do), /ipns/SITE, /ipns/DOMAIN, a
CID, or /ipfs/CID[/path].

A rule of yours that refuses the same TARGET is replaced; one on something
else (the site of a CID, say) goes on to refuse.

\b
Exit codes: 0 the rule is in force; 1 failed; 2 TARGET makes no sense;
3 no daemon.
"""


@click.command("allow", epilog=EPILOG)
@click.argument("target", type=TARGET)
@click.option("--reason", default="", help="Why; the public log says it.")
@click.option("--until", type=UNTIL, default=None, help="When the rule ends: 12h, 30d, or a date (2027-01-31).")
@click.option("--note", default="", help="For yourself; the public log has only a commitment to it.")
@config_options
@json_option
def command(
    target: str,
    reason: str,
    until: int | None,
    note: str,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Allow what lists refuse, whatever the list and its later versions say.

    `fednode unblock TARGET` takes it back.
    """
    with daemon(config_file, data_dir) as client:
        whole = find_target(client, target)
        done = client.block(whole, verdict="allow", reason=reason, note=note, until_s=until)
    if as_json:
        echo_json(done)
        return
    ends = f" until {moment(done['rule']['until_s'])}" if done["rule"]["until_s"] else ""
    target_text = plain(done["rule"]["target"])
    click.echo(f"allowed, whatever lists say: {target_text}{ends}")
    click.echo(f"undo it: fednode unblock {target_text}")
