"""Why libp2p's own bitswap is not used. When this fails, it may be worth another look (docs/dependencies.md)."""

from __future__ import annotations

from libp2p.bitswap.config import MAX_BLOCK_SIZE

from protocol.limits import CHUNK_BYTES


def test_libp2ps_bitswap_does_not_take_the_blocks_of_our_sites() -> None:
    assert MAX_BLOCK_SIZE < CHUNK_BYTES
