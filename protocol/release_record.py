"""The IPNS record that goes with a release (docs/spec/release.md, 4): all of it but the signatures follows from the
release, so that nobody but the publisher can make another envelope for the same payload.
"""

from typing import TYPE_CHECKING

from protocol import ipns
from protocol.errors import BadIpnsRecord, BadSignature, DecodeError
from protocol.limits import (
    CREATED_MAX_S,
    RELEASE_RECORD_MAX_BYTES,
    RELEASE_RECORD_TTL_S,
    RELEASE_RECORD_VALIDITY_S,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from protocol.release import Release

_SECOND_NS = 10**9


def make_record(release: "Release", private_key: "Ed25519PrivateKey") -> bytes:
    """The record of a release; empty for one that ends its site."""
    if release.root is None:
        return b""
    return ipns.create(
        private_key,
        value=_value(release),
        sequence=release.seq,
        validity_s=_validity_s(release),
        ttl_s=RELEASE_RECORD_TTL_S,
    )


def check_record(release: "Release", raw: bytes) -> None:
    """Raises BadIpnsRecord unless `raw` is what make_record() gives under the site's key."""
    if release.root is None:
        if raw:
            raise BadIpnsRecord("a release that ends its site has an IPNS record")
        return
    if len(raw) > RELEASE_RECORD_MAX_BYTES:
        raise BadIpnsRecord(f"an IPNS record of {len(raw)} bytes, at most {RELEASE_RECORD_MAX_BYTES}")
    validity = ipns.format_time(_validity_s(release))
    try:
        record = ipns.IpnsRecord.decode(raw)
        if (record.value, record.sequence) != (_value(release), release.seq):
            raise BadIpnsRecord("the IPNS record names another root or sequence number than the release")
        record.verify(release.site.cid.multihash)
        ipns.verify_v1(release.site, record, validity)
    except BadSignature:
        raise BadIpnsRecord("the IPNS record is not signed by the site's key") from None
    except DecodeError as error:
        raise error if isinstance(error, BadIpnsRecord) else BadIpnsRecord(str(error)) from None
    expected = ipns.encode_entry(
        record.value,
        validity,
        record.sequence,
        RELEASE_RECORD_TTL_S * _SECOND_NS,
        record.signature_v1,
        record.signature_v2,
    )
    if raw != expected:
        raise BadIpnsRecord("the IPNS record is not of the form that a release has")


def _value(release: "Release") -> bytes:
    return f"/ipfs/{release.root}".encode()


def _validity_s(release: "Release") -> int:
    return min(release.created_s + RELEASE_RECORD_VALIDITY_S, CREATED_MAX_S)
