from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import signing
from protocol.cid import LIBP2P_KEY, Cid
from protocol.errors import BadSignature, Malformed
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
SITE = SiteId.of(KEY)

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(first: Point, second: Point) -> Point:
    """Addition on edwards25519 (RFC 8032, 5.1.4, in affine coordinates)."""
    (x1, y1), (x2, y2) = first, second
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def multiply(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def points() -> Iterator[Point]:
    for y in range(2, 100):
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if x * x % P != square:
            x = x * pow(2, (P - 1) // 4, P) % P
        if x * x % P == square:
            yield x, y


def small_order_keys() -> set[bytes]:
    """Every 32-byte string that decodes to one of the eight points of small order, reduced or not, with either sign."""
    torsion = (multiply(GROUP_ORDER, point) for point in points())
    generator = next(point for point in torsion if multiply(4, point) != NEUTRAL)
    ys = {multiply(scalar, generator)[1] for scalar in range(8)}
    ys |= {y + P for y in ys if y + P < 2**255}
    return {(y | sign << 255).to_bytes(32, "little") for y in ys for sign in (0, 1)}


def test_a_key_of_small_order_is_refused_in_every_encoding() -> None:
    keys = small_order_keys()
    assert len(keys) == 14
    for raw in keys:
        with pytest.raises(Malformed, match="small order"):
            SiteId.from_public_bytes(raw)


def test_under_a_key_of_small_order_anybody_can_sign() -> None:
    """Why they are refused: this signature was made without any key."""
    neutral = b"\x01" + bytes(31)
    forged = neutral + bytes(32)
    signing.verify(neutral, b"fednode/release/1", b"anything", forged)
    with pytest.raises(BadSignature):
        signing.verify(SITE, b"fednode/release/1", b"anything", forged)


def test_text_and_back() -> None:
    assert str(SITE).startswith("k51")
    assert len(str(SITE)) <= 63  # a DNS label
    assert SiteId.from_text(str(SITE)) == SITE
    assert f"{SITE}" == str(SITE)
    assert repr(SITE) == f"SiteId({SITE})"


def test_as_a_cid() -> None:
    assert SITE.cid.codec == LIBP2P_KEY
    assert Cid.from_text(str(SITE)) == SITE.cid
    assert SiteId.from_multihash(SITE.cid.multihash) == SITE


def test_the_key_verifies() -> None:
    SITE.verify_key().verify(KEY.sign(b"x"), b"x")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_has_32_bytes(length: int) -> None:
    with pytest.raises(Malformed):
        SiteId.from_public_bytes(b"\x09" * length)
