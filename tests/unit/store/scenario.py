"""Runs of store calls from a seed, the same on disk and in the twin, and what may be asked of a store afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from node.store.disk import open_store
from node.store.errors import HoldGone, QuotaExceeded
from node.store.files import Files
from node.store.memory import MemoryStore
from node.store.port import Hold, Origin, RuleRow, Store
from protocol.errors import PeerError, StaleRelease
from protocol.release import SignedRelease
from tests.conformance.store_kit import CACHE, QUOTA, SMALL, Blocks, Publisher, blocks

Call = Callable[[Store], object]

POOL = list((blocks(1, 20, 200) | blocks(2, 8, 2500) | blocks(3, 1, 0)).items())
NAMES = [cid for cid, _ in POOL]
TARGETS = ("/ipns/a", "/ipns/b", "/ipns/c")
NOW_S = 1_700_000_000.0
WEIGHTS = {
    "publish": 8.0,
    "open": 3.0,
    "abort": 1.0,
    "head": 1.0,
    "drop": 2.0,
    "end": 0.3,
    "cache": 2.0,
    "rule": 2.0,
    "care": 2.0,
    "sync": 1.0,
}


def open_disk(directory: Path, files: Files | None = None) -> Store:
    return open_store(directory, quota_bytes=QUOTA, cache_bytes=CACHE, files=files, limits=SMALL, clock=lambda: NOW_S)


def open_twin() -> MemoryStore:
    return MemoryStore(quota_bytes=QUOTA, cache_bytes=CACHE, limits=SMALL, clock=lambda: NOW_S)


class Scenario:
    """`calls` are atomic each, by the contract; holds are looked up by their release."""

    def __init__(self, seed: int, count: int = 14) -> None:
        self._random = random.Random(seed)
        self._publishers = [Publisher(1), Publisher(2)]
        self._contents: dict[SignedRelease, Blocks] = {}
        self.calls: list[Call] = []
        while len(self.calls) < count:
            self._add(self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])

    def _add(self, kind: str) -> None:
        publisher = self._random.choice(self._publishers)
        content = dict(self._random.sample(POOL, self._random.randint(1, 10)))
        if kind in ("publish", "open", "abort"):
            self._add_publishing(publisher.release(content), content, kind)
        elif kind == "head":
            head = publisher.release(content)
            self.calls.append(lambda store: store.set_head(head))
        elif kind == "drop":
            self.calls.append(lambda store: store.drop_site(publisher.site))
        elif kind == "end":
            end = publisher.end()
            self.calls.append(lambda store: store.end_site(end))
        elif kind == "cache":
            self.calls.append(lambda store: store.cache_blocks(list(content.items())))
        elif kind == "care":
            self.calls.append(lambda store: store.compact() * 0)
        elif kind == "sync":
            self.calls.append(lambda store: store.sync())
        else:
            self._add_rule()

    def _add_rule(self) -> None:
        row = RuleRow(self._random.choice(TARGETS), "refuse", "policy", str(self._random.random()), 0)
        if self._random.random() < 0.3:
            self.calls.append(lambda store: store.remove_rule(row.target))
        else:
            self.calls.append(lambda store: store.add_rules([row]))

    def _add_publishing(self, signed: SignedRelease, content: Blocks, kind: str) -> None:
        self._contents[signed] = content
        items = list(content.items())
        cut = self._random.randint(0, len(items))
        self.calls.append(lambda store: store.begin_hold(signed).signed)
        if self._random.random() < 0.5:
            self.calls.append(lambda store: store.link_blocks(hold_of(store, signed), list(content)))
        self.calls.append(lambda store: store.put_blocks(hold_of(store, signed), items[:cut]))
        if kind != "open":
            self.calls.append(lambda store: store.put_blocks(hold_of(store, signed), items[cut:]))
        if kind == "publish":
            self.calls.append(lambda store: store.finish_hold(hold_of(store, signed), origin=Origin.PUBLISHED))
        if kind == "abort":
            self.calls.append(lambda store: store.abort_hold(hold_of(store, signed)))

    def go_on(self, store: Store) -> None:
        """What a node does after a start: complete what is open, and take another release of each site."""
        for info in store.holds():
            self._complete(store, info.hold)
        for publisher in self._publishers:
            record = store.site(publisher.site)
            if record is not None and record.ended:
                continue
            content = dict(POOL[publisher.seed : publisher.seed + 12])
            signed = publisher.release(content)
            self._contents[signed] = content
            self._complete(store, store.begin_hold(signed))
            record = store.site(publisher.site)
            assert record is not None
            assert record.held == signed

    def _complete(self, store: Store, hold: Hold) -> None:
        content = self._contents[hold.signed]
        try:
            missing = store.link_blocks(hold, list(content))
            store.put_blocks(hold, [(cid, content[cid]) for cid in missing])
            store.finish_hold(hold, origin=Origin.REPLICATED)
        except (HoldGone, StaleRelease):  # overtaken by another one
            return
        assert store.blocks_of(hold.site, content) == set(content)


def hold_of(store: Store, signed: SignedRelease) -> Hold:
    for info in store.holds():
        if info.hold.signed == signed:
            return info.hold
    raise HoldGone("there is no such hold")


def outcome(call: Call, store: Store) -> object:
    """What the call gives, or the kind of error that its contract names."""
    try:
        return call(store)
    except (PeerError, HoldGone, QuotaExceeded) as error:
        return type(error)


def durable_state(store: Store) -> object:
    """What nothing may take back once the call has returned."""
    sites = store.sites()
    return sites, store.rules(), [store.blocks_of(record.site, NAMES) for record in sites if record.held]


def whole_state(store: Store) -> object:
    """What the death of the process may not take back."""
    progress = [(info.hold.signed, info.done_blocks, info.done_bytes, info.new_bytes) for info in store.holds()]
    return durable_state(store), store.usage(), store.has_blocks(NAMES), progress


def all_readable(store: Store) -> bool:
    """Reading verifies."""
    return all(store.get_block(cid) is not None for cid in store.has_blocks(NAMES))
