"""Rows of remembered peers. Functions over an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from node.store.layout import StoreLimits
from node.store.port import PeerRow


def load(tx: sqlite3.Connection) -> list[PeerRow]:
    return [
        PeerRow(peer, tuple(addresses.split("\n")) if addresses else (), seen_s)
        for peer, addresses, seen_s in tx.execute(
            "SELECT peer, addresses, seen_s FROM peers ORDER BY seen_s DESC, peer"
        )
    ]


def usable(addresses: Sequence[str], limits: StoreLimits) -> tuple[str, ...]:
    """Those that may be kept: no line breaks, not too long, each once, not too many."""
    fit = (text for text in addresses if "\n" not in text and 0 < len(text) <= limits.peer_address_chars)
    return tuple(dict.fromkeys(fit))[: limits.peer_addresses]


def save(tx: sqlite3.Connection, row: PeerRow, keep: int) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO peers (peer, addresses, seen_s) VALUES (?, ?, ?)",
        (row.peer, "\n".join(row.addresses), row.seen_s),
    )
    tx.execute(
        "DELETE FROM peers WHERE peer IN (SELECT peer FROM peers ORDER BY seen_s DESC, peer LIMIT -1 OFFSET ?)",
        (keep,),
    )


def forget(tx: sqlite3.Connection, peer: str) -> bool:
    return tx.execute("DELETE FROM peers WHERE peer = ?", (peer,)).rowcount > 0
