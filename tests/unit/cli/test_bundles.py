"""Bundles as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.errors import CommandError, FolderChanged
from cli.publishing.bundles import read_bundle, write_bundle
from cli.publishing.folder import FolderSource, read_folder
from cli.publishing.sequence import Wishes, next_end, next_release
from cli.publishing.source import in_order
from protocol.limits import CHUNK_BYTES
from protocol.release import SignedRelease, sign_release
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SITE = SiteId.of(KEY)


@pytest.fixture
def source(site_dir: Path) -> Iterator[FolderSource]:
    (site_dir / "large").write_bytes(bytes(range(256)) * (CHUNK_BYTES // 256) + b"and more")
    with read_folder(site_dir) as found:
        yield found


def sign(source: FolderSource) -> SignedRelease:
    return sign_release(next_release(SITE, None, source, Wishes()), KEY)


def test_a_bundle_holds_every_block_and_the_release(home: Path, source: FolderSource) -> None:
    path = home / "site.car"
    signed = sign(source)
    assert write_bundle(path, signed, source) == path.stat().st_size
    seen: list[int] = []
    with read_bundle(path, on_bytes=seen.append) as bundle:
        assert bundle.signed == signed
        assert bundle.root == source.root
        assert (bundle.block_count, bundle.size_bytes) == (source.block_count, source.size_bytes)
        assert list(in_order(bundle)) == list(in_order(source))
        assert bundle.get(signed.cid) is None
    assert sum(seen) == path.stat().st_size


def test_the_end_of_a_site_is_a_bundle_too(home: Path) -> None:
    path = home / "end.car"
    signed = sign_release(next_end(SITE, None), KEY)
    write_bundle(path, signed, None)
    with read_bundle(path) as bundle:
        assert bundle.signed == signed
        assert bundle.block_count == 0


def test_a_bundle_appears_whole_or_not_at_all(home: Path, site_dir: Path, source: FolderSource) -> None:
    path = home / "site.car"
    signed = sign(source)
    (site_dir / "index.html").write_text("changed meanwhile")
    before = sorted(home.iterdir())
    with pytest.raises(FolderChanged):
        write_bundle(path, signed, source)
    assert sorted(home.iterdir()) == before
    path.write_text("older bundle")
    with pytest.raises(FolderChanged):
        write_bundle(path, signed, source)
    assert path.read_text() == "older bundle"


def test_a_damaged_bundle_is_refused(home: Path, source: FolderSource) -> None:
    path = home / "site.car"
    write_bundle(path, sign(source), source)
    whole = path.read_bytes()
    for damaged in (
        whole[:-1],
        whole[: len(whole) // 2],
        whole[:10],
        b"",
        whole + b"\x00",
        whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:],
        b"PK\x03\x04 not a bundle",
    ):
        path.write_bytes(damaged)
        with pytest.raises(CommandError, match="not a whole, valid bundle"):
            read_bundle(path)


def test_a_bundle_that_changes_while_it_is_published(home: Path, source: FolderSource) -> None:
    path = home / "site.car"
    write_bundle(path, sign(source), source)
    with read_bundle(path) as bundle:
        cid, data = list(in_order(bundle))[-1]
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        with pytest.raises(FolderChanged, match="changed while publishing"):
            bundle.get(cid)
        assert len(data) > 0


def test_what_cannot_be_read_or_written(home: Path, source: FolderSource) -> None:
    with pytest.raises(CommandError, match="cannot read"):
        read_bundle(home / "missing.car")
    with pytest.raises(CommandError, match="cannot write"):
        write_bundle(home / "missing" / "site.car", sign(source), source)
