"""Hypothesis strategies for what protocol/ reads and writes."""

from __future__ import annotations

import string

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from protocol import member_messages, messages
from protocol.cid import DAG_PB, RAW, Cid
from protocol.errors import Malformed
from protocol.limits import (
    BAND_MAX_HOSTS,
    CREATED_MAX_S,
    HOSTS_NAMED_MAX,
    INVITATION_SECRET_BYTES,
    REASON_MAX_CHARS,
    SEQ_MAX,
    SIZE_MAX_BYTES,
)
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from protocol.summary import Entry

KEYS = tuple(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 6))

digests = st.binary(min_size=32, max_size=32)
raw_cids = digests.map(lambda digest: Cid(b"\x01\x55\x12\x20" + digest))
own_cids = st.builds(
    lambda codec, digest: Cid(bytes((1, codec, 0x12, 0x20)) + digest), st.sampled_from([RAW, DAG_PB]), digests
)


def _is_key(raw: bytes) -> bool:
    try:
        SiteId.from_public_bytes(raw)
    except Malformed:
        return False
    return True


sites = digests.filter(_is_key).map(SiteId)
counts = st.integers(0, SIZE_MAX_BYTES)
seqs = st.integers(1, SEQ_MAX)
plain_text = st.text(max_size=REASON_MAX_CHARS + 20).map(messages.clip_reason)

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40) | st.binary(max_size=40)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
).filter(lambda value: _depth(value) <= 8)


def _depth(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(_depth, value), default=0)
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
    return 0


_labels = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
_top_labels = st.text(string.ascii_lowercase, min_size=2, max_size=6)
domain_names = st.builds(
    lambda labels, top: ".".join([*labels, top]), st.lists(_labels, min_size=1, max_size=4), _top_labels
)


host_addresses = st.integers(0, 255).map(lambda number: f"/ip4/203.0.113.{number}/tcp/4101/p2p/12D3KooW{number}")


@st.composite
def releases(draw: st.DrawFn) -> SignedRelease:
    key = draw(st.sampled_from(KEYS))
    site = SiteId.of(key)
    created_s = draw(st.integers(0, CREATED_MAX_S))
    if draw(st.booleans()) and draw(st.booleans()):
        return sign_release(Release.end_of(site, prev=draw(st.none() | raw_cids), created_s=created_s), key)
    seq = draw(st.integers(1, SEQ_MAX - 1))
    block_count = draw(st.integers(1, 2**40))
    low = draw(st.integers(1, BAND_MAX_HOSTS))
    release = Release(
        site=site,
        seq=seq,
        prev=draw(st.none() | raw_cids) if seq > 1 else None,
        root=draw(own_cids),
        size_bytes=draw(st.integers(block_count - 1, block_count * 2**20)),
        block_count=block_count,
        band=Band(low, draw(st.integers(low, BAND_MAX_HOSTS))),
        domains=tuple(sorted(draw(st.sets(domain_names, max_size=4)))),
        created_s=created_s,
        ended=False,
        hosts=tuple(sorted(draw(st.sets(host_addresses, max_size=HOSTS_NAMED_MAX)))),
    )
    return sign_release(release, key)


@st.composite
def progresses(draw: st.DrawFn) -> messages.Progress:
    total = draw(counts)
    done = draw(st.integers(0, total))
    return messages.Progress(done, total, draw(st.integers(0, done)))


all_messages: st.SearchStrategy[messages.Message] = st.one_of(
    st.builds(
        member_messages.Listing,
        st.sampled_from(member_messages.Of),
        st.dictionaries(sites, st.tuples(seqs, st.binary(min_size=8, max_size=8)), max_size=10).map(
            lambda known: tuple(Entry(site, number, tag) for site, (number, tag) in known.items())
        ),
        st.booleans(),
    ),
    st.builds(
        member_messages.Summary,
        st.sampled_from(member_messages.Of),
        st.sampled_from([bytes(128), bytes(range(256))]),
        st.integers(0, CREATED_MAX_S),
    ),
    st.builds(messages.Offer, releases()),
    st.builds(messages.Ask, sites),
    st.builds(messages.Fetch, sites, own_cids),
    st.builds(messages.Want, st.lists(own_cids, min_size=1, max_size=10, unique=True).map(tuple)),
    st.builds(messages.Block, own_cids, st.binary(max_size=300)),
    st.builds(messages.Missing, own_cids),
    st.builds(messages.Have, sites, seqs, counts, counts),
    st.builds(
        messages.Refuse,
        st.sampled_from(sorted(messages.REFUSE_CODES)),
        plain_text,
        st.binary(max_size=64),
    ),
    progresses(),
    st.builds(messages.Invited, st.binary(min_size=INVITATION_SECRET_BYTES, max_size=INVITATION_SECRET_BYTES)),
    st.builds(messages.AskNotices, sites),
    st.builds(messages.Notices, st.lists(st.binary(max_size=100), max_size=4).map(tuple)),
    st.builds(messages.HandAppeal, st.binary(max_size=100)),
    st.builds(messages.AskExport, sites),
    st.builds(messages.Challenge, st.binary(min_size=32, max_size=32)),
    st.builds(messages.Proof, st.binary(min_size=64, max_size=64)),
    st.just(messages.End()),
)


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a good value with a few bytes changed, cut out or put in."""
    raw = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(raw)))
        piece = draw(st.binary(max_size=3))
        raw[position : position + draw(st.integers(0, 3))] = piece
    return bytes(raw)
