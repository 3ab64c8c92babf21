"""Proofs that a node holds blocks, bound to who asked whom (docs/spec/membership.md, 5)."""

from hashlib import sha256
from typing import Final

from protocol.cid import Cid
from protocol.site_id import SiteId

NONCE_BYTES: Final = 16
PROOF_BYTES: Final = 32

_DOMAIN: Final = b"fednode/audit/1\0"


def proof_of(nonce: bytes, prover: SiteId, verifier: SiteId, cid: Cid, block: bytes) -> bytes:
    """What only who has the block can answer, for this nonce, as this prover, to this verifier.

    All parts before the block have fixed lengths (own CIDs only), so that no two questions hash the same bytes.
    """
    if len(nonce) != NONCE_BYTES or not cid.is_own_kind():
        raise ValueError("a nonce of another length, or a CID that is not our own kind")
    return sha256(b"".join((_DOMAIN, nonce, prover, verifier, cid, block))).digest()
