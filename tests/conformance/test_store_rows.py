"""The rows that a store keeps for the operator, and remembered peers: on disk and in the in-memory twin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.store.errors import TooMany
from node.store.port import ListRow, PeerRow, RuleRow, Store
from tests.conformance.store_kit import Bench, Publisher, blocks, publish


def rule(target: str, list_name: str | None = None, reason: str = "spam") -> RuleRow:
    return RuleRow(target, "refuse", "policy", reason, 1_700_000_000, list_name)


def test_rules_are_kept_until_they_are_removed(bench: Bench) -> None:
    bench.store.add_rules([rule("/ipns/b")])
    bench.store.add_rules([rule("/ipns/a")])
    bench.store.add_rules([rule("/ipns/a", reason="Wörter, „quoted“")])
    bench.reopen()
    assert bench.store.rules() == [rule("/ipns/a", reason="Wörter, „quoted“"), rule("/ipns/b")]
    assert bench.store.remove_rule("/ipns/a")
    assert not bench.store.remove_rule("/ipns/a")
    bench.reopen()
    assert bench.store.rules() == [rule("/ipns/b")]


def test_the_rules_of_a_list_are_replaced_at_once(bench: Bench) -> None:
    store = bench.store
    row = ListRow("bad", "/etc/bad.deny")
    store.save_list(row)
    store.add_rules([rule("/ipns/own")])
    store.replace_list_rules("bad", [rule("/ipns/x", "bad"), rule("/ipns/own", "bad")])
    assert not store.remove_rule("/ipns/x")
    read = replace(row, mtime_ns=2**62, size_bytes=9, inode=2**63 - 1, read_s=1, error="line 3: what is this?")
    store.replace_list_rules("bad", [rule("/ipns/y", "bad")], row=read)
    bench.reopen()
    assert bench.store.rules() == [rule("/ipns/own"), rule("/ipns/y", "bad")]
    assert bench.store.lists() == [read]
    assert bench.store.remove_list("bad")
    assert not bench.store.remove_list("bad")
    assert bench.store.rules() == [rule("/ipns/own")]
    assert bench.store.lists() == []


def test_a_refused_replacement_leaves_the_old_rules(store: Store) -> None:
    store.save_list(ListRow("bad", "/bad"))
    store.replace_list_rules("bad", [rule("/ipns/x", "bad")])
    version = store.rules_version()
    with pytest.raises(ValueError, match="other"):
        store.replace_list_rules("bad", [rule("/ipns/y", "good")])
    with pytest.raises(ValueError, match="other"):
        store.replace_list_rules("bad", [], row=ListRow("good", "/good"))
    with pytest.raises(ValueError, match="no list"):
        store.replace_list_rules("good", [])
    with pytest.raises(TooMany):
        store.replace_list_rules("bad", [rule(f"/ipns/{n}", "bad") for n in range(7)])
    assert store.rules() == [rule("/ipns/x", "bad")]
    assert store.rules_version() == version


def test_rules_and_lists_are_bounded(store: Store) -> None:
    for number in range(6):
        store.add_rules([rule(f"/ipns/{number}")])
    with pytest.raises(TooMany):
        store.add_rules([rule("/ipns/6")])
    store.add_rules([rule("/ipns/5", reason="again")])
    assert len(store.rules()) == 6
    with pytest.raises(TooMany):
        store.add_rules([rule("/ipns/5", reason="once more"), rule("/ipns/6")])
    assert rule("/ipns/5", reason="again") in store.rules(), "all or none"
    for name in ("one", "two", "two"):
        store.save_list(ListRow(name, "/"))
    with pytest.raises(TooMany):
        store.save_list(ListRow("three", "/"))
    with pytest.raises(ValueError, match="name"):
        store.save_list(ListRow("", "/"))
    assert [row.name for row in store.lists()] == ["one", "two"]


def test_the_version_of_rules_changes_with_rules_alone(store: Store) -> None:
    first = store.rules_version()
    publish(store, Publisher(1).release(blocks(1, 2)), blocks(1, 2))
    store.save_list(ListRow("bad", "/bad"))
    store.follow(Publisher(1).site)
    assert store.rules_version() == first
    seen = {first}
    for change in (
        lambda: store.add_rules([rule("/ipns/a")]),
        lambda: store.replace_list_rules("bad", [rule("/ipns/b", "bad")]),
        lambda: store.remove_rule("/ipns/a"),
        lambda: store.remove_list("bad"),
    ):
        data = store.data_version()
        change()
        assert store.data_version() != data
        assert store.rules_version() not in seen
        seen.add(store.rules_version())
    assert not store.remove_rule("/ipns/a")
    assert store.rules_version() in seen


def test_followed_sites(bench: Bench) -> None:
    sites = [Publisher(seed).site for seed in range(1, 5)]
    assert bench.store.follow(sites[0])
    assert not bench.store.follow(sites[0])
    assert bench.store.follow(sites[1])
    assert bench.store.follow(sites[2])
    with pytest.raises(TooMany):
        bench.store.follow(sites[3])
    assert bench.store.unfollow(sites[1])
    assert not bench.store.unfollow(sites[1])
    bench.reopen()
    assert bench.store.follows() == {sites[0], sites[2]}


def test_peers_are_bounded_and_the_latest_seen_stay(bench: Bench) -> None:
    for number in range(5):
        bench.store.save_peer(f"12D3Koo{number}", ["/ip4/127.0.0.1/tcp/1"], 100 + number)
    bench.store.save_peer("12D3Koo3", ["/a", "x" * 41, "/a", "", "/b\n/c", "/d", "/e"], 200)
    bench.store.save_peer("12D3Koo2", [], 50)
    bench.reopen()
    assert bench.store.peers() == [
        PeerRow("12D3Koo3", ("/a", "/d"), 200),
        PeerRow("12D3Koo4", ("/ip4/127.0.0.1/tcp/1",), 104),
        PeerRow("12D3Koo2", (), 50),
    ]
    assert bench.store.forget_peer("12D3Koo3")
    assert not bench.store.forget_peer("12D3Koo3")
    assert [row.peer for row in bench.store.peers()] == ["12D3Koo4", "12D3Koo2"]
