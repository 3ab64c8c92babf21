from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import signing
from protocol.errors import BadSignature
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
DOMAIN = b"fednode/release/1"


def test_sign_and_verify() -> None:
    signature = signing.sign(KEY, DOMAIN, b"payload")
    signing.verify(SiteId.of(KEY), DOMAIN, b"payload", signature)
    signing.verify(KEY.public_key(), DOMAIN, b"payload", signature)
    KEY.public_key().verify(signature, b"fednode/release/1\0payload")


@pytest.mark.parametrize(
    ("domain", "payload"),
    [(DOMAIN, b"Payload"), (DOMAIN, b""), (b"fednode/release/2", b"payload"), (b"fednode/other/1", b"payload")],
)
def test_other_bytes_or_another_domain(domain: bytes, payload: bytes) -> None:
    signature = signing.sign(KEY, DOMAIN, b"payload")
    with pytest.raises(BadSignature):
        signing.verify(SiteId.of(KEY), domain, payload, signature)


def test_another_key() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
    with pytest.raises(BadSignature):
        signing.verify(SiteId.of(KEY), DOMAIN, b"", signing.sign(other, DOMAIN, b""))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_the_length_of_a_signature(length: int) -> None:
    with pytest.raises(BadSignature):
        signing.verify(SiteId.of(KEY), DOMAIN, b"", bytes(length))


@pytest.mark.parametrize("domain", [b"", b"release", b"fednode/release", b"fednode/release/1\0", b"ipns-signature:"])
def test_a_domain_that_could_collide_is_a_bug_of_the_caller(domain: bytes) -> None:
    with pytest.raises(ValueError, match="signing domain"):
        signing.sign(KEY, domain, b"")
