"""fednode publish: hand a folder or a bundle to nodes."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option

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
@click.option("--key", metavar="NAME|FILE", help="The site key, by its name in the keystore or as a PEM file.")
@click.option("--to", "nodes", metavar="NODE", multiple=True, help="A remote node to publish to (repeatable).")
@click.option(
    "--invite", "invitations", metavar="TOKEN", multiple=True, help="An invitation to one of these nodes (repeatable)."
)
@click.option("--seq", type=click.IntRange(min=1), help="At least this sequence number for the release.")
@click.option("--min-hosts", type=click.IntRange(1, 10_000), help="Wish for so many hosts at least.")
@click.option("--max-hosts", type=click.IntRange(1, 10_000), help="Wish for so many hosts at most.")
@click.option(
    "--domain", "domains", metavar="NAME", multiple=True, help="Serve the site under this domain (repeatable)."
)
@click.option("--no-domains", is_flag=True, help="Serve the site under no domain any more.")
@click.option(
    "--host",
    "hosts",
    metavar="NODE",
    multiple=True,
    help="Name a node that hosts the site, to be found by (repeatable).",
)
@click.option("--no-hosts", is_flag=True, help="Name no host any more.")
@click.option("--hidden", is_flag=True, help="Publish names that begin with a dot, too.")
@click.option("--dereference", is_flag=True, help="Publish what symbolic links point to, not the links.")
@click.option("--force", is_flag=True, help="Sign a new release even if nothing has changed.")
@config_options
@json_option
def command(
    path: Path,
    key: str | None,
    nodes: tuple[str, ...],
    invitations: tuple[str, ...],
    seq: int | None,
    min_hosts: int | None,
    max_hosts: int | None,
    domains: tuple[str, ...],
    no_domains: bool,
    hosts: tuple[str, ...],
    no_hosts: bool,
    hidden: bool,
    dereference: bool,
    force: bool,
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

    if domains and no_domains:
        raise click.UsageError("--domain and --no-domains exclude each other")
    if hosts and no_hosts:
        raise click.UsageError("--host and --no-hosts exclude each other")
    destination = Destination.of(nodes, config_file, data_dir, invitations)
    wishes = Wishes(
        seq=seq,
        min_hosts=min_hosts,
        max_hosts=max_hosts,
        force=force,
        domains=domains if domains or no_domains else None,
        hosts=hosts if hosts or no_hosts else None,
    )
    if path.is_dir():
        scan_options = ScanOptions(hidden=hidden, dereference=dereference)
        outcome = publish_folder(path, scan_options, key, wishes, destination)
    else:
        if key is not None or wishes != Wishes() or hidden or dereference:
            raise click.UsageError("a bundle is signed already: only --to, --json and where the node is can be given")
        outcome = publish_bundle(path, destination)
    urls = destination.urls(outcome)
    echo_json(outcome_json(outcome, urls)) if as_json else echo_outcome(outcome, urls)
    return outcome.exit_code
