"""protocol/merkle.py against the definitions of RFC 6962 written down as they stand there, and against forgers."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import merkle
from protocol.merkle import BadProof, Frontier

SIZES = st.integers(1, 70)


def split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def mth(entries: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word by word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: list[bytes], whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if m == len(entries):
        return [] if whole else [mth(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], whole), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def entries_of(size: int, salt: bytes = b"") -> list[bytes]:
    return [salt + number.to_bytes(2, "big") for number in range(size)]


def tree(entries: list[bytes]) -> dict[tuple[int, int], bytes]:
    nodes: dict[tuple[int, int], bytes] = {}
    for number, entry in enumerate(entries):
        for level, index, found in merkle.completed(number, merkle.leaf_hash(entry), lambda a, b: nodes[a, b]):
            nodes[level, index] = found
    return nodes


def flipped(raw: bytes) -> bytes:
    return bytes([raw[0] ^ 1]) + raw[1:]


def test_known_roots() -> None:
    """Of the test data of Certificate Transparency's reference implementation."""
    data = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [bytes.fromhex(text) for text in data]
    found = merkle.root_of(8, lambda level, index: tree(leaves)[level, index])
    assert found.hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", range(40))
def test_every_small_tree(size: int) -> None:
    entries = entries_of(size)
    nodes = tree(entries)
    root = merkle.root_of(size, lambda a, b: nodes[a, b])
    assert root == mth(entries)
    for number in range(size):
        proof = merkle.inclusion_proof(number, size, lambda a, b: nodes[a, b])
        assert proof == path(number, entries)
        merkle.check_inclusion(merkle.leaf_hash(entries[number]), number, size, proof, root)
    for old in range(1, size + 1):
        proof = merkle.consistency_proof(old, size, lambda a, b: nodes[a, b])
        assert proof == subproof(old, entries[:size], True)
        merkle.check_consistency(old, size, mth(entries[:old]), root, proof)
    merkle.check_consistency(0, size, merkle.EMPTY_ROOT, root, [])


@given(size=st.integers(0, 200), cut=st.integers(0, 200))
def test_a_frontier_goes_on_where_it_was_left(size: int, cut: int) -> None:
    entries = entries_of(size)
    frontier = Frontier()
    for number, entry in enumerate(entries):
        if number == cut:
            frontier = Frontier(frontier.size, tuple(frontier.hashes))
        frontier.append(merkle.leaf_hash(entry))
    assert frontier.root() == mth(entries)
    with pytest.raises(ValueError):
        Frontier(size, [*frontier.hashes, merkle.EMPTY_ROOT])


@given(size=SIZES, data=st.data())
def test_no_forged_inclusion_passes(size: int, data: st.DataObject) -> None:
    entries = entries_of(size)
    number = data.draw(st.integers(0, size - 1))
    proof, root, leaf = path(number, entries), mth(entries), merkle.leaf_hash(entries[number])
    place = data.draw(st.integers(0, max(0, len(proof) - 1)))
    forged: list[tuple[bytes, int, int, list[bytes], bytes]] = [
        (flipped(leaf), number, size, proof, root),
        (leaf, number, size, proof, flipped(root)),
        (leaf, number, size, [*proof, root], root),
        (leaf, size, size, proof, root),
        (leaf, -1, size, proof, root),
    ]
    if proof:
        forged.append((leaf, number, size, [*proof[:place], flipped(proof[place]), *proof[place + 1 :]], root))
        forged.append((leaf, number, size, proof[:-1], root))
    other = data.draw(st.integers(0, size - 1))
    if other != number:
        forged.append((leaf, other, size, proof, root))
    for attempt in forged:
        with pytest.raises(BadProof):
            merkle.check_inclusion(*attempt)


@given(new=SIZES, data=st.data())
def test_no_forged_consistency_passes(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    entries = entries_of(new)
    rewritten = data.draw(st.integers(0, old - 1))
    other = [*entries[:rewritten], b"rewritten", *entries[rewritten + 1 :]]
    proof, old_root, new_root = subproof(old, entries, True), mth(entries[:old]), mth(entries)
    forged: list[tuple[int, int, bytes, bytes, list[bytes]]] = [
        (old, new, old_root, mth(other), subproof(old, other, True)),
        (old, new, flipped(old_root), new_root, proof),
        (old, new, old_root, flipped(new_root), proof),
        (old, new, old_root, new_root, [*proof, new_root]),
        (new + 1, new, old_root, new_root, proof),
    ]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        forged.append((old, new, old_root, new_root, [*proof[:place], flipped(proof[place]), *proof[place + 1 :]]))
        forged.append((old, new, old_root, new_root, proof[:-1]))
    for attempt in forged:
        with pytest.raises(BadProof):
            merkle.check_consistency(*attempt)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.integers(0, 2**63), st.integers(0, 2**63))
def test_any_proof_is_judged(hashes: list[bytes], first: int, second: int) -> None:
    with pytest.raises(BadProof):
        # A root unlike the leaf: the only leaf of a tree is its root, and needs no proof.
        merkle.check_inclusion(bytes(32), first, second, hashes, bytes(31) + b"\1")
    if first and first != second:
        with pytest.raises(BadProof):
            merkle.check_consistency(first, second, bytes(32), bytes(32), hashes)


def test_what_is_not_there_has_no_proof() -> None:
    with pytest.raises(ValueError, match="no leaf 3"):
        merkle.inclusion_proof(3, 3, lambda *_: bytes(32))
    with pytest.raises(ValueError, match="does not begin"):
        merkle.consistency_proof(4, 3, lambda *_: bytes(32))
