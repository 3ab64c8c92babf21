"""A kept tree as a CAR file, read straight from the store beside the daemon, or without one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cli.common import load_config
from cli.errors import CommandError
from cli.progress import bars
from config import Paths
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.layout import DATABASE_NAME
from node.store.port import StoreReader, TreeRecord
from node.store.reader import open_reader
from protocol.car import encode_header, section_prefix
from protocol.cid import Cid
from protocol.dag_walk import DagWalk
from protocol.errors import DecodeError

STEP_BLOCKS = 256


@contextmanager
def opened_tree(text: str, config_file: Path | None, data_dir: Path | None) -> Iterator[tuple[StoreReader, TreeRecord]]:
    """The store and the tree under `/ipfs/CID`. CommandError: not kept here."""
    store_dir = Paths(load_config(config_file, data_dir).config.data_dir).store_dir
    if not (store_dir / DATABASE_NAME).exists():
        raise CommandError(f"there is no store in {store_dir}", hint="give --data-dir")
    try:
        root = Cid.from_text(text.removeprefix("/ipfs/").rstrip("/"))
    except DecodeError as error:
        raise CommandError(f"{text} is no /ipfs/CID: {error}") from error
    reader = open_reader(store_dir)
    try:
        record = reader.tree(root)
        if record is None:
            raise CommandError(f"no tree {root} is kept here", hint="fednode trees lists them")
        yield reader, record
    finally:
        reader.close()


def write_tree(path: Path, reader: StoreReader, record: TreeRecord, *, replace: bool) -> int:
    """Size of the file, which appears whole or not at all."""
    if path.exists() and not replace:
        raise CommandError(f"{path} is there already", hint="choose another name, or give --force to replace it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb", buffering=1024 * 1024) as handle:
            stream_tree(handle, reader, record)
            handle.flush()
            os.fsync(handle.fileno())
            size_bytes = handle.tell()
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return size_bytes


def stream_tree(handle: IO[bytes], reader: StoreReader, record: TreeRecord) -> None:
    """A CARv1 in depth-first order, one block in memory at a time; of a partial tree what there is."""
    handle.write(encode_header([record.root]))
    walk = DagWalk(record.root, in_order=True, unique=True)
    with bars() as progress:
        task = progress.task("writing", record.size_bytes)
        while not walk.done:
            for cid in walk.want(STEP_BLOCKS):
                data = _read(reader, cid, record)
                if data is None:
                    walk.skip(cid)
                    continue
                handle.write(section_prefix(cid, len(data)))
                handle.write(data)
                task.advance(len(data))
                walk.feed(cid, data)


def _read(reader: StoreReader, cid: Cid, record: TreeRecord) -> bytes | None:
    try:
        return reader.get_block(cid)
    except BlockMissing:
        if not record.whole:
            return None
        raise CommandError("the tree was dropped while it was being read", hint="try again") from None
    except BlockCorrupt:
        hint = f"put it again: fednode import /ipfs/{record.root}"
        raise CommandError(f"block {cid} is damaged on the disk", hint=hint) from None
