"""fednode store, as typed, against a store on disk, with and without a daemon."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from config import Paths
from node.store import layout
from node.store.disk import open_store
from node.store.files import OsFiles
from node.store.lock import StoreLock
from node.store.port import RuleRow
from node.store.reader import open_reader
from tests.conformance.store_kit import Publisher, blocks, damage, publish, tree
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon

CONTENT = tree(blocks(1, 30, 900))


@pytest.fixture
def folder(fednode: Fednode) -> Path:
    """The store of the node that the verbs are about, with one site."""
    path = Paths(Path(fednode("config", "--json").json["settings"][0]["value"])).store_dir
    with closing(open_store(path, quota_bytes=layout.MIB)) as store:
        publish(store, Publisher(1).release(CONTENT), CONTENT)
        store.add_rules([RuleRow("/ipns/a", "refuse", "policy", "", 0)])
    return path


def test_a_sound_store(fednode: Fednode, folder: Path) -> None:
    ran = fednode("store", "verify", "--rate", "50 MiB")
    assert (ran.code, ran.err) == (0, "")
    assert "read 31 blocks" in ran.out
    assert "all is well" in ran.out


def test_damage_is_told_and_marked(fednode: Fednode, folder: Path) -> None:
    bad = list(CONTENT)[7]
    damage(folder, bad)
    ran = fednode("store", "verify", "--json")
    assert ran.code == 1
    assert (ran.json["damaged"], ran.json["marked_by"], ran.json["problem_count"]) == ([str(bad)], "store", 0)
    with closing(open_reader(folder)) as reader:
        assert reader.has_blocks(CONTENT) == set(CONTENT) - {bad}
    again = fednode("store", "verify")
    assert again.code == 1
    assert "1 block known to be damaged" in again.out


def test_a_lost_index_is_made_anew(fednode: Fednode, folder: Path) -> None:
    (folder / layout.DATABASE_NAME).unlink()
    broken = fednode("store", "verify")
    assert broken.code == 1
    ran = fednode("store", "rebuild", "--json")
    assert ran.code == 0
    assert (ran.json["sites_held"], ran.json["blocks"], ran.json["old_index"]) == (1, 31, None)
    assert "rules" in ran.json["lost"]
    assert fednode("store", "verify").code == 0


def test_a_rebuild_keeps_what_it_can(fednode: Fednode, folder: Path) -> None:
    ran = fednode("store", "rebuild")
    assert ran.code == 0
    assert "1 site held" in ran.out
    assert "1 rules, 1 heads" in ran.out
    assert str(folder / layout.OLD_NAME) in ran.out.replace("\n", "")


def test_a_rebuild_needs_the_node_to_be_stopped(fednode: Fednode, folder: Path) -> None:
    with closing(StoreLock(folder, OsFiles())):
        ran = fednode("store", "rebuild")
    assert ran.code == 1
    assert ran.err.startswith("error: the store in")


@pytest.mark.parametrize("verb", ["verify", "rebuild"])
def test_no_store(fednode: Fednode, home: Path, verb: str) -> None:
    ran = fednode("store", verb)
    assert ran.code == 1
    assert ran.err.splitlines()[1] == "hint: fednode start makes one"


@pytest.mark.parametrize("rate", ["0", "much", "-1"])
def test_a_rate_must_be_one(fednode: Fednode, folder: Path, rate: str) -> None:
    ran = fednode("store", "verify", f"--rate={rate}")
    assert ran.code == 2
    assert ran.err.startswith("error: --rate must be")


def test_a_running_node_looks_at_a_block_itself(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> None:
    from node.admin.client import AdminClient, DaemonError

    fednode("key", "new", "one")
    assert fednode("publish", site_dir, "--key", "one").code == 0
    (record,) = daemon.store.sites()
    assert record.held is not None
    root = record.held.release.root
    assert root is not None
    with AdminClient(daemon.paths.admin_socket) as client:
        assert client.check_block(str(root)) == {"cid": str(root), "damaged": False}
        daemon.store.mark_corrupt(root)
        assert client.check_block(str(root))["damaged"]
        for text, code in (("nonsense", "bad-request"), (str(record.held.cid), "not-found")):
            with pytest.raises(DaemonError) as caught:
                client.check_block(text)
            assert caught.value.code == code
    assert "first reading of all blocks" in fednode("status").out
