"""fednode version."""

from __future__ import annotations

import click

from cli.common import echo_json, json_option


@click.command("version")
@json_option
def command(as_json: bool) -> None:
    """Print the version."""
    import platform
    from importlib.metadata import version

    if as_json:
        echo_json({"version": version("fednode"), "python": platform.python_version()})
    else:
        click.echo(f"fednode {version('fednode')}")
