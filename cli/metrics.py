"""fednode metrics: the node's numbers, as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options
from cli.daemon import daemon

EPILOG = "Exit codes: 0 the node answered; 3 no daemon."


@click.command("metrics", epilog=EPILOG)
@config_options
def command(config_file: Path | None, data_dir: Path | None) -> None:
    """Print the node's numbers in the text format of Prometheus."""
    with daemon(config_file, data_dir) as client:
        click.echo(client.metrics(), nl=False)
