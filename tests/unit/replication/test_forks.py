"""A key that signed two releases of one number: settled the same way everywhere, with a proof that lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.replication import forks
from node.replication.forks import Forks
from protocol.release import SignedRelease
from tests.unit.replication.kit import TreeSite, connect, ring, until


def pair() -> tuple[TreeSite, TreeSite]:
    """Two sites of one key and one number, the one that counts last."""
    one = TreeSite({"index.html": b"one"}, seq=3)
    low, high = sorted((one, TreeSite({"index.html": b"other"}, seq=3, key=one.key)), key=lambda site: site.signed.rank)
    return low, high


async def test_all_nodes_end_with_the_same_release_of_a_fork() -> None:
    low, high = pair()
    async with ring(4) as (_, nodes):
        nodes[0].host(low)
        nodes[3].host(high)
        for node in nodes[:3]:
            await connect(node, nodes[3])
        await until(lambda: all(node.holds(high) for node in nodes))


def test_a_proof_lasts_and_only_the_first_is_kept(tmp_path: Path) -> None:
    low, high = pair()
    kept = Forks(tmp_path / "forks")
    assert kept.load(low.signed.site) is None
    assert kept.sites() == []
    kept.keep(low.signed, high.signed)
    kept.keep(high.signed, low.signed)
    again = Forks(tmp_path / "forks")
    assert again.load(low.signed.site) == (low.signed, high.signed)
    assert again.sites() == [low.signed.site]


def test_what_proves_nothing_is_not_shown(tmp_path: Path) -> None:
    low, high = pair()
    kept = Forks(tmp_path / "forks")
    kept.keep(low.signed, high.signed)
    (file,) = (tmp_path / "forks").iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:50], bytes(len(whole)), framed_twice(low.signed)):
        file.write_bytes(damaged)
        assert kept.load(low.signed.site) is None


def framed_twice(signed: SignedRelease) -> bytes:
    return 2 * forks._framed(signed)


def test_forks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "FORKS_MAX", 2)
    kept = Forks(tmp_path / "forks")
    for _ in range(3):
        low, high = pair()
        kept.keep(low.signed, high.signed)
    assert len(kept.sites()) == 2
