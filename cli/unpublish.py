"""fednode unpublish: end a site."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, confirm, echo_json, json_option, yes_option

EPILOG = """\b
Every host that hears of it deletes the site and tells its readers that the
publisher has ended it. There is no way back: the same key cannot publish the
site again. To end a site on one node only, block it there instead.

\b
Exit codes: as for publish; 130 not confirmed.
"""


@click.command("unpublish", epilog=EPILOG)
@click.option("--key", metavar="NAME|FILE", help="The site key, by its name in the keystore or as a PEM file.")
@click.option("--to", "nodes", metavar="NODE", multiple=True, help="A remote node to tell (repeatable).")
@yes_option
@config_options
@json_option
def command(
    key: str | None,
    nodes: tuple[str, ...],
    yes: bool,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """End a site for good, everywhere, signed by its key."""
    from cli.destination import Destination
    from cli.outcome import echo_outcome, outcome_json
    from cli.releases import end_site, site_of

    destination = Destination.of(nodes, config_file, data_dir)
    if not yes:
        confirm(f"End the site {site_of(key)} for good, on every host?", yes=yes)
    outcome = end_site(key, destination)
    echo_json(outcome_json(outcome, [])) if as_json else echo_outcome(outcome, [])
    return outcome.exit_code
