"""The operator's hands on trees and names of others: docs/operators/admin-api.md has the answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import trio

from node.admin.control import NotFound
from node.replication.context import Context
from node.store.port import NameRow, TreeRecord
from node.trees.importing import CAR_CODEC, import_car
from protocol import ipns
from protocol.cid import Cid
from protocol.errors import Malformed, OperatorError
from protocol.ipns import IpnsRecord

Json = dict[str, Any]
UPLOADS_MAX = 2


class TooManyUploads(OperatorError):
    """As many files as are taken at a time are under way."""

    code = "busy"


class RecordExpired(OperatorError):
    """An IPNS record whose validity has ended."""

    code = "expired"


class Trees:
    """Implements TreeControl (node/admin/trees.py)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._uploads = trio.CapacityLimiter(UPLOADS_MAX)

    async def forget_remains(self) -> None:
        """What an import that was cut off by the end of the process left open; a file has to come again as a whole."""
        store = self._context.store
        for info in await self._context.in_store(store.open_trees):
            if info.hold.root.codec == CAR_CODEC:
                await self._context.in_store(store.abort_hold, info.hold)

    async def show(self) -> list[Json]:
        return [_tree(record) for record in await self._context.in_store(self._context.store.trees)]

    async def take(self, pieces: AsyncIterator[bytes], *, partial: bool) -> Json:
        try:
            self._uploads.acquire_nowait()
        except trio.WouldBlock:
            raise TooManyUploads(f"{UPLOADS_MAX} files are being imported", hint="wait until one is done") from None
        try:
            found = await import_car(self._context, pieces, partial=partial)
        finally:
            self._uploads.release()
        return {
            "trees": [_tree(record) for record in found.trees],
            "known": found.known,
            "new_blocks": found.new_blocks,
            "new_bytes": found.new_bytes,
        }

    async def drop(self, root: str) -> Json:
        cid = Cid.from_text(root.removeprefix("/ipfs/"))
        store = self._context.store
        if await self._context.in_store(store.tree, cid) is None:
            raise NotFound(f"no tree {cid} is kept here", hint="`fednode trees` lists them")
        return {"root": str(cid), "freed_bytes": await self._context.in_store(store.drop_tree, cid)}

    async def names(self) -> list[Json]:
        return [_name(row) for row in await self._context.in_store(self._context.store.names)]

    async def take_name(self, name: str, record: bytes) -> Json:
        """DecodeError unless the record is one of this name; RecordExpired."""
        multihash = ipns.name_of(name.removeprefix("/ipns/"))
        decoded = IpnsRecord.decode(record)
        decoded.verify(multihash)
        if not decoded.is_valid_at(time.time_ns()):
            raise RecordExpired("the record's validity has ended", hint="its publisher makes a new one")
        store = self._context.store
        is_news = await self._context.in_store(lambda: store.save_name(multihash, record, kept=True))
        row = await self._context.in_store(store.name, multihash)
        if row is None:
            raise Malformed("the record was not kept")
        return _name(row) | {"is_news": is_news}

    async def drop_name(self, name: str) -> Json:
        multihash = ipns.name_of(name.removeprefix("/ipns/"))
        if not await self._context.in_store(self._context.store.forget_name, multihash):
            raise NotFound("no record of this name is kept here")
        return {"name": _name_text(multihash)}


def _tree(record: TreeRecord) -> Json:
    return {
        "root": str(record.root),
        "whole": record.whole,
        "origin": str(record.origin),
        "block_count": record.blocks,
        "size_bytes": record.size_bytes,
        "since_s": record.since_s,
    }


def _name(row: NameRow) -> Json:
    record = IpnsRecord.decode(row.record)
    return {
        "name": _name_text(row.name),
        "value": record.value.decode("utf-8", "replace"),
        "sequence": record.sequence,
        "valid_until_s": record.validity_ns // 10**9,
        "kept": row.kept,
        "saved_s": row.saved_s,
    }


def _name_text(multihash: bytes) -> str:
    return ipns.name_text(multihash)
