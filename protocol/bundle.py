"""Bundles: a site's release and its blocks in one CARv1 file (docs/spec/bundle.md).

Roots: the site's root, then the CID of the release block; a release that ends the site has the release
block alone. The first section is the release block (raw), then come the blocks of the DAG in depth-first
pre-order, each once.
"""

from .car import CarDecoder, Section, encode_header, section_prefix
from .cid import Cid
from .dag_walk import DagWalk
from .errors import DecodeError, HashMismatch, Malformed, OverLimit, TrailingBytes, Truncated
from .limits import BLOCK_MAX_BYTES, RELEASE_MAX_BYTES
from .release import SignedRelease
from .varint import Buffer


def roots_of(signed: SignedRelease) -> tuple[Cid, ...]:
    """The roots of the bundle of a release."""
    root = signed.release.root
    return (signed.cid,) if root is None else (root, signed.cid)


def encode_beginning(signed: SignedRelease) -> bytes:
    """Header and release block; encode_block() of every block in DFS pre-order follows.

    That order is what DagWalk(root, in_order=True, unique=True, site_only=True) gives.
    """
    block = signed.encode()
    return encode_header(roots_of(signed)) + section_prefix(signed.cid, len(block)) + block


def encode_block(cid: Cid, data: bytes) -> tuple[bytes, bytes]:
    """The two parts of one section, so that `data` is not copied."""
    return section_prefix(cid, len(data)), data


class BundleReader:
    """Takes the bytes of a bundle in pieces and gives back verified blocks, in the order of the file.

    feed() returns the blocks of the site that are complete now, without the release block; `release` is
    there, with its signature checked, before the first of them. close() at the end of the file passes
    only when the bundle was whole: every block of the DAG once and in order, nothing else, sizes as the
    release says. Errors are DecodeError with the offset in the file: HashMismatch, BadSignature,
    Malformed (other roots, order or sizes), OverLimit, Truncated, … After an error the reader raises the
    same again; what it returned before is verified, but the site is not whole. Memory: one piece, one
    block, and about 130 bytes per distinct block for the check of order.
    """

    __slots__ = ("_car", "_error", "_expected", "_left_blocks", "_left_bytes", "_release", "_walk")

    def __init__(self) -> None:
        self._car = CarDecoder(v1_only=True)
        self._release: SignedRelease | None = None
        self._walk: DagWalk | None = None
        self._expected: list[Cid] = []  # next one last
        self._left_bytes = 0
        self._left_blocks = 0
        self._error: DecodeError | None = None

    @property
    def release(self) -> SignedRelease | None:
        return self._release

    def feed(self, piece: Buffer) -> list[tuple[Cid, bytes]]:
        if self._error is not None:
            raise self._error
        try:
            return [block for section in self._car.feed(piece) for block in self._take(section)]
        except DecodeError as error:
            self._error = error
            raise

    def close(self) -> None:
        """Raises Truncated or Malformed unless the whole site was there."""
        if self._error is not None:
            raise self._error
        self._car.close()
        if self._release is None or (self._walk is not None and self._next_expected() is not None):
            raise Truncated("the bundle ends before its last block", offset=self._car.offset)
        if self._left_bytes or self._left_blocks:
            raise Malformed("the blocks of the bundle do not add up to the sizes in the release")

    def _take(self, section: Section) -> list[tuple[Cid, bytes]]:
        try:
            section.cid.verify(section.data)
        except HashMismatch as error:
            raise HashMismatch(str(error), offset=section.offset) from None
        if self._release is None:
            self._begin(section)
            return []
        self._check(section)
        return [(section.cid, section.data)]

    def _begin(self, section: Section) -> None:
        """The first section: the release block."""
        if len(section.data) > RELEASE_MAX_BYTES:
            raise OverLimit("the first block of a bundle is too large for a release", offset=section.offset)
        signed = SignedRelease.decode(section.data)
        if self._car.roots != roots_of(signed) or section.cid != signed.cid:
            raise Malformed("the roots of the bundle are not those of its release", offset=section.offset)
        release = signed.release
        if release.root is not None:
            self._walk = DagWalk(release.root, in_order=True, unique=True, site_only=True)
        self._left_bytes, self._left_blocks = release.size_bytes, release.block_count
        self._release = signed

    def _check(self, section: Section) -> None:
        expected = self._next_expected()
        if expected is None:
            raise TrailingBytes("a block after the last one of the site", offset=section.offset)
        if section.cid != expected:
            raise Malformed(f"block {section.cid} where {expected} is next", offset=section.offset)
        if len(section.data) > BLOCK_MAX_BYTES:
            raise OverLimit(f"block of {len(section.data)} bytes, at most {BLOCK_MAX_BYTES}", offset=section.offset)
        self._left_bytes -= len(section.data)
        self._left_blocks -= 1
        if self._left_bytes < 0 or self._left_blocks < 0:
            raise OverLimit("more blocks or bytes than the release says", offset=section.offset)
        self._expected.pop()
        if self._walk is not None:
            self._walk.feed(section.cid, section.data)

    def _next_expected(self) -> Cid | None:
        if not self._expected and self._walk is not None:
            self._expected = self._walk.want(256)[::-1]
        return self._expected[-1] if self._expected else None
