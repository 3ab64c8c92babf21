"""Names of others for the gateway's readers: looked for when one is read, and taken from whoever publishes here; and
the trees that they lead to."""

from __future__ import annotations

import logging

import trio

from node.bitswap.reading import TreeReadings
from node.gateway.backend import Unavailable
from node.policy.model import Act, Subject, name_key
from node.replication.context import Context
from node.routing.names import NameNotFound, Names
from protocol import ipns
from protocol.cid import Cid
from protocol.errors import DecodeError, PeerError
from protocol.ipns import IpnsRecord, name_text

LOOKUPS_MAX = 16
PUTS_MAX = 4
"""That go to the DHT at a time; the others stay here alone until their publisher comes again."""
PUT_S = 20.0
FIND_S = 25.0

log = logging.getLogger(__name__)


class NameDesk:
    """Implements the gateway's NameBackend. Only rules are asked: what the node volunteers to host are sites."""

    def __init__(
        self, context: Context, names: Names, trees: TreeReadings | None = None, *, finds: bool, takes: bool
    ) -> None:
        """trees: None where none are fetched for readers."""
        self._context = context
        self._names = names
        self._trees = trees
        self._finds = finds
        self._takes = takes
        self._lookups = trio.CapacityLimiter(LOOKUPS_MAX)
        self._puts = trio.CapacityLimiter(PUTS_MAX)

    async def find_name(self, name: bytes) -> None:
        """Raises Unavailable."""
        if not self._finds:
            raise Unavailable("not-found", "this node looks for no names")
        self._check(Act.FETCH, name, None)
        try:
            with trio.fail_after(FIND_S):
                async with self._lookups:
                    await self._names.record(name)
        except NameNotFound:
            raise Unavailable("not-found", "no record of this name was found") from None
        except trio.TooSlowError:
            raise Unavailable("timeout", "no record of this name was found in time") from None

    async def put_name(self, name: bytes, record: bytes) -> None:
        """Raises Unavailable. The DHT that was joined, if any, gets it too: nobody else may reach the publisher."""
        if not self._takes:
            raise Unavailable("refused", "this node takes no records")
        try:
            decoded = IpnsRecord.decode(record)
            decoded.verify(name)
        except DecodeError as error:
            raise Unavailable("refused", f"not a record of this name: {error}") from error
        self._check(Act.STORE, name, decoded)
        try:
            await self._names.take(name, decoded)
        except NameNotFound as error:
            raise Unavailable("refused", str(error)) from None
        try:
            self._puts.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(PUT_S):
                await self._context.network.put_ipns(name, record, deadline_s=PUT_S)
        except PeerError as error:
            log.info("the DHT does not take the record of %s: %s", name_text(name), error)
        finally:
            self._puts.release()

    async def fetch_tree_block(self, root: Cid, cid: Cid) -> None:
        """Raises Unavailable."""
        if self._trees is None:
            raise Unavailable("not-found", "this node fetches no trees for readers")
        await self._trees.fetch_block(root, cid)

    def _check(self, act: Act, name: bytes, record: IpnsRecord | None) -> None:
        """Raises Unavailable when a rule is on the name or on the tree that it stands for."""
        root = ipns.root_of(record) if record is not None else None
        subject = Subject(root=root, trail=(root,) if root is not None else (), local=True, names=(name_key(name),))
        verdict = self._context.gate.policy.decide(act, subject)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)
