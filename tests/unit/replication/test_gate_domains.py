"""Rules on domains hold for the sites that list them."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.policy.decide import Policy
from node.policy.model import NamePath, Rule
from node.replication.gate import Gate
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROOT = Cid.of(RAW, b"root")


def release(*domains: str) -> SignedRelease:
    return sign_release(Release(SiteId.of(KEY), 1, None, ROOT, 4, 1, Band(1, 2), domains, 1, False), KEY)


def test_a_rule_on_a_domain_closes_every_way_of_a_site_that_lists_it() -> None:
    gate = Gate(Policy([Rule(NamePath("shop.example", "", False), "refuse", "policy", "", 1)]))
    for signed, allowed in ((release("shop.example"), False), (release("other.example"), True)):
        verdicts = [
            gate.may_host(signed),
            gate.may_announce(signed),
            gate.may_store_block(signed, ROOT),
            gate.may_send_block(signed, ROOT),
            gate.may_serve_peers(signed),
        ]
        assert {verdict.allowed for verdict in verdicts} == {allowed}
