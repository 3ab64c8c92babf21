"""Run in a mount namespace of its own: a store on a tmpfs that is made full, and read-only."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from node.store import layout
from node.store.disk import DiskStore, open_store
from node.store.errors import StoreFull, StoreReadOnly
from node.store.port import ListRow, Origin, RuleRow
from node.store.reader import open_reader
from tests.conformance.store_check import problems
from tests.conformance.store_kit import Publisher, blocks, publish, readable

MIB = layout.MIB
LIMITS = layout.StoreLimits(ballast_bytes=4 * MIB, pack_roll_bytes=8 * MIB, sync_every_bytes=2 * MIB)


def open_here(path: Path) -> DiskStore:
    return open_store(path / "store", quota_bytes=1024 * MIB, cache_bytes=MIB, limits=LIMITS)


def fill(path: Path) -> Path:
    """Use up all that is left of the disk."""
    filler = path / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def main(path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", path], check=True)
    old, new = blocks(1, 10, MIB // 4), blocks(2, 10, MIB // 2)
    one, two, three = Publisher(1), Publisher(2), Publisher(3)
    store = open_here(path)
    publish(store, one.release(old), old)
    with pytest.raises(StoreFull):
        store.begin_hold(three.release(blocks(3, 40, 40), size_bytes=40 * MIB))
    hold = store.begin_hold(two.release(new))
    store.put_blocks(hold, list(new.items())[:2])

    filler = fill(path)
    for _ in range(3):
        with pytest.raises(StoreFull):
            store.put_blocks(hold, list(new.items()))
    assert readable(store, old)
    assert store.hold_info(hold).done_blocks == 2
    check_urgent_calls(store, one)
    with closing(open_reader(path / "store")) as reader:
        assert reader.site(two.site) is None
        assert len(reader.rules()) == 501

    filler.unlink()
    store.put_blocks(hold, list(new.items()))
    store.finish_hold(hold, origin=Origin.REPLICATED)
    filler = fill(path)
    store.close()
    store = open_here(path)
    assert readable(store, new)
    assert len(store.rules()) == 501
    store.close()
    filler.unlink()
    check_read_only(path)
    open_here(path).close()
    assert problems(path / "store") == []


def check_urgent_calls(store: DiskStore, one: Publisher) -> None:
    """Refusing and deleting work on a full disk."""
    store.add_rules([RuleRow("/ipns/x", "refuse", "legal", "order 7", 0)])
    store.save_list(ListRow("bad", "/bad"))
    store.replace_list_rules("bad", [RuleRow(f"/ipns/{n}", "refuse", "policy", "", 0, "bad") for n in range(500)])
    assert store.drop_site(one.site) > 2 * MIB


def check_read_only(path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    with pytest.raises(StoreReadOnly) as caught:
        open_here(path)
    assert caught.value.hint
    subprocess.run(["mount", "-o", "remount,rw", path], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
