"""Blocks, holds, heads and operator rows on disk; the contract is in `port.py`, the layout in docs/spec/store.md."""
