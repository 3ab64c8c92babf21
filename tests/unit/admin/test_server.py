"""The admin socket: who can open it, and clients that misbehave."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

import pytest
import trio

from node.admin.server import AdminLimits, serve_admin
from node.admin.unix import SocketPathError, listening_unix_socket
from tests.unit.admin.conftest import LIMITS
from tests.unit.admin.small_node import SmallNode
from tests.unit.admin.test_api import ask

GET_STATUS = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
MORE_THAN_A_SOCKET_HOLDS = 8 * 1024 * 1024


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_owner_can_open_the_socket(serving: SmallNode, socket_path: Path) -> None:
    assert mode_of(socket_path) == 0o600
    assert mode_of(socket_path.parent) == 0o700


def test_an_open_directory_is_closed_and_the_socket_goes_at_the_end(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o755)
    socket_path.parent.chmod(0o777)
    with listening_unix_socket(socket_path):
        assert mode_of(socket_path.parent) == 0o700
    assert not socket_path.exists()


def test_a_socket_that_was_left_behind_is_replaced(socket_path: Path) -> None:
    with listening_unix_socket(socket_path):
        with listening_unix_socket(socket_path):
            pass
        # the first one's file is gone; its end must not touch what another made meanwhile
        socket_path.touch()
    assert socket_path.exists()


def test_a_file_in_the_way_stays(socket_path: Path) -> None:
    socket_path.parent.mkdir()
    socket_path.write_text("precious")
    with pytest.raises(SocketPathError, match="in the way"), listening_unix_socket(socket_path):
        pass
    assert socket_path.read_text() == "precious"


def test_where_no_socket_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "admin.sock", tmp_path / ("x" * 200)):
        with pytest.raises(SocketPathError), listening_unix_socket(path):
            pass


async def start(nursery: trio.Nursery, node: SmallNode, path: Path, limits: AdminLimits = LIMITS) -> trio.CancelScope:
    """Serves until the scope that is returned is cancelled."""

    async def serve(*, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                await inner.start(partial(serve_admin, limits=limits), node, path)
                task_status.started(scope)

    scope: trio.CancelScope = await nursery.start(serve)
    return scope


STALLED_SOON = AdminLimits(write_stall_s=0.2, idle_s=1000)
IDLE_SOON = AdminLimits(write_stall_s=1000, idle_s=0.2)
DEADLINE_S = 20


@pytest.mark.parametrize("behaviour", ["reads nothing", "half a request", "half a body", "waits", "idle"])
async def test_the_end_comes_at_once_whatever_clients_do(
    small_node: SmallNode, socket_path: Path, behaviour: str
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            scope = await start(nursery, small_node, socket_path)
            stream = await trio.open_unix_socket(socket_path)
            if behaviour == "reads nothing":
                small_node.big = MORE_THAN_A_SOCKET_HOLDS
                await stream.send_all(GET_STATUS)
                await stream.receive_some(1)  # the answer is on its way, and its writer is stuck from now on
            elif behaviour == "half a request":
                await stream.send_all(GET_STATUS[:10])
            elif behaviour == "half a body":
                await stream.send_all(
                    b"POST /v1/follows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 9\r\n\r\n{"
                )
            elif behaviour == "waits":
                small_node.hold_status = trio.Event()
                await stream.send_all(GET_STATUS)
                await small_node.status_asked.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            scope.cancel()  # ends long before any of the limits
    assert not socket_path.exists()
    await stream.aclose()


async def test_a_client_that_does_not_read_is_dropped_and_others_are_served(
    small_node: SmallNode, socket_path: Path, nursery: trio.Nursery
) -> None:
    scope = await start(nursery, small_node, socket_path, STALLED_SOON)
    small_node.big = MORE_THAN_A_SOCKET_HOLDS
    stream = await trio.open_unix_socket(socket_path)
    await stream.send_all(GET_STATUS)
    assert await ask(socket_path, lambda client: client.peers()) == []
    with trio.fail_after(DEADLINE_S):
        received = len(await stream.receive_some(1))  # its writer is stuck from now on
        await trio.sleep(2 * STALLED_SOON.write_stall_s)
        with pytest.raises((trio.BrokenResourceError, EOFError)):  # noqa: PT012 (reads until it ends)
            while chunk := await stream.receive_some():
                received += len(chunk)
            raise EOFError
    assert 0 < received < MORE_THAN_A_SOCKET_HOLDS
    await stream.aclose()
    scope.cancel()


async def test_connections_are_bounded(serving: SmallNode, socket_path: Path) -> None:
    idle = [await trio.open_unix_socket(socket_path) for _ in range(LIMITS.connections_max)]
    with trio.fail_after(DEADLINE_S):
        async with await trio.open_unix_socket(socket_path) as more:
            assert await more.receive_some() == b""
    for stream in idle:
        await stream.aclose()


async def test_idle_connections_end(small_node: SmallNode, socket_path: Path, nursery: trio.Nursery) -> None:
    scope = await start(nursery, small_node, socket_path, IDLE_SOON)
    idle = [await trio.open_unix_socket(socket_path) for _ in range(3)]
    with trio.fail_after(DEADLINE_S):
        for stream in idle:
            assert await stream.receive_some() == b""
            await stream.aclose()
    scope.cancel()


async def test_a_long_head_is_refused(serving: SmallNode, socket_path: Path) -> None:
    async with await trio.open_unix_socket(socket_path) as stream:
        with trio.fail_after(DEADLINE_S):
            await stream.send_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: ")
            answer = b""
            with pytest.raises((trio.BrokenResourceError, EOFError)):  # noqa: PT012 (sends until it is cut off)
                for _ in range(100):
                    await stream.send_all(b"x" * 1024)
                while chunk := await stream.receive_some():
                    answer += chunk
                raise EOFError
    assert b" 200 " not in answer


async def test_many_requests_on_one_connection(serving: SmallNode, socket_path: Path) -> None:
    def twenty(client: object) -> int:
        return sum(client.peers() == [] for _ in range(20))  # type: ignore[attr-defined]

    assert await ask(socket_path, twenty) == 20


async def test_clients_that_left_do_not_count(small_node: SmallNode, socket_path: Path, nursery: trio.Nursery) -> None:
    scope = await start(nursery, small_node, socket_path, AdminLimits(connections_max=3, idle_s=1000))
    for _ in range(10):
        assert await ask(socket_path, lambda client: client.peers()) == []
    scope.cancel()


async def test_what_was_asked_is_done_although_the_client_left(
    small_node: SmallNode, socket_path: Path, nursery: trio.Nursery
) -> None:
    scope = await start(nursery, small_node, socket_path)
    small_node.hold_status = trio.Event()
    async with await trio.open_unix_socket(socket_path) as stream:
        await stream.send_all(GET_STATUS)
        await small_node.status_asked.wait()
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert not small_node.status_done.is_set()
    small_node.hold_status.set()
    with trio.fail_after(DEADLINE_S):
        await small_node.status_done.wait()
    scope.cancel()
