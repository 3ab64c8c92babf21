from __future__ import annotations

import itertools

import pytest

from protocol import dagpb, hamt, unixfs
from protocol.cid import RAW, Cid
from protocol.dagpb import PBLink
from protocol.errors import Malformed, OverLimit
from protocol.unixfs import DataType, UnixFSData
from protocol.walk import NotFoundInTree
from tests.unit.protocol.blocks import Blocks

CID = Cid.of(RAW, b"x")
# Two names with the same murmur3-x64-64: inverted by hand from blocks of 16 bytes, see same_hash().
MASK = (1 << 64) - 1


def entries(count: int) -> list[hamt.NamedLink]:
    return [(b"%d" % number, CID, 1) for number in range(count)]


def bitmap(*indexes: int) -> bytes:
    return sum(1 << index for index in indexes).to_bytes(32, "big")


def shard(blocks: Blocks, names: dict[bytes, Cid], *, fanout: int = 256, bits: bytes | None = None) -> Cid:
    width = len(f"{fanout - 1:X}")
    if bits is None:
        bits = sum(1 << int(name[:width], 16) for name in names).to_bytes(fanout // 8, "big")
    links = [PBLink(cid, name, 1) for name, cid in names.items()]
    return blocks.node(links, UnixFSData(DataType.HAMT_SHARD, data=bits, hash_type=0x22, fanout=fanout))


@pytest.mark.parametrize("count", [1, 2, 256, 5000])
def test_every_name_is_found_again_and_no_other(count: int) -> None:
    blocks = Blocks()
    root = hamt.build_hamt(entries(count), blocks.add).cid
    blocks[CID] = b"x"
    assert sorted(entry.name for entry in blocks.list(root)) == sorted(str(number) for number in range(count))
    for number in range(0, count, 1 + count // 50):
        assert blocks.resolve(root, str(number)).cid == CID
    for name in ("", "-1", str(count), "01"):
        if name:
            with pytest.raises(NotFoundInTree):
                blocks.resolve(root, name)


def test_the_tree_does_not_depend_on_the_order_of_entries() -> None:
    blocks = Blocks()
    one = hamt.build_hamt(entries(3000), blocks.add)
    other = hamt.build_hamt(entries(3000)[::-1], blocks.add)
    assert one == other


def test_tsize_counts_every_block_and_entry_once() -> None:
    blocks = Blocks()
    link = hamt.build_hamt(entries(700), blocks.add)
    assert link.tsize == sum(map(len, blocks.values())) + 700


def test_bits_are_used_from_the_highest() -> None:
    value = 0x0123456789ABCDEF
    assert [hamt.bucket(value, depth, 256) for depth in range(8)] == list(value.to_bytes(8, "big"))
    assert [hamt.bucket(value, depth, 1024) for depth in range(6)] == [
        int(f"{value:064b}"[10 * depth : 10 * depth + 10], 2) for depth in range(6)
    ]
    assert hamt.bucket(value, 20, 8) == int(f"{value:064b}"[60:63], 2)
    for depth, fanout in ((8, 256), (6, 1024), (21, 8)):
        with pytest.raises(Malformed):
            hamt.bucket(value, depth, fanout)


def same_hash() -> tuple[bytes, bytes]:
    """Two names of one 64-bit murmur3, found by running its mixing of 16-byte blocks backwards.

    The state after the tail depends on (h1, h2) after the blocks; two different pairs of blocks that lead to the same
    state make the names collide, whatever the seed. Both pairs end in the state that the first one reaches.
    """
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    i1, i2 = pow(c1, -1, 1 << 64), pow(c2, -1, 1 << 64)

    def rotate(value: int, by: int) -> int:
        by %= 64
        return (value << by | value >> (64 - by)) & MASK

    def mix(h1: int, h2: int, k1: int, k2: int) -> tuple[int, int]:
        h1 ^= rotate(k1 * c1 & MASK, 31) * c2 & MASK
        h1 = ((rotate(h1, 27) + h2) * 5 + 0x52DCE729) & MASK
        h2 ^= rotate(k2 * c2 & MASK, 33) * c1 & MASK
        h2 = ((rotate(h2, 31) + h1) * 5 + 0x38495AB5) & MASK
        return h1, h2

    five = pow(5, -1, 1 << 64)

    def block_between(h1: int, h2: int, to1: int, to2: int) -> bytes:
        before1 = rotate(((to1 - 0x52DCE729) * five - h2) & MASK, -27)
        before2 = rotate(((to2 - 0x38495AB5) * five - to1) & MASK, -31)
        k1 = rotate((before1 ^ h1) * i2 & MASK, -31) * i1 & MASK
        k2 = rotate((before2 ^ h2) * i1 & MASK, -33) * i2 & MASK
        return k1.to_bytes(8, "little") + k2.to_bytes(8, "little")

    first = b"a" * 16 + b"b" * 16
    state = (0, 0)
    for at in (0, 16):
        half = first[at : at + 16]
        state = mix(*state, int.from_bytes(half[:8], "little"), int.from_bytes(half[8:], "little"))
    start = mix(0, 0, int.from_bytes(b"c" * 8, "little"), int.from_bytes(b"c" * 8, "little"))
    return first, b"c" * 16 + block_between(*start, *state)


def test_names_with_the_same_hash_are_refused_and_not_recursed_into() -> None:
    one, other = same_hash()
    assert one != other
    assert hamt.hash_name(one) == hamt.hash_name(other)
    with pytest.raises(OverLimit, match="same 64-bit hash"):
        hamt.build_hamt([(one, CID, 1), (other, CID, 1)], Blocks().add)


@pytest.mark.parametrize(
    "names",
    [
        {b"0": CID},  # no bucket
        {b"": CID},
        {b"g0x": CID},
        {b"ffx": CID},  # lower case
        {b" 1x": CID},
        {b"+1x": CID},
        {b"1_x": CID},
    ],
)
def test_links_without_a_bucket_are_refused(names: dict[bytes, Cid]) -> None:
    blocks = Blocks()
    root = shard(blocks, names, bits=bitmap(1))
    with pytest.raises(Malformed):
        blocks.list(root)


@pytest.mark.parametrize("bits", [bitmap(), bitmap(1), bitmap(0, 1), bitmap(255)])
def test_a_bitmap_that_lies_is_refused(bits: bytes) -> None:
    blocks = Blocks()
    with pytest.raises(Malformed):
        blocks.list(shard(blocks, {b"00x": CID}, bits=bits))
    with pytest.raises(Malformed):
        blocks.resolve(shard(blocks, {b"00x": CID}, bits=bits))


def test_one_bucket_twice_is_refused() -> None:
    blocks = Blocks()
    with pytest.raises(Malformed):
        blocks.list(shard(blocks, {b"00x": CID, b"00y": CID}, bits=bitmap(0)))


def test_a_bucket_over_the_fanout_is_refused() -> None:
    blocks = Blocks()
    with pytest.raises(Malformed):
        blocks.list(shard(blocks, {b"1Fx": CID}, fanout=16, bits=b"\0\1"))


@pytest.mark.parametrize("fanout", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_other_fanouts_are_read(fanout: int) -> None:
    blocks = Blocks()
    width = len(f"{fanout - 1:X}")
    root = build_other([str(number) for number in range(60)], fanout, width, 0, blocks)
    blocks[CID] = b"x"
    assert sorted(entry.name for entry in blocks.list(root)) == sorted(map(str, range(60)))
    assert all(blocks.resolve(root, str(number)).cid == CID for number in range(60))
    with pytest.raises(NotFoundInTree):
        blocks.resolve(root, "60")


def build_other(names: list[str], fanout: int, width: int, depth: int, blocks: Blocks) -> Cid:
    """A HAMT of any fanout, as other makers build it."""

    def index(name: str) -> int:
        return hamt.bucket(hamt.hash_name(name.encode()), depth, fanout)

    found = {}
    for bucket, group in itertools.groupby(sorted(names, key=index), index):
        inside = list(group)
        prefix = f"{bucket:0{width}X}"
        if len(inside) == 1:
            found[(prefix + inside[0]).encode()] = CID
        else:
            found[prefix.encode()] = build_other(inside, fanout, width, depth + 1, blocks)
    return shard(blocks, found, fanout=fanout)


def test_fanout_must_not_change_inside() -> None:
    blocks = Blocks()
    inner = shard(blocks, {b"0x": CID}, fanout=16)
    bucket = b"%02X" % (hamt.hash_name(b"x") >> 56)
    root = shard(blocks, {bucket: inner})
    with pytest.raises(Malformed):
        blocks.list(root)
    with pytest.raises(Malformed):
        blocks.resolve(root, "x")


def test_a_bucket_must_lead_to_a_shard() -> None:
    blocks = Blocks()
    blocks[CID] = b"x"
    bucket = b"%02X" % (hamt.hash_name(b"x") >> 56)
    for wrong in (CID, blocks.directory({"x": CID}), blocks.file([(CID, 1)])):
        root = shard(blocks, {bucket: wrong})
        with pytest.raises((Malformed, Malformed)):
            blocks.resolve(root, "x")
        with pytest.raises(Exception, match="director"):
            blocks.list(root)


def test_a_trie_deeper_than_its_hash_is_refused() -> None:
    blocks = Blocks()
    name_hash = hamt.hash_name(b"x")
    cid = shard(blocks, {b"00y": CID})
    for depth in reversed(range(8)):
        cid = shard(blocks, {b"%02X" % hamt.bucket(name_hash, depth, 256): cid})
    with pytest.raises(Malformed):
        blocks.resolve(cid, "x")
    with pytest.raises(Malformed):
        blocks.list(cid)


def test_a_name_in_the_wrong_place_is_not_listed() -> None:
    blocks = Blocks()
    blocks[CID] = b"x"
    right = hamt.hash_name(b"x") >> 56
    name = b"%02Xx"
    assert blocks.list(shard(blocks, {name % right: CID}))[0].name == "x"
    with pytest.raises(Malformed):
        blocks.list(shard(blocks, {name % (right ^ 1): CID}))
    # In the right bucket of a shard that stands in a wrong one.
    inner = shard(blocks, {name % hamt.bucket(hamt.hash_name(b"x"), 1, 256): CID})
    assert blocks.list(shard(blocks, {b"%02X" % right: inner}))[0].name == "x"
    with pytest.raises(Malformed):
        blocks.list(shard(blocks, {b"%02X" % (right ^ 1): inner}))


def test_a_name_in_two_places_is_not_listed() -> None:
    blocks = Blocks()
    blocks[CID] = b"x"
    right = hamt.hash_name(b"x") >> 56
    inner = shard(blocks, {b"%02Xx" % hamt.bucket(hamt.hash_name(b"x"), 1, 256): CID})
    with pytest.raises(Malformed):
        blocks.list(shard(blocks, {b"%02X" % right: inner, b"%02Xx" % (right ^ 1): CID}))


def test_shards_decode_as_unixfs() -> None:
    blocks = Blocks()
    link = hamt.build_hamt(entries(300), blocks.add)
    for cid, block in blocks.items():
        cid.verify(block)
        node = dagpb.decode(block)
        assert hamt.Shard(node, unixfs.decode(node.data)).fanout == 256
    assert link.cid in blocks
