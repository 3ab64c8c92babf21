"""fednode import: a bundle into the node of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option

EPILOG = """\b
FILE is a bundle, made by `fednode export` or `fednode bundle`. It is checked
in full before anything is handed to the node, whose policy then decides as it
does with a publish. CAR files of other makers name no site and are not taken
yet.

\b
Exit codes: 0 done (also when the node had it); 1 failed, or not a whole, valid
bundle; 2 wrong usage or configuration; 3 no daemon; 4 the node refused.
"""


@click.command("import", epilog=EPILOG)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_options
@json_option
def command(file: Path, config_file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Take a site from a bundle. Needs no key: the release in it is signed."""
    from cli.destination import Destination
    from cli.releases import publish_bundle
    from cli.report import echo_outcome, outcome_json

    destination = Destination.of((), config_file, data_dir)
    outcome = publish_bundle(file, destination)
    urls = destination.urls(outcome)
    echo_json(outcome_json(outcome, urls)) if as_json else echo_outcome(outcome, urls)
    return outcome.exit_code
