"""Answers of delegated routing (Routing V1 over HTTP) as a client reads them: bounded, and nothing in them believed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protocol.errors import Malformed, OverLimit
from protocol.limits import ROUTING_ANSWER_MAX_BYTES, ROUTING_PEER_ADDRESSES_MAX, ROUTING_RECORDS_MAX

JSON, NDJSON = "application/json", "application/x-ndjson"
_TEXT_MAX_CHARS = 512
_SCHEMAS = ("peer", "bitswap")
_BITSWAP = "transport-bitswap"


@dataclass(frozen=True, slots=True)
class RoutedPeer:
    """Who is said to have something. `peer` and `addresses` are texts as they came; `protocols` may be empty."""

    peer: str
    addresses: tuple[str, ...]
    protocols: tuple[str, ...]

    @property
    def may_speak_bitswap(self) -> bool:
        return not self.protocols or _BITSWAP in self.protocols


def read_peers(media_type: str, body: bytes, key: str) -> list[RoutedPeer]:
    """The records of an answer to /providers (key "Providers") or /peers ("Peers"), JSON or ndjson.

    Records of schemas that are not known are left out, as the specification says. Raises Malformed, OverLimit.
    """
    if len(body) > ROUTING_ANSWER_MAX_BYTES:
        raise OverLimit(f"an answer of {len(body)} bytes, at most {ROUTING_ANSWER_MAX_BYTES}")
    if media_type == NDJSON:
        rows: Iterable[Any] = (_json(line) for line in body.splitlines() if line.strip())
    elif media_type == JSON:
        rows = _list_in(_json(body), key)
    else:
        raise Malformed(f"routing: an answer of the type {media_type[:80]!r}")
    peers: list[RoutedPeer] = []
    for row in rows:
        peer = _read_peer(row)
        if peer is not None:
            peers.append(peer)
        if len(peers) >= ROUTING_RECORDS_MAX:
            break
    return peers


def _list_in(found: Any, key: str) -> list[Any]:
    """Some routers say null for an empty list."""
    rows = (found.get(key) or []) if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise Malformed(f"routing: an answer without a list of {key}")
    return rows


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise Malformed("routing: the answer is no JSON") from None


def _read_peer(row: Any) -> RoutedPeer | None:
    if not isinstance(row, dict):
        raise Malformed("routing: a record that is no object")
    peer = row.get("ID")
    if row.get("Schema") not in _SCHEMAS or not isinstance(peer, str) or not 0 < len(peer) <= _TEXT_MAX_CHARS:
        return None
    addresses = _texts(row.get("Addrs"))[:ROUTING_PEER_ADDRESSES_MAX]
    protocols = _texts(row.get("Protocols")) + _texts([row.get("Protocol")])
    return RoutedPeer(peer, addresses, protocols)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(text for text in value if isinstance(text, str) and len(text) <= _TEXT_MAX_CHARS)
