"""Several lists of servers with TLS, of which one is slow: the others and the operator do not wait for it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from node.policy.list_looks import FETCH_EVERY_S
from node.policy.subscriptions import FETCHES_MAX, Subscriptions
from node.store.memory import MemoryStore
from tests.unit.policy.list_server import Authority, ListServer, list_server

HERE = "127.0.0.1"
DEADLINE_S = 30


class World:
    """A node that follows the lists of several servers, by its own clock."""

    def __init__(self, folder: Path, servers: list[ListServer]) -> None:
        self.servers = servers
        self.folder = folder
        self.now_s = 1000
        self.lists = Subscriptions(MemoryStore(quota_bytes=10**6), folder / "lists", now_s=lambda: self.now_s)
        for number, server in enumerate(servers):
            assert self.lists.add(server.url, name=f"list{number}").rule_count == 1

    def offer_more(self) -> None:
        """Every server has two rules now, and is asked at the next look."""
        for server in self.servers:
            server.body, server.etag = b"/ipns/one.example\n/ipns/two.example\n", '"2"'
        self.now_s += 2 * FETCH_EVERY_S

    def counts(self) -> dict[str, int]:
        return {status.name: status.rule_count for status in self.lists.show()}

    def file(self, name: str) -> Path:
        path = self.folder / f"{name}.deny"
        path.write_text("/ipns/three.example\n")
        return path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    authority = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with ExitStack() as stack:
        servers = []
        for _ in range(FETCHES_MAX):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.certify(context, HERE)
            servers.append(stack.enter_context(list_server(b"/ipns/one.example\n", context)))
        yield World(tmp_path, servers)


async def test_a_slow_server_holds_up_neither_other_lists_nor_commands(world: World) -> None:
    slow = world.servers[0]
    slow.stalls = True
    world.offer_more()
    file = world.file("file")
    changed, changes = trio.open_memory_channel[None](20)

    async def until(wanted: dict[str, int]) -> None:
        while world.counts() != wanted:
            await changes.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.lists.watch, lambda: changed.send_nowait(None))
        with trio.fail_after(DEADLINE_S):
            await trio.to_thread.run_sync(slow.stalled.wait, abandon_on_cancel=True)
            known = {"list0": 1} | {f"list{number}": 2 for number in range(1, FETCHES_MAX)}
            await until(known)
            # Commands go on, about the slow list itself, too.
            assert (await trio.to_thread.run_sync(world.lists.add, file)).rule_count == 1
            status = await trio.to_thread.run_sync(world.lists.overrule, "list0", "/ipns/one.example")
            assert status.overruled == ("/ipns/one.example",)
            file.write_text("")  # and files are looked at meanwhile
            await until(known | {str(file): 0})
            assert slow.asked == [None, '"1"'], "it is not asked again while it answers"
            slow.let_go.set()
            await until(known | {str(file): 0, "list0": 2})
        nursery.cancel_scope.cancel()
    assert world.lists.files.catalog()[1].overruled == ("/ipns/one.example",), "what was said meanwhile stays"


@pytest.mark.parametrize("again", [False, True])
async def test_a_list_that_was_removed_while_it_was_fetched_stays_away(world: World, again: bool) -> None:
    slow = world.servers[0]
    slow.stalls = True
    world.offer_more()
    looked = trio.Event()

    async def look() -> None:
        assert not await trio.to_thread.run_sync(world.lists.look, "list0")
        looked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        with trio.fail_after(DEADLINE_S):
            await trio.to_thread.run_sync(slow.stalled.wait, abandon_on_cancel=True)
            assert await trio.to_thread.run_sync(world.lists.remove, "list0")
            file = world.file("file")
            if again:
                await trio.to_thread.run_sync(lambda: world.lists.add(file, name="list0"))
            slow.let_go.set()
            await looked.wait()
    assert world.counts().get("list0") == (1 if again else None)
    assert not again or world.lists.show()[0].path == str(file)


async def test_of_two_loads_the_one_that_began_later_counts(world: World) -> None:
    slow = world.servers[0]
    slow.stalls = True
    world.offer_more()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(DEADLINE_S):
            nursery.start_soon(trio.to_thread.run_sync, world.lists.look, "list0")
            await trio.to_thread.run_sync(slow.stalled.wait, abandon_on_cancel=True)
            slow.stalls, slow.body, slow.etag = False, b"/ipns/new.example\n", '"3"'
            await trio.to_thread.run_sync(lambda: world.lists.add(slow.url, name="list0"))
            slow.let_go.set()
    assert world.lists.rules("list0", 0, 5)[0] == [("/ipns/new.example", "")]
