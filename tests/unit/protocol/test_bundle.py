from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.bundle import BundleReader, encode_beginning, encode_block, roots_of
from protocol.car import CarDecoder, encode_header, section_prefix
from protocol.cid import RAW, Cid
from protocol.dag_walk import DagWalk
from protocol.errors import (
    BadSignature,
    DecodeError,
    HashMismatch,
    Malformed,
    OverLimit,
    TrailingBytes,
    Truncated,
    UnsupportedHash,
)
from protocol.limits import BLOCK_MAX_BYTES, RELEASE_MAX_BYTES
from protocol.release import Release, SignedRelease, sign_release
from protocol.unixfs import Link
from tests.unit.protocol.blocks import Blocks
from tests.vectors.make_trees import KEY, Tree, bundle_of, ended_bundle, plant, site_release

SITE: Tree = {"a": {"same": b"1", "more": b"2" * 3000}, "b": {"same": b"1"}, "c": b"3", "d": b"1"}


@pytest.fixture(scope="module")
def parts() -> tuple[SignedRelease, list[tuple[Cid, bytes]]]:
    """The release and the blocks in the right order."""
    blocks = Blocks()
    root = plant(SITE, blocks.add)
    walk = DagWalk(root.cid, in_order=True, unique=True)
    order = []
    while not walk.done:
        for cid in walk.want(1):
            order.append((cid, blocks[cid]))
            walk.feed(cid, blocks[cid])
    return site_release(root, blocks), order


Parts = tuple[SignedRelease, list[tuple[Cid, bytes]]]


def join(signed: SignedRelease, blocks: list[tuple[Cid, bytes]]) -> bytes:
    return encode_beginning(signed) + b"".join(b"".join(encode_block(*block)) for block in blocks)


def read(raw: bytes, piece_bytes: int = 1 << 16) -> list[tuple[Cid, bytes]]:
    reader = BundleReader()
    found: list[tuple[Cid, bytes]] = []
    for at in range(0, len(raw), piece_bytes):
        found += reader.feed(raw[at : at + piece_bytes])
    reader.close()
    return found


def test_blocks_come_back_in_order(parts: Parts) -> None:
    signed, blocks = parts
    raw = join(signed, blocks)
    assert raw == bundle_of(SITE)
    for piece_bytes in (1, 10, 1000, len(raw)):
        assert read(raw, piece_bytes) == blocks


def test_the_release_is_there_before_the_first_block(parts: Parts) -> None:
    signed, blocks = parts
    assert BundleReader().release is None
    reader = BundleReader()
    assert reader.feed(encode_beginning(signed)) == []
    assert reader.release == signed
    assert reader.feed(b"".join(encode_block(*blocks[0]))) == [blocks[0]]


def test_the_end_of_a_site() -> None:
    reader = BundleReader()
    assert reader.feed(ended_bundle()) == []
    reader.close()
    assert reader.release is not None
    assert reader.release.release.ended
    assert len(roots_of(reader.release)) == 1


def test_every_cut_is_found(parts: Parts) -> None:
    raw = join(*parts)
    for cut in range(0, len(raw), 7):
        with pytest.raises(Truncated):
            read(raw[:cut])
    for count in range(len(parts[1])):
        with pytest.raises(Truncated):
            read(join(parts[0], parts[1][:count]))


def test_every_changed_byte_of_a_block_is_found(parts: Parts) -> None:
    signed, blocks = parts
    raw = bytearray(join(signed, blocks))
    for at in range(0, len(raw), 5):
        raw[at] ^= 0x01
        with pytest.raises(DecodeError):
            read(bytes(raw))
        raw[at] ^= 0x01
    assert read(bytes(raw)) == blocks


def test_a_changed_block_says_where(parts: Parts) -> None:
    signed, blocks = parts
    raw = bytearray(join(signed, blocks))
    decoder = CarDecoder()
    section = decoder.feed(bytes(raw))[3]
    raw[section.data_offset] ^= 0x80
    reader = BundleReader()
    with pytest.raises(HashMismatch) as caught:
        reader.feed(raw)
    assert caught.value.offset == section.offset
    with pytest.raises(HashMismatch):
        reader.feed(b"")
    with pytest.raises(HashMismatch):
        reader.close()


