"""Names under keys that are no site's: read, and refused by rules in every form that a rule can have."""

from __future__ import annotations

from hashlib import sha256

import pytest

from node.policy.rules import read_target
from protocol import ipns, multibase
from protocol.cid import LIBP2P_KEY
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.test_name_lookup import made
from tests.unit.gateway.test_trees import ask
from tests.vectors.test_ipns import HERE

SECP = "kzwfwjn5ji4puu2gpxrnnhrymefa3etfpvhwb4vw8wxorjlzyi5b4ywfqf2i482"
RECORD = (HERE / f"{SECP}_secp256k1_12.ipns-record").read_bytes()


def targets() -> list[str]:
    """One rule in five forms."""
    base58 = multibase.encode_bare("base58btc", ipns.name_of(SECP))
    base32 = multibase.encode("base32", bytes((1, LIBP2P_KEY)) + ipns.name_of(SECP))
    hashed = multibase.encode_bare("base58btc", b"\x12\x20" + sha256(base58.encode()).digest())
    older = sha256(f"{base32}/".encode()).hexdigest()
    return [f"/ipns/{SECP}", f"/ipns/{base58}", f"ipns://{SECP}", f"//{hashed}", f"//{older}"]


@pytest.mark.parametrize("target", targets())
async def test_what_such_a_name_leads_to_is_refused(node: Node, target: str) -> None:
    alias = new_key()
    node.store.save_name(ipns.name_of(SECP), RECORD, kept=True)
    node.store.save_name(SiteId.of(alias).cid.multihash, made(alias, f"/ipns/{SECP}"))
    places = [f"/ipns/{SECP}", f"/ipns/{SiteId.of(alias)}"]
    for place in places:
        answer = await ask(node, place)
        assert (answer.status, answer.body) == (200, b"hello world\n")
    assert (await ask(node, f"/routing/v1/ipns/{SECP}")).body == RECORD
    node.block(read_target(target))
    for place in places:
        assert (await ask(node, place)).status == 410
    assert (await ask(node, f"/routing/v1/ipns/{SECP}")).body != RECORD
