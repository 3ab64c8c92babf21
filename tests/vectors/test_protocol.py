"""Golden vectors of protocol/: the code makes and reads what is stored, and each bad one fails in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical, messages, signing
from protocol.cid import Cid
from protocol.errors import DecodeError, UnsupportedHash
from protocol.frames import FrameDecoder, encode_message
from protocol.limits import RELEASE_MAX_BYTES
from protocol.release import SIGNING_DOMAIN, Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from tests.vectors import make_protocol, make_wire
from tests.vectors.make_ids import SITES

HERE = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / name).read_text(encoding="ascii"))
    return found


def entries(name: str, section: str) -> list[Any]:
    """The entries of a section as test parameters, named by what they say of themselves."""
    return [
        pytest.param(entry, id=f"{number}-{entry.get('why', entry.get('name', ''))}")
        for number, entry in enumerate(load(name)[section])
    ]


def code_of(decode: Callable[[], object]) -> str:
    with pytest.raises(DecodeError) as caught:
        decode()
    return caught.value.code


@pytest.mark.parametrize("name", sorted(make_protocol.FILES))
def test_the_stored_vectors_are_what_the_code_makes(name: str) -> None:
    assert (HERE / name).read_text(encoding="ascii") == make_protocol.as_text(make_protocol.FILES[name]())


@pytest.mark.parametrize("entry", entries("site-ids.json", "valid"))
def test_a_site_id_has_these_texts(entry: dict[str, str]) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(entry["secret_key"]))
    site = SiteId.from_public_bytes(bytes.fromhex(entry["public_key"]))
    assert SiteId.of(key) == site
    assert str(site) == entry["text"]
    assert site.cid.hex() == entry["cid"]
    for form in ("text", "base16", "base32", "base58btc", "base64url", "multihash_base58btc"):
        assert SiteId.from_text(entry[form]) == site


def test_the_foreign_site_ids_are_one() -> None:
    vectors = load("site-ids.json")
    assert len({SiteId.from_text(text) for text in vectors["foreign"]}) == 1
    assert str(SiteId.from_text(vectors["foreign"][1])) == vectors["foreign"][0]
    assert {SiteId.from_text(text).hex() for text in vectors["same"]} == {vectors["valid"][0]["public_key"]}


@pytest.mark.parametrize("entry", entries("site-ids.json", "invalid"))
def test_a_bad_site_id(entry: dict[str, str]) -> None:
    assert code_of(lambda: SiteId.from_text(entry["text"])) == entry["error"]


@pytest.mark.parametrize("entry", entries("cids.json", "valid"))
def test_a_cid(entry: dict[str, Any]) -> None:
    cid = Cid.from_bytes(bytes.fromhex(entry["cid"]))
    assert (str(cid), cid.version, cid.codec, cid.hash_code, cid.digest.hex()) == (
        entry["text"],
        entry["version"],
        entry["codec"],
        entry["hash_code"],
        entry["digest"],
    )
    assert Cid.from_text(entry["text"]) == cid
    data = bytes.fromhex(entry["data"])
    cid.verify(data)
    assert code_of(lambda: cid.verify(data + b"\0")) == "hash-mismatch"


@pytest.mark.parametrize("entry", entries("cids.json", "unverifiable"))
def test_a_cid_that_nobody_here_can_verify(entry: dict[str, str]) -> None:
    cid = Cid.from_bytes(bytes.fromhex(entry["cid"]))
    assert Cid.from_text(str(cid)) == cid
    with pytest.raises(UnsupportedHash):
        cid.verify(b"hello world")


@pytest.mark.parametrize("entry", entries("cids.json", "invalid"))
def test_a_bad_cid(entry: dict[str, str]) -> None:
    assert code_of(lambda: Cid.from_bytes(bytes.fromhex(entry["hex"]))) == entry["error"]


@pytest.mark.parametrize("entry", entries("canonical.json", "valid"))
def test_a_canonical_value(entry: dict[str, Any]) -> None:
    raw = bytes.fromhex(entry["hex"])
    found = canonical.unpack(raw, max_bytes=len(raw))
    assert found == entry["value"]
    assert type(found) is type(entry["value"])
    assert canonical.pack(entry["value"]) == raw


@pytest.mark.parametrize("entry", entries("canonical.json", "bytes"))
def test_canonical_bytes(entry: dict[str, str]) -> None:
    raw = bytes.fromhex(entry["hex"])
    assert canonical.unpack(raw, max_bytes=len(raw)) == bytes.fromhex(entry["bytes"])


@pytest.mark.parametrize("entry", entries("canonical.json", "invalid"))
def test_bytes_that_are_not_canonical(entry: dict[str, str]) -> None:
    raw = bytes.fromhex(entry["hex"])
    assert code_of(lambda: canonical.unpack(raw, max_bytes=2**20)) == entry["error"]


def release_of(fields: dict[str, Any]) -> Release:
    optional = {name: None if fields[name] is None else Cid.from_text(fields[name]) for name in ("prev", "root")}
    lists = {name: tuple(fields[name]) for name in ("domains", "hosts")}
    site = SiteId.from_text(fields["site"])
    return Release(**(fields | optional | lists | {"site": site, "band": Band(*fields["band"])}))


@pytest.mark.parametrize("entry", entries("releases.json", "valid"))
def test_a_release(entry: dict[str, Any]) -> None:
    signed = SignedRelease.decode(bytes.fromhex(entry["envelope"]))
    assert signed.release == release_of(entry["fields"])
    assert signed.payload.hex() == entry["payload"]
    assert signed.signature.hex() == entry["signature"]
    assert signed.encode().hex() == entry["envelope"]
    assert str(signed.cid) == entry["cid"]


@pytest.mark.parametrize("entry", entries("releases.json", "valid"))
def test_signing_a_release_again_gives_the_same_bytes(entry: dict[str, Any]) -> None:
    secret = next(
        known["secret_key"] for known in load("site-ids.json")["valid"] if known["text"] == entry["fields"]["site"]
    )
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert sign_release(release_of(entry["fields"]), key).encode().hex() == entry["envelope"]
    # The signature, by the plain words of the spec and without the code under test.
    assert key.sign(bytes.fromhex(entry["signed_bytes"])).hex() == entry["signature"]
    assert bytes.fromhex(entry["signed_bytes"]) == b"fednode/release/1\0" + bytes.fromhex(entry["payload"])


@pytest.mark.parametrize("entry", entries("releases.json", "invalid"))
def test_a_bad_release(entry: dict[str, str]) -> None:
    assert code_of(lambda: SignedRelease.decode(bytes.fromhex(entry["hex"]))) == entry["error"]


def test_the_payloads_refused_for_their_content_are_signed_well() -> None:
    """Otherwise a check of the signature alone would pass the test above."""
    signed_well = 0
    for entry in load("releases.json")["invalid"]:
        try:
            envelope = canonical.unpack(bytes.fromhex(entry["hex"]), max_bytes=RELEASE_MAX_BYTES)
            assert isinstance(envelope, list)
            _, payload, signature, _ = envelope
            assert isinstance(payload, bytes)
            assert isinstance(signature, bytes)
            signing.verify(SITES[0], SIGNING_DOMAIN, payload, signature)
        except (DecodeError, ValueError, AssertionError):
            continue
        signed_well += 1
    assert signed_well > 40


def read_stream(raw: bytes) -> list[messages.Message]:
    decoder = FrameDecoder()
    decoder.feed(raw)
    found = []
    while (frame := decoder.next_frame()) is not None:
        found.append(messages.decode_message(frame.kind, frame.body))
    decoder.at_eof()
    return found


@pytest.mark.parametrize("entry", entries("frames.json", "valid"))
def test_a_frame(entry: dict[str, Any]) -> None:
    raw = bytes.fromhex(entry["hex"])
    [message] = read_stream(raw)
    assert make_wire.describe(message) == entry["message"]
    assert message == make_wire.MESSAGES[entry["name"]]
    assert b"".join(bytes(piece) for piece in encode_message(message)) == raw


@pytest.mark.parametrize("entry", entries("frames.json", "invalid"))
def test_a_bad_frame(entry: dict[str, str]) -> None:
    assert code_of(lambda: read_stream(bytes.fromhex(entry["hex"]))) == entry["error"]
