"""IPNS records kept for others: signed ones only, the newest of each name, and within bounds."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.net.kademlia_values import NoRoom, StaleRecord, ValueTable, check_value, value_key
from protocol import ipns
from protocol.errors import PeerError
from protocol.site_id import SiteId

NOW_S = 1_800_000_000
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 6)]
NAMES = [value_key(SiteId.of(key).cid.multihash) for key in KEYS]


def made(number: int, sequence: int = 1, validity_s: int = NOW_S + 1000) -> bytes:
    return ipns.create(KEYS[number], value=b"/ipfs/bafkqaaa", sequence=sequence, validity_s=validity_s, ttl_s=60)


def put(table: ValueTable, number: int, sender: str, sequence: int = 1, expires_s: float = NOW_S + 100) -> None:
    table.put(NAMES[number], check_value(NAMES[number], made(number, sequence), NOW_S), sender, expires_s)


def test_a_valid_record_is_kept_until_it_expires_or_was_kept_for_long() -> None:
    table = ValueTable("me")
    put(table, 0, "peer")
    assert table.get(NAMES[0], NOW_S) == made(0)
    assert table.get(NAMES[0], NOW_S + 100) is None
    put(table, 0, "peer", expires_s=NOW_S + 10_000)
    assert table.get(NAMES[0], NOW_S + 1001) is None
    table.expire(NOW_S + 1001)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (NAMES[1], made(0)),  # of another name
        (NAMES[0], made(0, validity_s=NOW_S)),  # has expired
        (NAMES[0], made(0)[:-1]),
        (NAMES[0], b""),
        (b"/pk/" + NAMES[0][6:], made(0)),
        (b"/ipns/", made(0)),
        (b"/ipns/\x00\x24", made(0)),
        (NAMES[0], bytes(11_000)),
    ],
)
def test_other_values_are_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(PeerError):
        check_value(key, value, NOW_S)


def test_the_newest_record_of_a_name_stays() -> None:
    table = ValueTable("me")
    put(table, 0, "peer", sequence=2)
    with pytest.raises(StaleRecord):
        put(table, 0, "liar", sequence=1)
    put(table, 0, "another", sequence=2)  # the same again lives on
    put(table, 0, "another", sequence=3)
    assert table.get(NAMES[0], NOW_S) == made(0, 3)
    assert len(table) == 1


def test_nobody_but_the_node_itself_fills_the_table() -> None:
    table = ValueTable("me", records=4, per_sender=2)
    for number in range(2):
        put(table, number, "greedy")
    with pytest.raises(NoRoom):
        put(table, 2, "greedy")
    put(table, 1, "greedy", sequence=2)  # what it has put already it may renew
    for number in range(2, 5):
        put(table, number, "me")
    assert len(table) == 4
    assert table.get(NAMES[0], NOW_S) is None  # the oldest made room
    put(table, 0, "greedy")
