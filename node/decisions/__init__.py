"""The node's decision log: what its operator decided, append-only, signed and open to everybody (docs/spec/log.md)."""
