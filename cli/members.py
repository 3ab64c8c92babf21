"""fednode members: the nodes that this node knows, and what they state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, duration, echo_table, human_size

EPILOG = """\b
TAKES: sites of anybody (open), those it follows (followed), none, or leaving.
SHARED: sites that both it and this node host; FAILED: those of them that it
could not prove to have; PROVED: how long ago it proved one.

\b
Exit codes: 0 done; 3 no daemon.
"""


@click.command("members", epilog=EPILOG)
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the known nodes with what they state, connected or not."""
    with daemon(config_file, data_dir) as client:
        members = client.members()
    if as_json:
        echo_json({"members": members})
    else:
        head = ("ALIVE", "TAKES", "ROOM", "SITES", "SHARED", "FAILED", "PROVED", "STATED", "OPERATOR", "NODE")
        echo_table(head, map(_row, members))


def _row(member: dict[str, Any]) -> tuple[object, ...]:
    alive = "this node" if member["this_node"] else "yes" if member["alive"] else "no"
    proved = duration(member["proved_s_ago"]) if member["proved_s_ago"] is not None else "-"
    return (
        alive,
        member["takes"],
        human_size(member["room_bytes"]),
        member["sites"],
        member["shared_sites"],
        member["failed_sites"],
        proved,
        ago(member["stated_s"]),
        member["operator"] or "-",
        member["peer"],
    )
