"""Merkle trees of append-only logs: hashing, roots and proofs of RFC 6962, section 2.1 (SHA-256).

The tree itself is not here: whoever keeps it hands in `node(level, index)`, the hash over the 2^level leaves from
`index * 2^level` on. Only nodes whose leaves are all there are asked for, and none of them changes ever again.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import ClassVar

from protocol.errors import DecodeError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
PROOF_MAX_HASHES = 128  # a tree has at most 2^63 leaves, and a consistency proof goes down two ways

Node = Callable[[int, int], bytes]


class BadProof(DecodeError):
    """A proof that does not show what it should."""

    code: ClassVar[str] = "bad-proof"


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return sha256(b"\1" + left + right).digest()


def peaks(size: int) -> list[tuple[int, int]]:
    """(level, index) of the complete subtrees that a tree of `size` leaves consists of, the largest first."""
    found, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over the hashes of `peaks`."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(size: int, node: Node) -> bytes:
    """The root over the first `size` leaves."""
    return fold([node(level, index) for level, index in peaks(size)])


def completed(size: int, leaf: bytes, node: Node) -> Iterator[tuple[int, int, bytes]]:
    """(level, index, hash) of each node that is complete once `leaf` follows `size` leaves, the leaf first."""
    level, index, found = 0, size, leaf
    yield level, index, found
    while index & 1:
        found = node_hash(node(level, index - 1), found)
        level, index = level + 1, index >> 1
        yield level, index, found


class Frontier:
    """The root of a growing tree from its peaks alone: all that a reader of entries must keep."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """ValueError when there are not as many hashes as a tree of `size` leaves has peaks."""
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError(f"{len(hashes)} hashes are not the peaks of {size} leaves")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Adds the hash of the next entry."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            size >>= 1
        self.hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Over all leaves so far."""
        return fold(self.hashes)


def inclusion_proof(number: int, size: int, node: Node) -> list[bytes]:
    """That leaf `number` is in the tree of `size` leaves (RFC 6962, 2.1.1). ValueError when it is not."""
    if not 0 <= number < size:
        raise ValueError(f"no leaf {number} in a tree of {size}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if number < middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """That the tree of `new` leaves begins with that of `old` (RFC 6962, 2.1.2); ValueError unless 0 <= old <= new."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not begin with one of {old}")
    if old in (0, new):
        return []
    start, end, path, whole = 0, new, [], True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(_subtree(start, end, node))
    return path[::-1]


def check_inclusion(leaf: bytes, number: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """BadProof unless the path shows that `leaf` is number `number` of the tree under `root`. RFC 9162, 2.1.3.2."""
    if not 0 <= number < size:
        raise BadProof(f"no leaf {number} in a tree of {size}")
    here, last, found = number, size - 1, leaf
    for other in path:
        if last == 0:
            raise BadProof("a proof of inclusion that is too long")
        if here & 1 or here == last:
            found = node_hash(other, found)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, other)
        here, last = here >> 1, last >> 1
    if last or found != root:
        raise BadProof(f"entry {number} is not in the tree of {size} entries")


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """BadProof unless the path shows that the one tree begins with the other. RFC 9162, 2.1.4.2."""
    if not 0 <= old <= new:
        raise BadProof(f"a tree of {new} does not begin with one of {old}")
    if old in (0, new):
        if path or (old_root != new_root if old else old_root != EMPTY_ROOT):
            raise BadProof(f"two different trees of {new} entries" if old == new else "not the root of an empty tree")
        return
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise BadProof("an empty proof of consistency")
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    found_old = found_new = hashes[0]
    for other in hashes[1:]:
        if last == 0:
            raise BadProof("a proof of consistency that is too long")
        if here & 1 or here == last:
            found_old, found_new = node_hash(other, found_old), node_hash(other, found_new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            found_new = node_hash(found_new, other)
        here, last = here >> 1, last >> 1
    if last or found_old != old_root or found_new != new_root:
        raise BadProof(f"the log of {new} entries does not begin with the {old} that were there before")


def _split(count: int) -> int:
    """The largest power of two below `count` (at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree(start: int, end: int, node: Node) -> bytes:
    """The hash over the leaves from `start` to before `end`, where a tree of a power of two begins."""
    return fold([node(level, (start >> level) + index) for level, index in peaks(end - start)])
