"""fednode init: a commented configuration file and a node key."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.common import config_options, echo_json, json_option


@click.command("init", epilog="Exit codes: 0 done; 2 the file is there already; 6 the node key cannot be made or read.")
@config_options
@json_option
def command(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Write a commented configuration file and a node key.

    The file shows every setting with its default. `fednode start` works without it, too. Nothing is
    overwritten: an existing node key is kept, an existing file is an error.
    """
    from config import Config, Paths
    from config.keyfile import load_or_create_key
    from config.load import default_data_dir, user_file
    from config.write import render, write_new

    file = (config_file or Path(os.environ.get("FEDNODE_CONFIG") or user_file(os.environ))).absolute()
    default_dir = Path(os.environ.get("FEDNODE_DATA_DIR") or default_data_dir(os.environ))
    config = Config(data_dir=(data_dir or default_dir).expanduser().absolute())
    paths = Paths(config.data_dir)
    paths.check()
    write_new(file, render(config))
    paths.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    load_or_create_key(paths.node_key)
    if as_json:
        echo_json({"config": str(file), "data_dir": str(paths.data_dir), "node_key": str(paths.node_key)})
        return
    click.echo(f"configuration  {file}\nnode key       {paths.node_key}\n")
    found = file in (user_file(os.environ), Path(os.environ.get("FEDNODE_CONFIG") or "-"))
    click.echo("next: fednode start" + ("" if found else f" --config {file}"))
