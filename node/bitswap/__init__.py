"""Bitswap: how IPFS clients fetch blocks from this node (docs/spec/bitswap.md)."""
