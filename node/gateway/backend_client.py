"""The worker's end of `gateway.sock`."""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from node.gateway.backend import (
    BACKEND_MESSAGE_MAX_BYTES,
    LENGTH_BYTES,
    AskDesk,
    AskIdentity,
    BackendRequest,
    Certify,
    FetchBlock,
    FetchTreeBlock,
    FindName,
    Identity,
    PutName,
    Resolve,
    Unavailable,
    decode_answer,
    frame,
)
from protocol.cid import Cid
from protocol.errors import DecodeError, Malformed, OverLimit, Truncated
from protocol.release import SignedRelease
from protocol.site_id import SiteId

log = logging.getLogger(__name__)


class BackendClient:
    """A Backend that asks the daemon. What goes wrong on the way is Unavailable, too: the reader sees no difference."""

    def __init__(self, socket_path: Path, *, waiting_max: int) -> None:
        self._path = socket_path
        self._slots = trio.CapacityLimiter(waiting_max)

    async def resolve(self, site: SiteId, below: int | None = None) -> SignedRelease:
        """The newest head that the daemon can find, its signature checked again here."""
        raw = await self._ask(Resolve(site, below))
        if raw is None:
            raise self._broken(Malformed("no release in the answer"))
        try:
            return SignedRelease.decode(raw, site=site)
        except DecodeError as error:
            raise self._broken(error) from error

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        """Returns when the store has the block."""
        await self._ask(FetchBlock(site, cid))

    async def identity(self) -> Identity:
        """Who this node is."""
        raw = await self._ask(AskIdentity())
        try:
            return Identity.decode(raw or b"")
        except DecodeError as error:
            raise self._broken(error) from error

    async def desk(self, body: bytes) -> bytes:
        """What the operator's desk says to it."""
        return await self._ask(AskDesk(body)) or b""

    async def grant(self, domain: str) -> bool:
        """Whether the domain of a site that is not held may have a certificate."""
        try:
            await self._ask(Certify(domain))
        except Unavailable as error:
            if error.kind != "refused":
                raise
            return False
        return True

    async def find_name(self, name: bytes) -> None:
        """Returns when the store has the best record that could be found."""
        await self._ask(FindName(name))

    async def put_name(self, name: bytes, record: bytes) -> None:
        """Returns when the store has the record."""
        await self._ask(PutName(name, record))

    async def fetch_tree_block(self, root: Cid, cid: Cid) -> None:
        """Returns when the store has the block."""
        await self._ask(FetchTreeBlock(root, cid))

    async def _ask(self, request: BackendRequest) -> bytes | None:
        async with self._slots:
            try:
                async with await trio.open_unix_socket(str(self._path)) as stream:
                    await stream.send_all(frame(request.encode()))
                    return decode_answer(await receive_message(stream))
            except DecodeError as error:
                raise self._broken(error) from error
            except (OSError, trio.BrokenResourceError) as error:
                log.warning("the daemon does not answer its gateway worker: %s", error)
                raise Unavailable("busy", "this node cannot ask other nodes at the moment") from error

    def _broken(self, error: DecodeError) -> Unavailable:
        log.error("the daemon's answer is not what this worker expects: %s", error)
        return Unavailable("busy", "this node cannot ask other nodes at the moment")


async def receive_message(stream: trio.SocketStream) -> bytes:
    """One message of either side. Raises Truncated at an early end, OverLimit."""
    length = int.from_bytes(await _receive_exactly(stream, LENGTH_BYTES), "big")
    if length > BACKEND_MESSAGE_MAX_BYTES:
        raise OverLimit(f"message of {length} bytes, at most {BACKEND_MESSAGE_MAX_BYTES}")
    return await _receive_exactly(stream, length)


async def _receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = await stream.receive_some(count - len(parts))
        if not part:
            raise Truncated(f"{len(parts)} of {count} bytes")
        parts += part
    return bytes(parts)
