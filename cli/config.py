"""fednode config: the settings in force and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.common import config_options, echo_json, json_option, load_config
from cli.tables import echo_table

EPILOG = "Exit codes: 0 done; 2 a setting cannot be used."


@click.command("config", epilog=EPILOG)
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the settings in force and where each comes from: default, file, environment or flag."""
    from config.schema import settings, value_of

    loaded = load_config(config_file, data_dir)
    values = [(item, value_of(loaded.config, item), loaded.origins[item.name]) for item in settings()]
    if as_json:
        listed = [{"name": item.name, "value": _jsonable(value), "origin": origin} for item, value, origin in values]
        echo_json({"file": str(loaded.file) if loaded.file else None, "settings": listed})
    else:
        rows = [(item.name, item.kind.render(value), origin) for item, value, origin in values]
        echo_table(("SETTING", "VALUE", "FROM"), rows)


def _jsonable(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return value if isinstance(value, bool | int | str | None) else str(value)
