"""fednode peers: connected and remembered nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, echo_table, plain

EPILOG = "Exit codes: 0 done; 1 the node could not be reached (with --connect); 3 no daemon."


@click.command("peers", epilog=EPILOG)
@click.option("--connect", "address", metavar="MULTIADDR", help="Connect to a node; its address ends in /p2p/ID.")
@config_options
@json_option
def command(address: str | None, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List connected nodes, or connect to one."""
    with daemon(config_file, data_dir) as client:
        if address is not None:
            connected = client.connect(address)
            echo_json(connected) if as_json else click.echo(f"connected to {plain(connected['peer'])}")
            return
        peers = client.peers()
    if as_json:
        echo_json({"peers": peers})
    elif not peers:
        click.echo("no peers; connect to one: fednode peers --connect MULTIADDR")
    else:
        echo_table(("CONNECTED", "SINCE", "FAULTS", "PEER", "ADDRESS"), map(_row, peers))


def _row(peer: dict[str, Any]) -> tuple[object, ...]:
    apart = "refused" if peer["refused"] else "no"
    direction = ("in" if peer["inbound"] else "out") if peer["connected"] else apart
    faults = ", ".join(f"{code} {number}" for code, number in sorted(peer["faults"].items())) or "-"
    address = peer["addresses"][0].rpartition("/p2p/")[0] or peer["addresses"][0] if peer["addresses"] else "-"
    return direction, ago(peer["since_s"]), faults, peer["peer"], address
