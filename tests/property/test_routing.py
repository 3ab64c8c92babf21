"""Answers of routers: any bytes are records within bounds, or an error that is ours."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import DecodeError
from protocol.limits import ROUTING_PEER_ADDRESSES_MAX, ROUTING_RECORDS_MAX
from protocol.routing import JSON, NDJSON, read_peers

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
texts = st.lists(scalars, max_size=30)
records = st.fixed_dictionaries(
    {},
    optional={
        "Schema": st.sampled_from(["peer", "bitswap", "other"]) | scalars,
        "ID": scalars,
        "Addrs": texts | scalars,
        "Protocols": texts | scalars,
        "Protocol": scalars,
    },
)


@given(st.sampled_from([JSON, NDJSON, "text/plain"]), st.binary(max_size=200))
def test_any_bytes(media_type: str, body: bytes) -> None:
    try:
        read_peers(media_type, body, "Providers")
    except DecodeError:
        return


@given(st.booleans(), st.lists(records, max_size=150))
def test_any_records(lines: bool, rows: list[dict[str, object]]) -> None:
    body = "\n".join(map(json.dumps, rows)) if lines else json.dumps({"Providers": rows})
    found = read_peers(NDJSON if lines else JSON, body.encode(), "Providers")
    wanted = [
        row for row in rows if row.get("Schema") in ("peer", "bitswap") and row.get("ID") and isinstance(row["ID"], str)
    ]
    assert [peer.peer for peer in found] == [row["ID"] for row in wanted[:ROUTING_RECORDS_MAX]]
    assert all(len(peer.addresses) <= ROUTING_PEER_ADDRESSES_MAX for peer in found)
