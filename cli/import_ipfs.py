"""The part of `fednode import` that fetches from the IPFS network: starts it in the node, and watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli.common import echo_json
from cli.daemon import daemon
from cli.errors import CommandError
from cli.tables import plain

LOOK_S = 0.25
ENDED = ("done", "failed", "cancelled")


class ImportFailed(CommandError):
    """The node could not import it; code and hint are the node's."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(plain(error["message"]), hint=error["hint"])
        vars(self)["code"] = error["code"]
        vars(self)["exit_code"] = 4 if error["code"] == "refused" else 1


def import_from_network(
    target: str, peers: Sequence[str], config_file: Path | None, data_dir: Path | None, *, as_json: bool
) -> int:
    """Until the import has ended; Ctrl-C cancels it in the node, too. Returns the exit code."""
    with daemon(config_file, data_dir) as client:
        found = client.start_import(target, peers)
        try:
            while found["state"] not in ENDED:
                _show(found)
                time.sleep(LOOK_S)
                found = client.show_import(found["number"])
        except KeyboardInterrupt:
            client.cancel_import(found["number"])
            raise
        finally:
            _clear()
    if found["state"] != "done":
        raise ImportFailed(found["error"] or {"code": "cancelled", "message": "the import was cancelled", "hint": None})
    if as_json:
        echo_json(found)
    else:
        click.echo(f"imported {target}")
        click.echo(f"  root:     {found['root']}")
        click.echo(f"  size:     {found['size_bytes']} bytes in {found['blocks']} blocks")
        here = "" if found["received_bytes"] >= found["size_bytes"] else "; the rest was here"
        click.echo(f"  received: {found['received_bytes']} bytes{here}")
    return 0


def _show(found: dict[str, Any]) -> None:
    """One line that is written over, on a terminal."""
    if sys.stderr.isatty():
        mib = found["size_bytes"] / 1024**2
        text = f"{found['state']}: {found['blocks']} blocks, {mib:.1f} MiB, from {found['peers']} peers"
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
