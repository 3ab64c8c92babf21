"""fednode resilience: what a site survives, and where it is weakest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import SITE, daemon, find_site
from cli.tables import count, duration, echo_fields, echo_table, human_size, plain

EPILOG = """\b
COUNTS: whether the node counts as a host, and if not, why. A node counts that
was reached lately and has not failed to prove that it holds the site.

\b
Exit codes: 0 done; 1 no such site, or not hosted here; 3 no daemon.
"""


@click.command("resilience", epilog=EPILOG)
@click.argument("site", type=SITE)
@config_options
@json_option
def command(site: str, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show what a hosted site survives, where it is weakest, and what helps."""
    with daemon(config_file, data_dir) as client:
        found = client.resilience(find_site(client, site))
    if as_json:
        echo_json(found)
        return
    echo_fields(_fields(found))
    click.echo()
    echo_table(("COUNTS", "PROVED", "OPERATOR", "NETWORK", "REGION", "NODE"), map(_row, found["hosts"]))
    for sentence in found["advice"]:
        click.echo(f"\nto do: {plain(sentence)}")


def _fields(found: dict[str, Any]) -> list[tuple[str, object]]:
    band = found["band"]
    if lacking := found["no_room_for"]:
        return [
            ("site", found["site"]),
            (
                "no room for",
                f"release {lacking['seq']}, {human_size(lacking['size_bytes'])}: this node is no host of it",
            ),
            ("survives", "not known here: only the hosts of the newest release know of each other"),
        ]
    losses = max(0, found["counted"] - 1)
    fields: list[tuple[str, object]] = [
        ("site", found["site"]),
        ("hosts", f"{found['counted']}, of {band['min']} to {band['max']} wished for"),
        ("survives", f"the loss of any {count(losses, 'host')}" if losses else "no loss: this is the only copy"),
    ]
    fields += [(f"without {kind}", _loss(loss)) for kind, loss in found["losses"].items() if loss is not None]
    if found["next"]:
        fields.append(("next to host it", ", ".join(found["next"])))
    return fields


def _loss(loss: dict[str, Any]) -> str:
    return f"{loss['name']}: {loss['left']} of {loss['left'] + loss['copies']} copies left"


def _row(host: dict[str, Any]) -> tuple[object, ...]:
    counts = "yes" if host["counts"] else f"no, {host['why_not']}"
    if host["this_node"] and host["counts"]:
        proved = "here"
    else:
        proved = duration(host["proved_s_ago"]) if host["proved_s_ago"] is not None else "never"
    return counts, proved, host["operator"] or "-", host["network"] or "-", host["region"] or "-", host["peer"]
