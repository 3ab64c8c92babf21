"""The client of routers against servers on loopback that answer well, badly, too much or never."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from node.net.memory import Air, open_memory_network
from node.net.port import NetSettings
from node.routing import routers as module
from node.routing.providers import find_providers
from node.routing.routers import Routers
from protocol.cid import RAW, Cid
from protocol.ipns import MEDIA_TYPE
from protocol.limits import ROUTING_ANSWER_MAX_BYTES
from protocol.routing import JSON, NDJSON
from protocol.site_id import SiteId

CID = Cid.of(RAW, b"wanted")
PEER = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
GOOD = {"Schema": "peer", "ID": PEER, "Addrs": ["/ip4/127.0.0.1/tcp/4001"], "Protocols": ["transport-bitswap"]}


def response(body: bytes, media_type: str = JSON, status: str = "200 OK") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def router(answer: bytes | None) -> AsyncIterator[tuple[str, list[str]]]:
    """URL of a server that gives `answer` to everything, or nothing at all; and what it was asked."""
    asked: list[str] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (data := await stream.receive_some()):
                head += data
            asked.append(head.decode())
            if answer is None:
                await trio.sleep_forever()
            else:
                with suppress(trio.BrokenResourceError):  # it may not want all of that
                    await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}", asked
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("media_type", [JSON, NDJSON])
async def test_providers_of_all_routers(media_type: str) -> None:
    other = {"Schema": "from the future", "what": 1}
    rows = [GOOD, other, {**GOOD, "Schema": "bitswap", "Protocol": "transport-bitswap"}]
    body = json.dumps({"Providers": rows}) if media_type == JSON else "\n".join(map(json.dumps, rows)) + "\n"
    async with (
        router(response(body.encode(), media_type)) as (url, asked),
        router(response(b"", status="404 No")) as (no, _),
    ):
        routers = Routers([f"{url}/routing/v1/", no])
        found = await routers.providers(CID)
        await routers.aclose()
    assert [(peer.peer, peer.addresses) for peer in found] == [(PEER, ("/ip4/127.0.0.1/tcp/4001",))] * 2
    assert asked[0].startswith(f"GET /routing/v1/providers/{CID} HTTP/1.1\r\n")
    assert (routers.answers, routers.failures) == (2, 0)


@pytest.mark.parametrize(
    "answer",
    [
        response(b"{"),
        response(b"[]"),
        response(b'{"Providers": 7}'),
        response(b'{"Providers": [7]}'),
        response(b"\xff\xfe", NDJSON),
        response(b"[" * 100_000),
        response(b"hello", "text/html"),
        response(b"{}", status="500 Broken"),
        response(b"", status="302 Found\r\nLocation: http://127.0.0.1:1/"),
        response(b" " * (ROUTING_ANSWER_MAX_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"SSH-2.0-nonsense\r\n",
        b"",
    ],
)
async def test_a_router_that_answers_badly_is_left_out(answer: bytes) -> None:
    good = response(json.dumps({"Providers": [GOOD]}).encode())
    async with router(answer) as (bad_url, _), router(good) as (url, _):
        routers = Routers([bad_url, url, "http://127.0.0.1:1"])
        assert [peer.peer for peer in await routers.providers(CID)] == [PEER]
        assert (routers.answers, routers.failures) == (1, 2)
        await routers.aclose()


async def test_a_router_that_is_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_S", 0.2)
    async with router(None) as (url, _):
        routers = Routers([url])
        with trio.fail_after(20):
            assert await routers.providers(CID) == []
        assert routers.failures == 1
        await routers.aclose()


async def test_records_of_names() -> None:
    name = SiteId(bytes(range(32))).cid.multihash
    none = response(b"No record of this name is here.\n", "text/plain")
    async with router(response(b"a record", MEDIA_TYPE)) as (url, asked), router(none) as (other, _):
        routers = Routers([other, url])
        assert await routers.ipns(name) == [b"a record"]
        await routers.aclose()
    assert asked[0].startswith(f"GET /routing/v1/ipns/{SiteId(bytes(range(32)))} HTTP/1.1\r\n")
    assert f"accept: {MEDIA_TYPE}" in asked[0].lower()


async def test_peers_that_a_router_names_are_remembered_if_they_can_be_asked() -> None:
    far = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
    rows = [
        GOOD,
        {**GOOD, "ID": far, "Protocols": ["transport-ipfs-gateway-http"]},
        {**GOOD, "ID": "nobody"},
        {**GOOD, "ID": far, "Addrs": ["/ip4/127.0.0.1/udp/1/quic", "nonsense", 7]},
    ]
    answer = response(json.dumps({"Providers": rows}).encode())
    settings = NetSettings(listen=(), private_key=b"1" * 32)
    async with router(answer) as (url, _), open_memory_network(Air(), settings) as network:
        routers = Routers([url])
        found: list[str] = []
        complaints = await find_providers(network, routers, CID, ["/ip4/127.0.0.1/tcp/1"], found.append)
        await routers.aclose()
        assert found == [PEER]
        assert network.known_addresses(PEER) == [f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}"]
        assert len(complaints) == 1
