"""IPNS records (tests/vectors/ipns/), each under the name in its file name: twelve of the gateway conformance suite,
and two under secp256k1 keys from js-ipns 10.1 (@libp2p/crypto 5.1 with @noble/curves), with and without V1 fields."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from protocol.errors import BadSignature, DecodeError
from protocol.ipns import IpnsRecord, encode_entry, name_of

HERE = Path(__file__).parent / "ipns"
FILES = sorted(HERE.glob("*.ipns-record"))
BAD = {"v1-v2-broken-signature-v2": "bad-signature", "v1-v2-broken-v1-value": "malformed", "v1": "malformed"}
# From the appendix of the specification, and for the others from the suite's own cases.
VALUES = {
    "v1-v2": b"/ipfs/bafkqaddwgevxmmraojswg33smq",
    "v1-v2-broken-signature-v1": b"/ipfs/bafkqahtwgevxmmrao5uxi2bamjzg623fnyqhg2lhnzqxi5lsmuqhmmi",
    "v2": b"/ipfs/bafkqadtwgiww63tmpeqhezldn5zgi",
    "secp256k1": b"/ipfs/bafkqaddimvwgy3zao5xxe3debi",
}
IN_2026_NS = 1_795_000_000 * 10**9
IN_2130_NS = 5_050_000_000 * 10**9


def parts(path: Path) -> tuple[str, str]:
    """Name and kind, from NAME[_KIND]_NUMBER."""
    name, *kind, _ = path.stem.split("_")
    return name, "".join(kind)


def verified(path: Path, name: str) -> IpnsRecord:
    record = IpnsRecord.decode(path.read_bytes())
    record.verify(name_of(name))
    return record


def test_there_are_fourteen() -> None:
    assert len(FILES) == 14
    assert {parts(path)[1] for path in FILES} == {"", *BAD, *VALUES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_verdict(path: Path) -> None:
    name, kind = parts(path)
    if kind in BAD:
        with pytest.raises(DecodeError) as caught:
            verified(path, name)
        assert caught.value.code == BAD[kind]
        return
    record = verified(path, name)
    assert record.value == VALUES.get(kind, record.value)
    assert record.value.startswith(b"/ipfs/")
    assert record.is_valid_at(IN_2026_NS)
    assert not record.is_valid_at(IN_2130_NS)


@pytest.mark.parametrize("path", [path for path in FILES if parts(path)[1] not in BAD], ids=lambda path: path.stem)
def test_under_another_name(path: Path) -> None:
    record = IpnsRecord.decode(path.read_bytes())
    for other in FILES:
        if other != path:
            with pytest.raises(DecodeError):
                record.verify(name_of(parts(other)[0]))


@pytest.mark.parametrize("path", [path for path in FILES if parts(path)[1] == "secp256k1"], ids=["v1-v2", "v2"])
def test_a_signature_under_secp256k1(path: Path) -> None:
    name = name_of(parts(path)[0])
    record = IpnsRecord.decode(path.read_bytes())
    right = record.signature_v2
    for signature in (right[:-1] + bytes((right[-1] ^ 1,)), right[:-1], b"", bytes(64)):
        with pytest.raises(BadSignature):
            replace(record, signature_v2=signature).verify(name)
    with pytest.raises(BadSignature):
        replace(record, data=record.data[:-1] + bytes((record.data[-1] ^ 1,))).verify(name)


@pytest.mark.parametrize("kind", ["v1-v2", "v2"])
def test_our_encoding_is_that_of_others(kind: str) -> None:
    [path] = [path for path in FILES if parts(path)[1] == kind]
    found = IpnsRecord.decode(path.read_bytes())
    again = encode_entry(
        found.value,
        b"2123-08-14T12:17:03.694052Z",
        found.sequence,
        found.ttl_ns,
        found.signature_v1,
        found.signature_v2,
    )
    assert IpnsRecord.decode(again).data == found.data
    assert len(again) == len(found.raw)
