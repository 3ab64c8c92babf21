"""fednode demo: three daemons on this machine show what fednode is for."""

from __future__ import annotations

import click

EPILOG = """\b
The nodes listen on 127.0.0.1 only and keep everything in a temporary folder
that is removed at the end.

\b
Exit codes: 0 every step held; 1 a step failed; 130 interrupted before the end.
"""


@click.command("demo", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome of each step as JSON, and end.")
@click.option("--once", is_flag=True, help="End after the last step instead of staying up.")
@click.option("--logs", is_flag=True, help="Show the daemons' logs on stderr.")
def command(as_json: bool, once: bool, logs: bool) -> int:
    """Show what fednode does, with three nodes on this machine.

    Publishes a site to one of them, lets one operator refuse it, kills a node, updates the site and tries to forge it.
    Then it stays up with the addresses to open in a browser, until Ctrl-C.
    """
    from cli.demo.scenario import Demo
    from cli.demo.show import JsonShow, TextShow

    show = JsonShow() if as_json else TextShow()
    with Demo(show, logs=logs) as demo:
        stay = not (as_json or once)
        held = demo.run(stay=stay)
        if held and stay:
            demo.stay_up()
    return 0 if held else 1
