"""fednode publish: hand a folder or a bundle to nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.common import config_options, echo_json, json_option
from cli.release_options import release_options

if TYPE_CHECKING:
    from cli.publishing.scan import ScanOptions
    from cli.publishing.sequence import Wishes

EPILOG = """\b
NODE is a libp2p address that ends in /p2p/ID; `fednode status` on that node
shows it. Without --to the node on this machine gets the site. A bundle was
signed when it was made and needs no key.

A domain leads to the site once it has a DNS record, too:
  _dnslink.NAME  TXT  "dnslink=/ipns/SITE"
Domains and named hosts stay from release to release until an option says else.

Names that begin with a dot stay out, except .well-known.

\b
Exit codes:
  0  every node has the release (also when nothing had changed)
  1  failed, for example because a file changed meanwhile
  2  wrong usage or configuration
  3  no node could be reached
  4  every node refused
  5  some nodes have it, others refused or failed
  6  the key is missing, locked, or readable by others
"""


@click.command("publish", epilog=EPILOG)
@click.argument("path", metavar="DIR|BUNDLE", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "nodes", metavar="NODE", multiple=True, help="A remote node to publish to (repeatable).")
@click.option(
    "--invite", "invitations", metavar="TOKEN", multiple=True, help="An invitation to one of these nodes (repeatable)."
)
@release_options("Sign a new release even if nothing has changed.")
@config_options
@json_option
def command(
    path: Path,
    key: str | None,
    nodes: tuple[str, ...],
    invitations: tuple[str, ...],
    wishes: Wishes,
    scan_options: ScanOptions,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Publish a folder or a bundle as the next release of a site.

    Only blocks that a node does not have yet are sent. A node's own policy decides whether it accepts, and says why
    not.
    """
    from cli.destination import Destination
    from cli.outcome import echo_outcome, outcome_json
    from cli.publishing.scan import ScanOptions
    from cli.publishing.sequence import Wishes
    from cli.releases import publish_bundle, publish_folder

    destination = Destination.of(nodes, config_file, data_dir, invitations)
    if path.is_dir():
        outcome = publish_folder(path, scan_options, key, wishes, destination)
    else:
        if key is not None or wishes != Wishes() or scan_options != ScanOptions():
            raise click.UsageError("a bundle is signed already: only --to, --json and where the node is can be given")
        outcome = publish_bundle(path, destination)
    urls = destination.urls(outcome)
    echo_json(outcome_json(outcome, urls)) if as_json else echo_outcome(outcome, urls)
    return outcome.exit_code
