"""fednode imports: what is being imported from the IPFS network, and what was."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import echo_table, human_size, plain

EPILOG = """\b
`fednode import /ipfs/CID` begins one. It goes on by itself when the daemon is
started again; what came before it was cancelled or failed stays for the next
import of the same tree.

\b
Exit codes: 0 done; 1 no such import; 3 no daemon.
"""


@click.command("imports", epilog=EPILOG)
@click.option("--cancel", "number", metavar="NUMBER", type=click.IntRange(min=1), help="End an import.")
@config_options
@json_option
def command(number: int | None, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the imports from the IPFS network that are under way; cancel one."""
    with daemon(config_file, data_dir) as client:
        found = [client.cancel_import(number)] if number is not None else client.imports()
    if as_json:
        echo_json({"imports": found})
        return
    if not found:
        click.echo("no imports; begin one: fednode import /ipfs/CID")
        return
    rows = (
        (
            each["number"],
            each["state"] + (" again" if each["resumed"] and each["state"] in ("resolving", "fetching") else ""),
            human_size(each["size_bytes"]),
            each["blocks"],
            each["peers"],
            plain(each["target"]),
            plain(each["error"]["message"]) if each["error"] else "",
        )
        for each in found
    )
    echo_table(("NUMBER", "STATE", "SIZE", "BLOCKS", "PEERS", "WHAT", "ERROR"), rows)
