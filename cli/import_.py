"""fednode import: a bundle, a CAR file, an IPNS record, or a tree of the IPFS network, into this node."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option
from cli.errors import WrongUsage

EPILOG = """\b
FILE is a bundle, made by `fednode export` or `fednode bundle`. It is checked
in full before anything is handed to the node, whose policy then decides as it
does with a publish.

Any other CAR file (version 1 or 2) becomes the trees under its roots, which are
kept until `fednode drop`. Blocks may be missing in the file if the node has
them; else it is refused, or with --partial kept as it is. Blocks that no root
reaches are left out; with --partial they become trees of their own.

With --name, FILE is an IPNS record of somebody else, which is verified.

/ipfs/CID and /ipns/NAME are fetched from IPFS peers: those that --from names,
those that are connected, and those that the DHT and the routers of the
settings know. What came before an end stays: the same command goes on there.

\b
Exit codes: 0 done (also when the node had it); 1 failed, or not a whole, valid
file; 2 wrong usage or configuration; 3 no daemon; 4 the node refused.
"""


@click.command("import", epilog=EPILOG)
@click.argument("source", metavar="FILE|/ipfs/CID|/ipns/NAME")
@click.option("--from", "peers", metavar="MULTIADDR", multiple=True, help="A peer to fetch from. May be repeated.")
@click.option("--partial", is_flag=True, help="Keep trees of a CAR file though blocks of them are missing.")
@click.option("--name", metavar="NAME", help="FILE is the IPNS record of this name.")
@config_options
@json_option
def command(
    source: str,
    peers: tuple[str, ...],
    partial: bool,
    name: str | None,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Take a site from a bundle, or a tree from a CAR file or from the IPFS network. Needs no key."""
    if name is not None and partial:
        raise WrongUsage("--partial goes with CAR files, --name with IPNS records")
    if source.startswith(("/ipfs/", "/ipns/")):
        if partial or name is not None:
            raise WrongUsage("--partial and --name go with a FILE")
        from cli.import_ipfs import import_from_network

        return import_from_network(source, peers, config_file, data_dir, as_json=as_json)
    if peers:
        raise WrongUsage("--from goes with /ipfs/CID and /ipns/NAME")
    file = Path(source)
    if not file.is_file():
        raise WrongUsage(f"there is no file {source!r}")
    from cli.import_trees import import_file, import_record, is_bundle

    if name is not None:
        import_record(file, name, config_file, data_dir, as_json=as_json)
        return 0
    if partial or not is_bundle(file):
        import_file(file, config_file, data_dir, partial=partial, as_json=as_json)
        return 0
    from cli.destination import Destination
    from cli.outcome import echo_outcome, outcome_json
    from cli.releases import publish_bundle

    destination = Destination.of((), config_file, data_dir)
    outcome = publish_bundle(file, destination)
    urls = destination.urls(outcome)
    echo_json(outcome_json(outcome, urls)) if as_json else echo_outcome(outcome, urls)
    return outcome.exit_code
