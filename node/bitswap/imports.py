"""Imports from the IPFS network that the operator asked for: started, watched and cancelled (docs/operators/cli.md)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from node.admin.control import NotFound
from node.bitswap.client import BitswapClient
from node.bitswap.pending import PendingFile, PendingImport
from node.bitswap.tree_fetch import NotProvided, Progress, fetch_tree
from node.policy.model import Act, Subject, name_key
from node.replication.context import Context
from node.replication.gate import Refused
from node.routing.names import NameNotFound, Names
from node.routing.routers import Routers
from protocol.cid import IDENTITY, Cid
from protocol.dag_links import LEAF_CODECS, NODE_CODECS
from protocol.errors import FednodeError, Malformed, OperatorError, UnsupportedCodec
from protocol.ipns import name_of

RUNNING_MAX = 4
ENDED_MAX = 32
ADDRESSES_MAX = 32
RETRY_S = (10.0, 30.0, 120.0, 600.0)
"""An import that goes on after a start waits for whom it needs: they may start, too, or be connected again."""

Json = dict[str, Any]
log = logging.getLogger(__name__)


class TooManyImports(OperatorError):
    """As many imports as are made at a time are under way."""

    code = "busy"


@dataclass(slots=True)
class Import:
    """One import. state: resolving, fetching, done, failed or cancelled. resumed: begun before the last start."""

    number: int
    target: str
    addresses: list[str]
    state: str = "resolving"
    root: Cid | None = None
    progress: Progress = field(default_factory=Progress)
    error: FednodeError | None = None
    resumed: bool = False
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def as_json(self) -> Json:
        error = self.error
        return {
            "number": self.number,
            "target": self.target,
            "state": self.state,
            "root": str(self.root) if self.root is not None else None,
            "blocks": self.progress.blocks,
            "size_bytes": self.progress.size_bytes,
            "received_blocks": self.progress.received_blocks,
            "received_bytes": self.progress.received_bytes,
            "peers": self.progress.peers,
            "resumed": self.resumed,
            "error": error and {"code": error.code, "message": str(error), "hint": error.hint},
        }


class Imports:
    """`run` must run. The last that ended are remembered."""

    def __init__(
        self,
        context: Context,
        client: BitswapClient,
        routers: Routers,
        names: Names,
        pending: PendingFile | None = None,
    ) -> None:
        """pending: where those under way are noted, so that they go on at the next start."""
        self._pending = pending
        self._saving = trio.Lock()
        self._context = context
        self._client = client
        self._routers = routers
        self._names = names
        self._imports: dict[int, Import] = {}
        self._last = 0
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._resume()
            task_status.started()
            await trio.sleep_forever()

    async def start(self, target: str, addresses: Sequence[str]) -> Json:
        """Begins to import `/ipfs/CID` or `/ipns/NAME`; one under way is joined. DecodeError, TooManyImports."""
        kind, name = read_target(target)
        if kind == "ipfs":
            check_root(Cid.from_text(name))
        if len(addresses) > ADDRESSES_MAX:
            raise Malformed(f"at most {ADDRESSES_MAX} peers can be named")
        running = [each for each in self._imports.values() if not each.ended]
        for each in running:
            if each.target == target:
                each.addresses += [address for address in addresses if address not in each.addresses]
                await self._note_pending()
                return each.as_json()
        if len(running) >= RUNNING_MAX or self._nursery is None:
            raise TooManyImports(f"{RUNNING_MAX} imports are under way", hint="wait until one has ended")
        found = self._add(target, addresses)
        await self._note_pending()
        self._nursery.start_soon(self._run, found, kind, name)
        return found.as_json()

    def _add(self, target: str, addresses: Sequence[str], *, resumed: bool = False) -> Import:
        self._last += 1
        found = self._imports[self._last] = Import(self._last, target, list(addresses), resumed=resumed)
        self._forget()
        return found

    async def _resume(self) -> None:
        """Goes on with what the end of the process cut off."""
        if self._pending is None or self._nursery is None:
            return
        for each in (await trio.to_thread.run_sync(self._pending.load))[:RUNNING_MAX]:
            try:
                kind, name = read_target(each.target)
            except Malformed as error:
                log.warning("an import does not go on: %s", error)
                continue
            log.info("import %s goes on", each.target)
            found = self._add(each.target, each.peers[:ADDRESSES_MAX], resumed=True)
            self._nursery.start_soon(self._run, found, kind, name)

    async def _note_pending(self) -> None:
        if self._pending is not None:
            async with self._saving:
                rows = [
                    PendingImport(each.target, tuple(each.addresses))
                    for each in self._imports.values()
                    if not each.ended
                ]
                await trio.to_thread.run_sync(self._pending.save, rows)

    async def show(self) -> list[Json]:
        """The imports under way and those that ended last."""
        return [each.as_json() for each in self._imports.values()]

    async def get(self, number: int) -> Json:
        """Raises NotFound."""
        return self._find(number).as_json()

    async def cancel(self, number: int) -> Json:
        """Ends an import; what arrived stays for the next one of the same root. Raises NotFound."""
        found = self._find(number)
        found.scope.cancel()
        if not found.ended:
            found.state = "cancelled"
            await self._note_pending()
        return found.as_json()

    def _find(self, number: int) -> Import:
        found = self._imports.get(number)
        if found is None:
            raise NotFound(f"there is no import {number}")
        return found

    def _forget(self) -> None:
        ended = [number for number, each in self._imports.items() if each.ended]
        for number in ended[: max(0, len(ended) - ENDED_MAX)]:
            del self._imports[number]

    async def _run(self, found: Import, kind: str, name: str) -> None:
        """Root of the task of one import."""
        try:
            with found.scope:
                if found.ended:  # before it began
                    return
                await self._import_patiently(found, kind, name)
                found.state = "done"
        except FednodeError as error:
            log.info("import %s: %s", found.target, error)
            found.state, found.error = "failed", error
        except Exception as error:
            log.exception("import %s failed", found.target)
            found.state, found.error = "failed", OperatorError(f"a bug in fednode: {type(error).__name__}")
        await self._note_pending()

    async def _import_patiently(self, found: Import, kind: str, name: str) -> None:
        for wait_s in RETRY_S if found.resumed else ():
            try:
                await self._import(found, kind, name)
                return
            except (NotProvided, NameNotFound) as error:
                log.info("import %s: %s; it is tried again", found.target, error)
                await trio.sleep(wait_s)
        await self._import(found, kind, name)

    async def _import(self, found: Import, kind: str, name: str) -> None:
        if kind == "ipns":
            verdict = self._context.gate.policy.decide(Act.FETCH, Subject(local=True, names=(name_key(name_of(name)),)))
            if not verdict.allowed:
                raise Refused(verdict)
            resolved = await self._names.resolve(name, keep=True)
            if resolved.path:
                raise Malformed(f"the name stands for a path below {resolved.cid}; whole trees are imported")
            check_root(resolved.cid)
            found.root = resolved.cid
        else:
            found.root = Cid.from_text(name)
        found.state = "fetching"
        await fetch_tree(self._context, self._client, self._routers, found.root, found.addresses, found.progress)


def read_target(text: str) -> tuple[str, str]:
    """(kind, CID or name) of `/ipfs/CID` or `/ipns/NAME`. Raises Malformed."""
    parts = text.rstrip("/").split("/")
    if len(parts) != 3 or parts[0] or parts[1] not in ("ipfs", "ipns") or not parts[2]:
        raise Malformed(f"{text[:80]!r} is neither /ipfs/CID nor /ipns/NAME", hint="whole trees are imported")
    return parts[1], parts[2]


def check_root(cid: Cid) -> None:
    """Raises UnsupportedCodec for what no walk could follow, Malformed for a CID that holds its block."""
    if cid.codec not in LEAF_CODECS and cid.codec not in NODE_CODECS:
        raise UnsupportedCodec(
            f"{cid} has codec 0x{cid.codec:x}; trees of dag-pb, dag-cbor and dag-json and single blocks can be kept"
        )
    if cid.hash_code == IDENTITY:
        raise Malformed("the CID holds its block itself; there is nothing to fetch")
