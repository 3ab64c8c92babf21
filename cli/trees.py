"""fednode trees: what is kept without a publisher: IPFS trees, and IPNS records of others."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.daemon import daemon
from cli.tables import ago, echo_table, plain

EPILOG = """\b
A tree is whole, or partial when it was imported with --partial and blocks
below its root are missing. `fednode drop /ipfs/CID` gives one up, `fednode
export /ipfs/CID` writes it to a CAR file.

\b
Exit codes: 0 done; 3 no daemon.
"""


@click.command("trees", epilog=EPILOG)
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the IPFS trees that are kept here, and the IPNS names of others."""
    from cli.import_trees import tree_row

    with daemon(config_file, data_dir) as client:
        trees, names = client.trees(), client.names()
    if as_json:
        echo_json({"trees": trees, "names": names})
        return
    if not trees and not names:
        click.echo("no trees yet; import one: fednode import FILE.car")
    if trees:
        echo_table(("STATE", "SIZE", "BLOCKS", "SINCE", "TREE"), map(tree_row, trees))
    if trees and names:
        click.echo()
    if names:
        rows = ((row["sequence"], ago(row["saved_s"]), f"/ipns/{row['name']}", plain(row["value"])) for row in names)
        echo_table(("SEQUENCE", "SAVED", "NAME", "STANDS FOR"), rows)
