"""The snapshot of the store's rows: current at each refresh, and nothing passes while new rules are being read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.gateway.view import StoreView
from node.policy.list_files import Subscription, Version
from node.policy.model import Rule
from node.policy.rules import row_of
from node.store.disk import DiskStore, open_store
from node.store.errors import StoreFailed
from node.store.port import RuleRow
from node.store.reader import PackReader, open_reader
from protocol.cid import RAW, Cid
from protocol.deny_index import build
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.sites import publish

KEY = new_key()
SITE = SiteId.of(KEY)
RULE = row_of(Rule(SITE, "refuse", "policy", "", 1))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = open_store(tmp_path, quota_bytes=1 << 20)
    yield store
    store.close()


@pytest.fixture
def reader(store: DiskStore, tmp_path: Path) -> Iterator[PackReader]:
    reader = open_reader(tmp_path)
    yield reader
    reader.close()


def allowed(view: StoreView) -> bool:
    return view.decide(SITE, None, ("",), ()).allowed


async def test_a_refresh_sees_what_was_committed_before_it(store: DiskStore, reader: PackReader) -> None:
    view = StoreView(reader)
    await view.refresh()
    assert allowed(view)
    assert view.site(SITE) is None
    assert await view.served() == []
    publish(store, KEY, {"a": b"a"})
    store.add_rules([RULE])
    await view.refresh()
    assert not allowed(view)
    record = view.site(SITE)
    assert record is not None
    assert record.held is not None
    assert await view.served() == []
    store.remove_rule(RULE.target)
    await view.refresh()
    assert allowed(view)
    assert await view.served() == [SITE]


async def test_listing_the_sites_does_not_hold_the_loop_up(
    store: DiskStore, reader: PackReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask how many are served, and there may be ten thousand."""
    publish(store, KEY, {"a": b"a"})
    view = StoreView(reader)
    await view.refresh()
    asked: list[str] = []

    def noted(name: str) -> Callable[[], Any]:
        read = getattr(reader, name)

        def call(*arguments: object) -> Any:
            asked.append(f"{name} on the loop" if trio.lowlevel.in_trio_run() else name)
            return read(*arguments)

        return call

    for name in ("sites", "site"):
        monkeypatch.setattr(reader, name, noted(name))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(view.served)
    assert await view.served() == [SITE]
    assert asked == ["sites"]


async def test_commits_that_touch_no_rule_do_not_read_rules_again(store: DiskStore, reader: PackReader) -> None:
    view = StoreView(reader)
    store.add_rules([RULE])
    await view.refresh()
    policy, version = view._policy, view.rules_version
    for seq in (1, 2, 3):
        publish(store, KEY, {"a": b"%d" % seq}, seq=seq)
        await view.refresh()
        record = view.site(SITE)
        assert record is not None
        assert record.head.seq == seq
    assert view._policy is policy
    assert view.rules_version == version


async def test_everybody_waits_while_new_rules_are_read(
    store: DiskStore, reader: PackReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = StoreView(reader)
    await view.refresh()
    store.add_rules([RULE])
    reading, go_on = threading.Event(), threading.Event()
    read_rules = reader.rules

    def slow_rules() -> list[RuleRow]:
        reading.set()
        assert go_on.wait(5)
        return read_rules()

    monkeypatch.setattr(reader, "rules", slow_rules)
    verdicts = []

    async def ask() -> None:
        await view.refresh()
        verdicts.append(allowed(view))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.to_thread.run_sync(reading.wait, 5)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert verdicts == []
        go_on.set()
    assert verdicts == [False, False]


async def test_a_long_list_of_rules_takes_effect_at_once(node: Node) -> None:
    site, _ = node.publish(KEY, {"index.html": b"x"})
    assert (await node.get(site, "/")).status == 200
    raw = "\n".join([f"/ipfs/{Cid.of(RAW, b'%d' % n)}" for n in range(3000)] + [f"/ipns/{site}"]).encode()
    files = node.app._view._lists
    assert files is not None
    current = Version(files.save_version(raw, build(raw, now_s=1).table))
    files.save_catalog([Subscription("long", "/long", current=current)])
    answer = await node.get(site, "/")
    assert answer.status == 410
    assert "long" in answer.text


async def test_a_store_that_cannot_be_read_serves_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = node.publish(KEY, {"index.html": b"x"})
    assert (await node.get(site, "/")).status == 200

    def fail() -> int:
        raise StoreFailed("disk on fire")

    monkeypatch.setattr(node.app._view._reader, "data_version", fail)
    assert (await node.get(site, "/")).status == 503
    assert (await node.ask("GET", "localhost", "/healthz")).status == 503
