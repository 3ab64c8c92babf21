"""export and import, as typed: a site leaves one node as a file and comes into another."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.policy.model import Rule
from node.policy.rules import row_of
from protocol.site_id import SiteId
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon, small_daemon
from tests.unit.cli.test_publish import head, new_key


@pytest.fixture
def daemon(home: Path) -> Iterator[SmallDaemon]:
    with small_daemon(home / "data" / "fednode", on_disk=True) as running:
        yield running


@pytest.fixture
def site(fednode: Fednode, daemon: SmallDaemon, site_dir: Path) -> SiteId:
    made = new_key(fednode)
    assert fednode("publish", site_dir).code == 0
    return made


def test_a_site_moves_as_a_file(fednode: Fednode, daemon: SmallDaemon, site: SiteId, site_dir: Path) -> None:
    assert fednode("bundle", site_dir, "-o", "made.car").code == 0
    ran = fednode("export", site, "-o", "site.car", "--json")
    assert ran.code == 0, ran.err
    signed = head(daemon, site)
    assert ran.json["release"] == str(signed.cid)
    assert ran.json["file_bytes"] == Path("site.car").stat().st_size
    assert Path("site.car").read_bytes() == Path("made.car").read_bytes()
    assert fednode("import", "site.car", "--json").json["nodes"][0]["state"] == "already"
    with small_daemon(Path("other")) as other:
        ran = fednode("import", "site.car", "--data-dir", "other", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["nodes"][0]["new_blocks"] == signed.release.block_count
        assert head(other, site) == signed


def test_to_stdout_and_by_the_beginning_of_its_id(
    fednode: Fednode, site: SiteId, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fednode("export", site, "-o", "site.car").code == 0
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    from cli.main import run

    assert run(["export", str(site)[:20]]) == 0
    assert isinstance(out.buffer, io.BytesIO)
    assert out.buffer.getvalue() == Path("site.car").read_bytes()


def test_a_quarantined_site_can_be_taken_away(fednode: Fednode, daemon: SmallDaemon, site: SiteId) -> None:
    daemon.store.add_rules([row_of(Rule(site, "quarantine", "policy", "", 1))])
    assert fednode("export", site, "-o", "site.car").code == 0


def test_without_a_daemon(fednode: Fednode, home: Path, site_dir: Path) -> None:
    with small_daemon(home / "data" / "fednode", on_disk=True):
        made = new_key(fednode)
        assert fednode("publish", site_dir).code == 0
    assert fednode("export", made, "-o", "site.car").code == 0
    ran = fednode("import", "site.car")
    assert (ran.code, "no fednode daemon" in ran.err) == (3, True)


def test_the_end_of_a_site(fednode: Fednode, site: SiteId) -> None:
    assert fednode("unpublish", "--yes").code == 0
    ran = fednode("export", site, "-o", "end.car", "--json")
    assert (ran.code, ran.json["ended"], ran.json["root"]) == (0, True, None)
    assert "the end of the site" in fednode("export", site, "-o", "end.car", "--force").out


def test_what_cannot_be_exported(fednode: Fednode, site: SiteId) -> None:
    for arguments, code, said in (
        (["k51x", "-o", "x"], 1, "no site"),
        (["k5", "-o", "x"], 1, "no site"),
        ([str(site), "--json"], 2, "not text"),
        ([str(site), "-o", "x", "--data-dir", "nowhere"], 1, "no store"),
    ):
        ran = fednode("export", *arguments)
        assert (ran.code, said in ran.err) == (code, True), ran.err
        assert not Path("x").exists()
    Path("x").write_text("mine")
    assert "already" in fednode("export", site, "-o", "x").err
    assert Path("x").read_text() == "mine"


@pytest.mark.parametrize("fault", ["cut", "flipped", "more", "no bundle"])
def test_what_cannot_be_imported(fednode: Fednode, daemon: SmallDaemon, site: SiteId, fault: str) -> None:
    assert fednode("export", site, "-o", "site.car").code == 0
    raw = Path("site.car").read_bytes()
    flipped = raw[:-3] + bytes((raw[-3] ^ 1,)) + raw[-2:]
    wrong = {"cut": raw[:-1], "flipped": flipped, "more": raw + b"\0", "no bundle": b"hello"}[fault]
    Path("bad.car").write_bytes(wrong)
    with small_daemon(Path("other")) as other:
        ran = fednode("import", "bad.car", "--data-dir", "other")
        assert ran.code == 1
        assert ("no CAR file" if fault == "no bundle" else "not a whole, valid bundle") in ran.err
        assert "at byte" in ran.err
        assert other.store.sites() == []
