"""Trees, profile inputs and bundles behind unixfs.json and bundles.json: `python -m tests.vectors.make_trees`.

CIDs in unixfs.json under "profile" are those of IPIP-499, those under "trees" were given by boxo 0.42.0 (Go) and, for
trees without symlinks and empty folders, by ipfs-unixfs-importer 17.1.1 (JavaScript) for the same folders on disk: this
program adds nothing there, it fails when it disagrees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from protocol import bundle
from protocol.builder import CHUNK_BYTES, DirEntry, FileBuilder, build_directory, leaf, symlink_node
from protocol.cid import Cid
from protocol.dag_walk import DagWalk
from protocol.limits import SEQ_MAX
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from protocol.unixfs import Emit, Link

HERE = Path(__file__).parent

Tree = dict[str, Any]
"""A folder: name → bytes (a file), int (a file of so many bytes), str (a symlink's target) or a folder."""

SCRIPTS = (
    "plain.txt", "übergrößenträger.html", "файл", "日本語のファイル名", "ملف", "קובץ", "हिन्दी", "ไฟล์", "😀🏳️‍🌈👩‍👩‍👧",
    "e\u0301 is not é", "é", "100%2F?&#=+ \\:*\"<>|'`$!(){}[];,~^@", "\t\n\x01\x7f\u200b\u202e\ufeff",
    "-", "~", " ", "..a", "a" * 255,
    "ﬀ", "İ", "𝔘𐍈", "\U0010fffd", "\uffff", "Z", "a", "_",
)  # fmt: skip


def content(size: int) -> Iterator[bytes]:
    """A file of `size` bytes in chunks: the bytes of SHAKE-128 over b"fednode", anew for each MiB with its number."""
    for number, start in enumerate(range(0, size, CHUNK_BYTES)):
        yield hashlib.shake_128(b"fednode%d" % number).digest(min(CHUNK_BYTES, size - start))


def at_limit(kind: Tree | bytes | str, over: int) -> Tree:
    """A folder whose block has 256 KiB plus `over` bytes, all entries alike."""
    tsize = {dict: 4, bytes: 1, str: len(symlink_node("t")[1])}[type(kind)]
    found: Tree = {}
    left = 256 * 1024 + over - 4  # the data field takes 4 bytes
    fixed = 2 + 38 + 2 + 1 + (1 if tsize < 0x80 else 2)  # of one entry, without its name
    while left:
        # The last two entries share what is left.
        size = 40 if left > 3 * (fixed + 40) else left - fixed - (fixed + 40 if left > fixed + 90 else 0)
        name = f"{len(found):05d}".ljust(size, "y")
        found[name] = kind
        left -= fixed + size
    return found


def trees() -> dict[str, Tree]:
    deep: Tree = {"bottom": b"x"}
    for level in range(60):
        deep = {f"level {level}": deep}
    return {
        "empty": {},
        "one empty file": {"empty": b""},
        "scripts": {name: name.encode() for name in SCRIPTS},
        "scripts as folders": {name: {name: b""} for name in SCRIPTS},
        "file sizes": {f"{n}": n for n in (1, 255, 2**20 - 1, 2**20, 2**20 + 1, 2 * 2**20, 3 * 2**20 + 5)},
        "same file often": {f"{n}": b"same" for n in range(300)},
        "deep": deep,
        "empty folders": {"a": {}, "b": {"c": {}, "d": {"e": {}}}},
        "symlinks": {"to-a-file": "f", "f": b"x", "up": "../..", "absolute": "/etc/passwd", "long": "é/" * 1365},
        "files one under the limit": at_limit(b"x", -1),
        "files at the limit": at_limit(b"x", 0),
        "files one over the limit": at_limit(b"x", 1),
        "folders at the limit": at_limit({}, 0),
        "folders one over the limit": at_limit({}, 1),
        "symlinks at the limit": at_limit("t", 0),
        "symlinks one over the limit": at_limit("t", 1),
        "20,000 files": {f"page-{n}.html": b"%d" % n for n in range(20_000)},
        "sharded folders in a sharded folder": {f"{n}": {} for n in range(6000)}
        | {"in": {f"{n:060d}": b"y" for n in range(3000)}},
    }


def plant(node: Any, emit: Emit) -> Link:
    """Build `node` (see Tree) in memory."""
    if isinstance(node, dict):
        links = ((name, plant(child, emit)) for name, child in node.items())
        return build_directory([DirEntry(name, link.cid, link.tsize) for name, link in links], emit)
    if isinstance(node, str):
        cid, block = symlink_node(node)
        emit(cid, block)
        return Link(cid, len(block), 0)
    return plant_file(content(node) if isinstance(node, int) else [node], emit)


def plant_file(chunks: Iterator[bytes] | list[bytes], emit: Emit) -> Link:
    builder = FileBuilder(emit)
    for chunk in chunks:
        link = leaf(chunk)
        emit(link.cid, chunk)
        builder.add(link)
    return builder.finish()


def write(tree: Tree, folder: Path) -> None:
    """Write a tree to disk, to show it to other importers."""
    folder.mkdir()
    for name, node in tree.items():
        path = folder / name
        if isinstance(node, dict):
            write(node, path)
        elif isinstance(node, str):
            path.symlink_to(node)
        else:
            with path.open("wb") as file:
                file.writelines(content(node) if isinstance(node, int) else [node])


def profile_stream(seed: str, size: int) -> Iterator[bytes]:
    """Input of IPIP-499's vectors: the ChaCha20 key stream under sha256(seed), nonce and counter 0."""
    stream = Cipher(ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), mode=None).encryptor()
    for start in range(0, size, CHUNK_BYTES):
        yield stream.update(bytes(min(CHUNK_BYTES, size - start)))


