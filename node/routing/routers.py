"""Asks routers (Routing V1 over HTTP) on behalf of this node: bounded in bytes and time, and nothing is believed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar, cast

import httpx
import trio

from protocol import routing
from protocol.cid import Cid
from protocol.errors import OverLimit, PeerError
from protocol.ipns import MEDIA_TYPE, name_text
from protocol.limits import IPNS_RECORD_MAX_BYTES, ROUTING_ANSWER_MAX_BYTES
from protocol.routing import RoutedPeer

ASK_S = 10.0
CONNECT_S = 5.0
CONNECTIONS_MAX = 16

T = TypeVar("T")
log = logging.getLogger(__name__)


class RouterFailed(PeerError):
    """A router does not answer, or with nonsense."""

    code = "router-failed"


class Routers:
    """The routers of the settings; each is asked, and those that fail are left out. `aclose` when done."""

    def __init__(self, urls: Sequence[str], *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """urls: with or without `/routing/v1` at the end."""
        self._bases = [url.rstrip("/").removesuffix("/routing/v1") + "/routing/v1" for url in urls]
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(ASK_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=len(urls)),
            headers={"User-Agent": "fednode"},
            trust_env=False,
        )
        self.answers = 0
        self.failures = 0

    def __len__(self) -> int:
        return len(self._bases)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def providers(self, cid: Cid) -> list[RoutedPeer]:
        """Who is said to have the block."""
        return await self._peers(f"/providers/{cid}", "Providers")

    async def addresses(self, peer: str) -> list[RoutedPeer]:
        """Where a peer is said to be. peer: its name as a CID."""
        return await self._peers(f"/peers/{peer}", "Peers")

    async def ipns(self, name: bytes) -> list[bytes]:
        """The records of a name (a multihash) that the routers have, not verified."""

        async def ask(base: str) -> list[bytes]:
            media_type, body = await self._get(f"{base}/ipns/{name_text(name)}", MEDIA_TYPE, IPNS_RECORD_MAX_BYTES)
            return [body] if media_type == MEDIA_TYPE and body else []

        return await self._of_all(ask)

    async def _peers(self, path: str, key: str) -> list[RoutedPeer]:
        accept = f"{routing.NDJSON}, {routing.JSON};q=0.9"

        async def ask(base: str) -> list[RoutedPeer]:
            media_type, body = await self._get(base + path, accept, ROUTING_ANSWER_MAX_BYTES)
            return routing.read_peers(media_type, body, key) if body else []

        return await self._of_all(ask)

    async def _of_all(self, ask: Callable[[str], Awaitable[list[T]]]) -> list[T]:
        """What the routers that answer in time say, one after the other in the order of the settings."""
        found: dict[str, list[T]] = {}

        async def ask_one(base: str) -> None:
            try:
                with trio.fail_after(ASK_S):
                    found[base] = await ask(base)
                self.answers += 1
            except (PeerError, httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
                self.failures += 1
                log.info("router %s: %s", base, error or type(error).__name__)

        async with trio.open_nursery() as nursery:
            for base in self._bases:
                nursery.start_soon(ask_one, base)
        return [item for base in self._bases for item in found.get(base, ())]

    async def _get(self, url: str, accept: str, max_bytes: int) -> tuple[str, bytes]:
        """Media type and body; nothing for 404."""
        async with self._http.stream("GET", url, headers={"Accept": accept}) as response:
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code == 404:
                return media_type, b""
            if response.status_code != 200:
                raise RouterFailed(f"it answers with status {response.status_code}")
            body = bytearray()
            async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_bytes(64 * 1024))) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > max_bytes:
                        raise OverLimit(f"it answers with more than {max_bytes} bytes")
            return media_type, bytes(body)
