"""Options and small manners that the verbs share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.errors import WrongUsage

if TYPE_CHECKING:
    from config import Loaded

Function = TypeVar("Function", bound=Callable[..., Any])


def config_options(function: Function) -> Function:
    """--config and --data-dir: which node a verb is about."""
    function = click.option(
        "--data-dir", metavar="DIR", type=click.Path(path_type=Path), help="Where the node keeps everything."
    )(function)
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The TOML file to use.",
    )(function)


def json_option(function: Function) -> Function:
    """--json: the result as one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def yes_option(function: Function) -> Function:
    """--yes: no question before something is lost."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")(function)


def load_config(
    config_file: Path | None, data_dir: Path | None, flags: Mapping[str, tuple[str, Any]] | None = None
) -> Loaded:
    """Settings in force for this command line."""
    from config import load

    given = dict(flags or {})
    if data_dir is not None:
        given["data_dir"] = ("--data-dir", str(data_dir))
    return load(config_file, flags=given)


def echo_json(value: Any) -> None:
    """One JSON document on stdout, readable, keys in the order given."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def on_terminal() -> bool:
    """Whether a person can be asked: both ends are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; an error when nobody can be asked. click.Abort for no."""
    if yes:
        return
    if not on_terminal():
        raise WrongUsage(f"{question} Nobody can be asked here.", hint="give --yes")
    click.confirm(question, abort=True, err=True)
