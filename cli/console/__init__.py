"""fednode console: the operator's pages in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option, load_config
from cli.daemon import daemon

EPILOG = """\b
The address works once, in one browser of this machine. The console ends with
Ctrl-C, or when nobody used it for a while. Over ssh it prints the line that
brings the port to your own machine.

\b
Exit codes: 0 ended; 1 the port is taken; 3 no daemon.
"""
IDLE_MINUTES = 30


@click.command("console", epilog=EPILOG)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On 127.0.0.1. Default: the system chooses.")
@click.option("--idle", "idle_min", type=click.IntRange(1, 1440), default=IDLE_MINUTES, show_default=True,
              metavar="MINUTES", help="End when nobody used it for so long.")  # fmt: skip
@config_options
@json_option
def command(port: int, idle_min: int, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Decide in a browser: what is hosted, reports, lists, rules, the log."""
    import trio

    from cli.console.serving import serve_console
    from config import Paths

    paths = Paths(load_config(config_file, data_dir).config.data_dir)
    with daemon(config_file, data_dir) as client:
        client.status()  # a node that does not run is said here, and not on every page

    def opened(at: int, url: str) -> None:
        ssh = ssh_line(at)
        if as_json:
            echo_json({"url": url, "port": at, "ssh": ssh})
        else:
            _tell(url, ssh, idle_min)

    async def serve() -> None:
        await serve_console(paths.admin_socket, paths.decisions, port=port, idle_s=idle_min * 60, opened=opened)

    try:
        trio.run(serve)
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
    except KeyboardInterrupt:
        pass
    if not as_json:
        click.echo("the console is closed")


def _tell(url: str, ssh: str | None, idle_min: int) -> None:
    if ssh:
        click.echo(f"On your own machine, in another terminal:\n\n    {ssh}\n\nThen open this there, once:\n")
    else:
        click.echo("Open this once, in a browser of this machine:\n")
    click.echo(f"    {url}\n\nCtrl-C ends it; so do {idle_min} minutes without use.")


def ssh_line(port: int) -> str | None:
    """What brings the port to the machine that this one is used from; None when that is this one."""
    import getpass
    import os

    connection = os.environ.get("SSH_CONNECTION", "").split()
    if len(connection) != 4:
        return None
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{connection[2]}"
