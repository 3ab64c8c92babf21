"""Reading from several threads."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node.store import sites, trees
from node.store.disk import open_store
from node.store.port import SiteRecord, TreeOrigin, TreeRecord
from tests.conformance.store_kit import Publisher, blocks, publish

MIB = 1024**2


@pytest.mark.parametrize("what", ["sites", "trees"])
def test_who_reads_all_sites_or_trees_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A gateway worker asks the store on its loop for every request."""
    begun, go_on = threading.Event(), threading.Event()
    site_record, tree_record = sites._record, trees._record

    def wait() -> None:
        begun.set()
        assert go_on.wait(60)

    def slow_site(row: sites.Row) -> SiteRecord:
        wait()
        return site_record(row)

    def slow_tree(payload: bytes, origin: str) -> TreeRecord:
        wait()
        return tree_record(payload, origin)

    content = blocks(1, 3)
    store = open_store(tmp_path / "store", quota_bytes=MIB)
    try:
        publish(store, Publisher(1).release(content), content)
        tree = store.begin_tree(next(iter(content)))
        store.link_blocks(tree, list(content))
        store.finish_tree(tree, origin=TreeOrigin.IMPORTED)
        monkeypatch.setattr(sites, "_record", slow_site)
        monkeypatch.setattr(trees, "_record", slow_tree)
        found: list[int] = []
        reads_all = threading.Thread(target=lambda: found.append(len(getattr(store, what)())), daemon=True)
        reads_all.start()
        assert begun.wait(60)
        asks = threading.Thread(target=store.data_version, daemon=True)
        asks.start()
        asks.join(20)
        assert not asks.is_alive()
        go_on.set()
        reads_all.join(60)
        assert found == [1]
    finally:
        go_on.set()
        store.close()
