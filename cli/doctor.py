"""fednode doctor: what is wrong, and what to do."""

from __future__ import annotations

from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option, load_config
from cli.errors import NoDaemon
from cli.tables import plain

EPILOG = "Exit codes: 0 all is well; 1 something needs attention; 2 the configuration cannot be used."


@click.command("doctor", epilog=EPILOG)
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Look for what is wrong with this node and say what to do. Changes nothing."""
    from cli.checks import Check, local_checks
    from cli.daemon import daemon

    loaded = load_config(config_file, data_dir)
    checks = [Check("configuration", True, str(loaded.file) if loaded.file else "no file; defaults and environment")]
    try:
        with daemon(config_file, data_dir) as client:
            from_daemon = client.doctor()["checks"]
        running = Check("daemon", True, "it answers")
    except NoDaemon as error:
        from_daemon = []
        running = Check("daemon", False, str(error), error.hint)
    checks += [*local_checks(loaded.config, running=running.ok), running]
    checks += [Check(found["name"], found["ok"], found["message"], found["hint"]) for found in from_daemon]
    if as_json:
        echo_json({"checks": [{"name": c.name, "ok": c.ok, "message": c.message, "hint": c.hint} for c in checks]})
    else:
        for check in checks:
            _echo(check.ok, check.name, check.message, check.hint)
    return 0 if all(check.ok for check in checks) else 1


def _echo(ok: bool, name: str, message: str, hint: str | None) -> None:
    mark = click.style("ok ", fg="green") if ok else click.style("BAD", fg="red", bold=True)
    click.echo(f"{mark}  {name}: {plain(message)}")
    if hint and not ok:
        click.echo(f"     hint: {plain(hint)}")
