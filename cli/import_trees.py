"""The part of `fednode import` that hands CAR files and IPNS records to the node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from cli.common import echo_json
from cli.daemon import daemon
from cli.errors import CommandError
from cli.progress import bars
from cli.publishing.flow import Task
from cli.tables import ago, count, human_size, plain
from node.admin.client import DaemonError
from protocol.car import CarDecoder
from protocol.errors import DecodeError
from protocol.limits import IPNS_RECORD_MAX_BYTES
from protocol.release import SignedRelease

PIECE_BYTES = 256 * 1024
LOOK_BYTES = 64  # an error takes the sections before it in the same piece with it
SHOWN_MAX = 10


class NotTaken(CommandError):
    """The node did not take the file; code and hint are the node's."""

    def __init__(self, file: Path, error: DaemonError) -> None:
        super().__init__(f"{file}: {plain(str(error))}; nothing of it is kept", hint=error.hint)
        vars(self)["code"] = error.code
        vars(self)["exit_code"] = 4 if error.code == "refused" else 1


def is_bundle(file: Path) -> bool:
    """Whether the first block of the file is a release that its header names. CommandError: no CAR file."""
    decoder = CarDecoder()
    try:
        with file.open("rb") as handle:
            while piece := handle.read(LOOK_BYTES):
                for section in decoder.feed(piece):
                    return section.cid == (decoder.roots or (None,))[-1] and _is_release(section.data)
            decoder.close()
    except DecodeError as error:
        raise CommandError(f"{file} is no CAR file: {error}", hint="an IPNS record needs --name NAME") from error
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    return False


def _is_release(data: bytes) -> bool:
    try:
        SignedRelease.decode(data)
    except DecodeError:
        return False
    return True


def import_file(file: Path, config_file: Path | None, data_dir: Path | None, *, partial: bool, as_json: bool) -> None:
    """All of the trees in a CAR file, or nothing."""
    with bars() as progress, file.open("rb") as handle, daemon(config_file, data_dir) as client:
        task = progress.task(f"importing {file.name}", file.stat().st_size)
        with _as_not_taken(file):
            found = client.import_trees(_pieces(handle, task), partial=partial)
    if as_json:
        echo_json(found)
        return
    for tree in found["trees"][:SHOWN_MAX]:
        part = "" if tree["whole"] else ", with parts missing"
        click.echo(f"kept /ipfs/{tree['root']}")
        click.echo(f"  {human_size(tree['size_bytes'])} in {count(tree['block_count'], 'block')}{part}")
    if len(found["trees"]) > SHOWN_MAX:
        click.echo(f"and {count(len(found['trees']) - SHOWN_MAX, 'tree')} more: fednode trees")
    click.echo(f"{human_size(found['new_bytes'])} in {count(found['new_blocks'], 'block')} was new here")
    if found["trees"]:
        click.echo(f"take it back: fednode drop /ipfs/{found['trees'][0]['root']}")


def _pieces(handle: IO[bytes], task: Task) -> Iterator[bytes]:
    while piece := handle.read(PIECE_BYTES):
        yield piece
        task.advance(len(piece))


def import_record(file: Path, name: str, config_file: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """An IPNS record of somebody else, verified by the node."""
    with file.open("rb") as handle:
        record = handle.read(IPNS_RECORD_MAX_BYTES + 1)
    with daemon(config_file, data_dir) as client, _as_not_taken(file):
        found: dict[str, Any] = client.import_name(name, record)
    if as_json:
        echo_json(found)
        return
    how = "kept" if found["is_news"] else "a better record is kept already for"
    click.echo(f"{how} /ipns/{found['name']}")
    click.echo(f"  stands for {plain(found['value'])}, sequence {found['sequence']}")
    click.echo(f"take it back: fednode drop /ipns/{found['name']}")


@contextmanager
def _as_not_taken(file: Path) -> Iterator[None]:
    try:
        yield
    except DaemonError as error:
        raise NotTaken(file, error) from error


def tree_row(tree: dict[str, Any]) -> tuple[object, ...]:
    state = "whole" if tree["whole"] else "partial"
    return state, human_size(tree["size_bytes"]), tree["block_count"], ago(tree["since_s"]), f"/ipfs/{tree['root']}"
