"""Sites for tests of the gateway: trees built by the protocol's own builder, kept in a real store on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.store.disk import DiskStore
from node.store.port import Origin
from protocol.builder import CHUNK_BYTES, DirEntry, FileBuilder, build_directory, leaf, symlink_node
from protocol.cid import Cid
from protocol.limits import SEQ_MAX
from protocol.release import Release, SignedRelease, sign_release
from protocol.site_id import SiteId


@dataclass(frozen=True)
class Symlink:
    """A symbolic link."""

    target: str


Tree = dict[str, Union["Tree", bytes, Symlink]]


@dataclass(frozen=True)
class Built:
    """A tree as blocks. cids: of each path, "" for the root."""

    root: Cid
    blocks: dict[Cid, bytes]
    cids: dict[str, Cid]


def build(tree: Tree, *, chunk_bytes: int = CHUNK_BYTES) -> Built:
    """Blocks and CIDs of a tree."""
    blocks: dict[Cid, bytes] = {}
    cids: dict[str, Cid] = {}

    def emit(cid: Cid, block: bytes) -> None:
        blocks[cid] = block

    def file(content: bytes) -> tuple[Cid, int]:
        builder = FileBuilder(emit)
        for at in range(0, len(content), chunk_bytes):
            link = leaf(content[at : at + chunk_bytes])
            emit(link.cid, content[at : at + chunk_bytes])
            builder.add(link)
        link = builder.finish()
        return link.cid, link.tsize

    def directory(tree: Tree, prefix: str) -> tuple[Cid, int]:
        entries = []
        for name, node in tree.items():
            path = f"{prefix}/{name}" if prefix else name
            if isinstance(node, dict):
                cid, tsize = directory(node, path)
            elif isinstance(node, Symlink):
                cid, block = symlink_node(node.target)
                emit(cid, block)
                tsize = len(block)
            else:
                cid, tsize = file(node)
            cids[path] = cid
            entries.append(DirEntry(name, cid, tsize))
        link = build_directory(entries, emit)
        return link.cid, link.tsize

    root, _ = directory(tree, "")
    cids[""] = root
    return Built(root, blocks, cids)


def sign(key: Ed25519PrivateKey, built: Built, *, seq: int = 1, domains: tuple[str, ...] = ()) -> SignedRelease:
    """A release of the tree."""
    return sign_release(
        Release(
            site=SiteId.of(key),
            seq=seq,
            prev=None,
            root=built.root,
            size_bytes=sum(map(len, built.blocks.values())),
            block_count=len(built.blocks),
            domains=tuple(sorted(domains)),
            created_s=1_700_000_000,
        ),
        key,
    )


def sign_end(key: Ed25519PrivateKey) -> SignedRelease:
    """The end of the site."""
    site = SiteId.of(key)
    return sign_release(
        Release(
            site=site,
            seq=SEQ_MAX,
            prev=None,
            root=None,
            size_bytes=0,
            block_count=0,
            created_s=1_700_000_000,
            ended=True,
        ),
        key,
    )


def keep(store: DiskStore, signed: SignedRelease, built: Built) -> None:
    """Host the release."""
    hold = store.begin_hold(signed)
    store.put_blocks(hold, list(built.blocks.items()))
    store.finish_hold(hold, origin=Origin.PUBLISHED)


def publish(
    store: DiskStore,
    key: Ed25519PrivateKey,
    tree: Tree,
    *,
    seq: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
    domains: tuple[str, ...] = (),
) -> Built:
    """Build, sign and host."""
    built = build(tree, chunk_bytes=chunk_bytes)
    keep(store, sign(key, built, seq=seq, domains=domains), built)
    return built