def test_order_and_repetition_are_checked(parts: Parts) -> None:
    signed, blocks = parts
    assert len(blocks) > 4
    wrong: list[tuple[type[DecodeError], list[tuple[Cid, bytes]]]] = [
        (Malformed, [blocks[1], blocks[0], *blocks[2:]]),
        (Malformed, [*blocks[:2], *blocks[3:], blocks[2]]),
        (Malformed, [*blocks[:2], blocks[1], *blocks[2:]]),
        (TrailingBytes, [*blocks, blocks[-1]]),
        (Malformed, blocks[1:]),
        (Malformed, [*blocks[:2], (Cid.of(RAW, b"?"), b"?"), *blocks[2:]]),
        (TrailingBytes, [*blocks, (Cid.of(RAW, b"?"), b"?")]),
    ]
    for error, order in wrong:
        with pytest.raises(error):
            read(join(signed, order))


def test_blocks_behind_the_end_of_a_site() -> None:
    with pytest.raises(TrailingBytes):
        read(ended_bundle() + b"".join(encode_block(Cid.of(RAW, b"?"), b"?")))


@pytest.mark.parametrize(
    ("error", "bytes_more", "blocks_more"),
    [(OverLimit, -1, 0), (Malformed, 1, 0), (OverLimit, 0, -1), (Malformed, 0, 1)],
)
def test_sizes_are_those_of_the_release(
    parts: Parts, error: type[DecodeError], bytes_more: int, blocks_more: int
) -> None:
    signed, blocks = parts
    release = replace(
        signed.release,
        size_bytes=signed.release.size_bytes + bytes_more,
        block_count=signed.release.block_count + blocks_more,
    )
    with pytest.raises(error):
        read(join(sign_release(release, KEY), blocks))


def test_roots_are_those_of_the_release(parts: Parts) -> None:
    signed, blocks = parts
    root, release_cid = roots_of(signed)
    first = section_prefix(release_cid, len(signed.encode())) + signed.encode()
    rest = b"".join(b"".join(encode_block(*block)) for block in blocks)
    assert read(encode_header([root, release_cid]) + first + rest) == blocks
    for roots in ([root], [release_cid, root], [root, release_cid, root], [release_cid], []):
        with pytest.raises(Malformed):
            read(encode_header(roots) + first + rest)


def test_the_first_block_must_be_the_release(parts: Parts) -> None:
    signed, blocks = parts
    header = encode_header(roots_of(signed))
    with pytest.raises(DecodeError):
        read(header + b"".join(b"".join(encode_block(*block)) for block in blocks))
    large = bytes(RELEASE_MAX_BYTES + 1)
    with pytest.raises(OverLimit):
        read(header + b"".join(encode_block(Cid.of(RAW, large), large)))


def test_a_release_of_another_key(parts: Parts) -> None:
    signed, blocks = parts
    payload = sign_release(signed.release, KEY).payload
    forged = SignedRelease(signed.release, payload, Ed25519PrivateKey.generate().sign(payload), signed.ipns_record)
    with pytest.raises(BadSignature):
        read(join(forged, blocks))


def test_blocks_over_the_limit() -> None:
    block = bytes(BLOCK_MAX_BYTES + 1)
    cid = Cid.of(RAW, block)
    release = Release(site_release(Link(cid, 1, 1), {cid: b"x"}).site, 1, None, cid, BLOCK_MAX_BYTES, 1, created_s=1)
    with pytest.raises(OverLimit):
        read(join(sign_release(release, KEY), [(cid, block)]))


def test_links_to_what_no_site_holds() -> None:
    blocks = Blocks()
    inner = blocks.node([], b"\x08\x01", version=0)
    root = blocks.directory({"old": inner})
    link = Link(root, 1, 0)
    order = [(root, blocks[root]), (inner, blocks[inner])]
    with pytest.raises(UnsupportedHash):
        read(join(site_release(link, blocks), order))