def profile_names(seed: str, count: int, length: int, last_length: int) -> list[str]:
    """File names of IPIP-499's directory vectors, cut from one MiB of the stream."""
    alphabet = "abcdefghijklmnopqrstuvwxyz01234567890-_"
    letters = "".join(alphabet[byte % len(alphabet)] for byte in next(profile_stream(seed, CHUNK_BYTES)))
    starts = [length * number for number in range(count)]
    return [letters[at : at + length] for at in starts[:-1]] + [letters[starts[-1] : starts[-1] + last_length]]


def plant_profile(vector: dict[str, Any], emit: Emit) -> Link:
    """The tree of one entry of unixfs.json's "profile"."""
    if "text" in vector:
        return plant(vector["text"].encode(), emit)
    if "size" in vector:
        builder = FileBuilder(emit)
        for chunk in profile_stream(vector["seed"], vector["size"]):
            builder.add(leaf(chunk))
        return builder.finish()
    names = profile_names(vector["seed"], vector["count"], vector["length"], vector["last_length"])
    return plant(dict.fromkeys(names, b"x"), emit)


KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"fednode bundle vector").digest())
SITE: Tree = {
    "index.html": b"<p>Hello\n",
    "copy.html": b"<p>Hello\n",
    "docs": {"a.txt": b"a\n", "empty": {}, "link": "a.txt"},
}


def site_release(root: Link, blocks: dict[Cid, bytes]) -> SignedRelease:
    size = sum(map(len, blocks.values()))
    release = Release(SiteId.of(KEY), 1, None, root.cid, size, len(blocks), Band(1, 3), (), 1_700_000_000)
    return sign_release(release, KEY)


def bundle_of(tree: Tree) -> bytes:
    """The bundle of the first release of a site."""
    blocks: dict[Cid, bytes] = {}
    root = plant(tree, blocks.__setitem__)
    walk = DagWalk(root.cid, in_order=True, unique=True, site_only=True)
    parts = [bundle.encode_beginning(site_release(root, blocks))]
    while not walk.done:
        for cid in walk.want(16):
            parts += bundle.encode_block(cid, blocks[cid])
            walk.feed(cid, blocks[cid])
    return b"".join(parts)


def ended_bundle() -> bytes:
    release = Release(SiteId.of(KEY), SEQ_MAX, None, None, 0, 0, Band(1, 3), (), 1_700_000_000, ended=True)
    return bundle.encode_beginning(sign_release(release, KEY))


def bundles() -> dict[str, str]:
    return {"small site": bundle_of(SITE).hex(), "ended site": ended_bundle().hex()}


if __name__ == "__main__":
    (HERE / "bundles.json").write_text(json.dumps(bundles(), indent=1) + "\n", "ascii")
