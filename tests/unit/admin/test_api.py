"""Each route of the admin API through the CLI's client, over a real Unix socket."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from node.admin.app import BODY_MAX_BYTES
from node.admin.client import AdminClient, BadAnswer, DaemonError, DaemonTimeout, NoDaemon
from node.admin.unix import listening_unix_socket
from protocol.errors import OperatorError
from protocol.site_id import SiteId
from tests.unit.admin.small_node import SmallNode

T = TypeVar("T")
SITES = [SiteId(bytes([number]) * 32) for number in range(1, 5)]
CID = "bafybeibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq"


async def ask(path: Path, question: Callable[[AdminClient], T], *, timeout_s: float = 30) -> T:
    def in_thread() -> T:
        with AdminClient(path, timeout_s=timeout_s) as client:
            return question(client)

    with trio.fail_after(40):
        return await trio.to_thread.run_sync(in_thread, abandon_on_cancel=True)


async def refusal(path: Path, question: Callable[[AdminClient], object]) -> DaemonError:
    with pytest.raises(DaemonError) as caught:
        await ask(path, question)
    return caught.value


async def raw(path: Path, request: bytes) -> tuple[int, Any]:
    """Status and JSON of the answer to bytes on the wire; the client ends its half."""
    stream = await trio.open_unix_socket(path)
    async with stream:
        with trio.fail_after(30):
            await stream.send_all(request)
            answer = b""
            while not _is_complete(answer):
                chunk = await stream.receive_some()
                assert chunk, f"broke off after {answer!r}"
                answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def _is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return bool(end) and len(body) == int(lengths[0])


def post(path: str, body: bytes, *, content_type: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_block_and_unblock(serving: SmallNode, socket_path: Path) -> None:
    answer = await ask(socket_path, lambda client: client.block(str(SITES[0]), reason="spám \u200d שלום\n"))
    assert answer["rule"] == {
        "target": f"/ipns/{SITES[0]}",
        "verdict": "quarantine",
        "ground": "policy",
        "reason": "spám \u200d שלום\n",
    }
    assert await ask(socket_path, lambda client: client.rules()) == [answer["rule"]]
    assert await ask(socket_path, lambda client: client.unblock(f"/ipns/{SITES[0]}")) == {"target": f"/ipns/{SITES[0]}"}
    error = await refusal(socket_path, lambda client: client.unblock(str(SITES[0])))
    assert (error.code, error.hint, error.status) == ("not-found", "fednode status lists the rules", 404)
    assert isinstance(error, OperatorError)


async def test_drop_means_refuse(serving: SmallNode, socket_path: Path) -> None:
    answer = await ask(socket_path, lambda client: client.block(str(SITES[0]), ground="legal", drop=True))
    assert (answer["rule"]["verdict"], answer["rule"]["ground"], answer["dropped"]) == ("refuse", "legal", True)
    error = await refusal(socket_path, lambda client: client.block(str(SITES[0]), drop=True, verdict="quarantine"))
    assert (error.code, error.status) == ("bad-request", 400)


async def test_targets_with_slashes_and_escapes(serving: SmallNode, socket_path: Path) -> None:
    target = f"/ipfs/{CID}/a%20b%3F&c=d#e/*"
    text = (await ask(socket_path, lambda client: client.block(target)))["rule"]["target"]
    assert text.endswith("/a%20b%3F%26c%3Dd%23e*")
    assert (await ask(socket_path, lambda client: client.unblock(target)))["target"] == text


async def test_rules_come_in_pages(serving: SmallNode, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for site in SITES:
        serving.blocked_by.add(await list_file(socket_path.parent, site))
    path = str(socket_path.parent / "list.deny")
    two = await raw(socket_path, f"GET /v1/rules?list={path}&limit=2 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (two[0], len(two[1]["rules"]), two[1]["total"]) == (200, 1, 1)
    for site in SITES:
        await ask(socket_path, lambda client, site=site: client.block(str(site)))  # type: ignore[misc]
    status, page = await raw(socket_path, b"GET /v1/rules?limit=3&offset=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, len(page["rules"]), page["total"]) == (200, 3, 4)
    assert len(await ask(socket_path, lambda client: client.rules())) == 4


async def list_file(folder: Path, site: SiteId) -> Path:
    path = folder / "list.deny"
    path.write_text(f"/ipns/{site}\n")
    return path


async def test_blocklists(serving: SmallNode, socket_path: Path) -> None:
    path = await list_file(socket_path.parent, SITES[0])
    added = await ask(socket_path, lambda client: client.blocklist_add(str(path)))
    assert (added["path"], added["rule_count"], added["error"]) == (str(path), 1, None)
    assert await ask(socket_path, lambda client: client.blocklists()) == [added]
    assert len(await ask(socket_path, lambda client: client.rules(list_name=str(path)))) == 1
    assert await ask(socket_path, lambda client: client.rules()) == []
    await ask(socket_path, lambda client: client.blocklist_remove(str(path)))
    assert (await refusal(socket_path, lambda client: client.blocklist_remove(str(path)))).status == 404
    error = await refusal(socket_path, lambda client: client.blocklist_add("/nowhere/list.deny"))
    assert (error.code, error.status) == ("blocklist-unusable", 409)


async def test_follows_sites_and_status(serving: SmallNode, socket_path: Path) -> None:
    site = str(SITES[0])
    assert await ask(socket_path, lambda client: client.follow(site)) == {"site": site, "new": True}
    assert await ask(socket_path, lambda client: client.sites()) == [{"site": site, "blocked": False}]
    await ask(socket_path, lambda client: client.block(site))
    assert await ask(socket_path, lambda client: client.site(site)) == {"site": site, "blocked": True}
    assert await ask(socket_path, lambda client: client.unfollow(site)) == {"site": site}
    assert (await refusal(socket_path, lambda client: client.site(site))).code == "not-found"
    assert await ask(socket_path, lambda client: client.peers()) == []
    assert (await ask(socket_path, lambda client: client.status()))["blocklists"] == []


async def test_errors_keep_the_code_of_their_class(serving: SmallNode, socket_path: Path) -> None:
    error = await refusal(socket_path, lambda client: client.connect("/ip4/127.0.0.1/tcp/1/p2p/x"))
    assert (error.code, error.status) == ("unreachable", 502)
    error = await refusal(socket_path, lambda client: client.block("nonsense"))
    assert (error.code, error.status) == ("bad-target", 400)
    assert error.hint
    error = await refusal(socket_path, lambda client: client.site("k51nonsense"))
    assert error.status == 400


async def test_a_bug_is_logged_and_tells_nothing(
    serving: SmallNode, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = await refusal(socket_path, lambda client: client.doctor())
    assert (error.code, error.status) == ("internal", 500)
    assert "secret" not in str(error)
    assert "ZeroDivisionError" in caplog.text
    assert await ask(socket_path, lambda client: client.peers()) == []


SITE_BODY = json.dumps({"site": str(SITES[0])}).encode()


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, "no-such-route"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, "no-such-route"),
        (b"PUT /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed"),
        (b"GET /v1/status?verbose=1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"DELETE /v1/rules HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"DELETE /v1/rules?target=a&target=b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"DELETE /v1/rules?target= HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/rules?limit=0 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/rules?limit=1001 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/rules?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/rules?offset=99999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (post("/v1/follows", b""), 400, "bad-request"),
        (post("/v1/follows", b"null"), 400, "bad-request"),
        (post("/v1/follows", b"{}"), 400, "bad-request"),
        (post("/v1/follows", b'{"site": 5}'), 400, "bad-request"),
        (post("/v1/follows", b'{"site": ""}'), 400, "bad-request"),
        (post("/v1/follows", b'{"site": "a\\u0000b"}'), 400, "bad-request"),
        (post("/v1/follows", b'{"site": "' + b"k" * 300 + b'"}'), 400, "bad-request"),
        (post("/v1/follows", b'{"site": "k", "site": "k"}'), 400, "bad-request"),
        (post("/v1/follows", b'{"site": "k", "sites": "k"}'), 400, "bad-request"),
        (post("/v1/follows", b'{"site": NaN}'), 400, "bad-request"),
        (post("/v1/follows", b"\xff\xfe"), 400, "bad-request"),
        (post("/v1/follows", b"[" * 50_000), 400, "bad-request"),
        (post("/v1/follows", b"1" * 50_000), 400, "bad-request"),
        (post("/v1/follows", b'{"site": "\\ud800"}'), 400, "bad-request"),
        (post("/v1/follows?site=k", SITE_BODY), 400, "bad-request"),
        (post("/v1/follows", SITE_BODY, content_type="text/plain"), 415, "not-json"),
        (post("/v1/follows", b" " * (BODY_MAX_BYTES + 1)), 413, "too-large"),
        (post("/v1/rules", b'{"target": "k", "drop": 1}'), 400, "bad-request"),
        (post("/v1/rules", b'{"target": "k", "ground": "taste"}'), 400, "bad-request"),
        (post("/v1/rules", b'{"target": "k", "verdict": "permit"}'), 400, "bad-request"),
        (post("/v1/rules", b'{"target": "k", "reason": "' + b"x" * 501 + b'"}'), 400, "bad-request"),
    ],
)
async def test_strict_input(
    serving: SmallNode, socket_path: Path, request_bytes: bytes, status: int, code: str
) -> None:
    answered, body = await raw(socket_path, request_bytes)
    assert (answered, body["error"]["code"]) == (status, code)
    assert body["error"]["message"]
    assert set(body["error"]) == {"code", "message", "hint"}
    assert await ask(socket_path, lambda client: client.rules()) == []
    assert serving.store.follows() == frozenset()


async def test_a_body_that_does_not_come(
    serving: SmallNode, socket_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("node.admin.app.BODY_DEADLINE_S", 0.05)
    status, body = await raw(socket_path, post("/v1/follows", SITE_BODY)[:-3])
    assert (status, body["error"]["code"]) == (408, "timeout")
    # A client that leaves in the middle of its request is no bug.
    monkeypatch.setattr("node.admin.app.BODY_DEADLINE_S", 10)
    async with await trio.open_unix_socket(socket_path) as stream:
        await stream.send_all(post("/v1/follows", SITE_BODY)[:-3])
    assert await ask(socket_path, lambda client: client.peers()) == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_nobody_listens(socket_path: Path) -> None:
    with pytest.raises(NoDaemon) as caught:
        await ask(socket_path, lambda client: client.status())
    assert caught.value.hint
    with listening_unix_socket(socket_path):
        pass
    with pytest.raises(NoDaemon):
        await ask(socket_path, lambda client: client.status())


async def test_a_daemon_that_does_not_answer(socket_path: Path) -> None:
    with listening_unix_socket(socket_path), pytest.raises(DaemonTimeout):
        await ask(socket_path, lambda client: client.status(), timeout_s=0.1)


async def test_a_refusal_before_the_end_of_a_long_body(socket_path: Path, nursery: trio.Nursery) -> None:
    """Its reason is told, although the rest of the body found nobody."""

    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            assert await stream.receive_some()
            said = b'{"error": {"code": "full", "message": "no room", "hint": null}}'
            await stream.send_all(b"HTTP/1.1 507 Full\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))

    with listening_unix_socket(socket_path) as listener:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        await nursery.start(trio.serve_listeners, refuse, listeners)
        pieces = [bytes(100_000)] * 100
        with pytest.raises(DaemonError) as caught:
            await ask(socket_path, lambda client: client.import_trees(pieces, partial=False))
        assert (caught.value.code, caught.value.status) == ("full", 507)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-nonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n{"error": {}}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
    ],
)
async def test_something_else_answers(socket_path: Path, nursery: trio.Nursery, answer: bytes) -> None:
    async def other(stream: trio.SocketStream) -> None:
        async with stream:
            if await stream.receive_some():
                await stream.send_all(answer)

    with listening_unix_socket(socket_path) as listener:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        await nursery.start(trio.serve_listeners, other, listeners)
        with pytest.raises(BadAnswer):
            await ask(socket_path, lambda client: client.status())
        nursery.cancel_scope.cancel()
