"""Releases: one signed state of a site each (docs/spec/release.md); the highest sequence is the head."""

import re
from dataclasses import dataclass, field, fields

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical, signing
from protocol.cid import RAW, Cid
from protocol.errors import Malformed, StaleRelease, UnknownVersion, WrongSite
from protocol.limits import (
    BAND_MAX_HOSTS,
    BLOCK_MAX_BYTES,
    CREATED_MAX_S,
    DOMAIN_MAX_CHARS,
    DOMAINS_MAX,
    HOST_ADDRESS_MAX_CHARS,
    HOSTS_NAMED_MAX,
    RELEASE_MAX_BYTES,
    SEQ_MAX,
    SIGNATURE_BYTES,
)
from protocol.release_record import check_record, make_record
from protocol.schema import (
    take_bool,
    take_bytes,
    take_int,
    take_list,
    take_map,
    take_own_cid,
    take_site,
    take_str,
)
from protocol.site_id import SiteId

VERSION = 1
SIGNING_DOMAIN = b"fednode/release/1"

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter: 127.0.0.1 is no name.
_DOMAIN_NAME = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z]){_LABEL}")

# A multiaddr with the host's peer id. Nodes make of it what they can: the parts between are not looked at here.
_HOST = re.compile(r"(?:/[\x21-\x2e\x30-\x7e]+)+/p2p/[0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Band:
    """Replica band: how many hosts the publisher wishes for, at least and at most."""

    min_hosts: int
    max_hosts: int

    def __post_init__(self) -> None:
        take_int(self.min_hosts, "band minimum", 1, BAND_MAX_HOSTS)
        take_int(self.max_hosts, "band maximum", self.min_hosts, BAND_MAX_HOSTS)


DEFAULT_BAND = Band(3, 12)


@dataclass(frozen=True, slots=True)
class Release:
    """What a publisher says of its site. Constructing one raises Malformed or OverLimit for an invalid field.

    `size_bytes` and `block_count` sum up the unique blocks under `root`, without the release's own. A release
    that ends its site has `ended` set, no root, zero sizes, and the highest sequence there is: it comes after
    all others, and none comes after it (docs/spec/release.md, 5). `created_s` is Unix time, informative only.
    `hosts` are addresses at which hosts of the site may be found, each ending in /p2p/ID: hints, and no more.
    """

    site: SiteId
    seq: int
    prev: Cid | None
    root: Cid | None
    size_bytes: int
    block_count: int
    band: Band = DEFAULT_BAND
    domains: tuple[str, ...] = ()
    created_s: int = 0
    ended: bool = False
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        take_site(self.site)
        take_int(self.seq, "seq", 1, SEQ_MAX)
        take_int(self.created_s, "created_s", 0, CREATED_MAX_S)
        take_int(self.size_bytes, "size_bytes")
        take_int(self.block_count, "block_count")
        _check_prev(self.prev, self.seq)
        _check_content(self)
        _check_domains(self.domains)
        _check_hosts(self)

    @classmethod
    def end_of(cls, site: SiteId, *, prev: Cid | None, created_s: int) -> "Release":
        """The release that ends `site` for good."""
        return cls(site, SEQ_MAX, prev, None, 0, 0, DEFAULT_BAND, (), created_s, ended=True)

    def encode(self) -> bytes:
        """The payload: a canonical map of all fields, `hosts` only if there are any."""
        hosts: dict[str, canonical.Packable] = {"hosts": self.hosts} if self.hosts else {}
        return canonical.pack(
            hosts
            | {
                "band": [self.band.min_hosts, self.band.max_hosts],
                "block_count": self.block_count,
                "created_s": self.created_s,
                "domains": self.domains,
                "ended": self.ended,
                "prev": self.prev,
                "root": self.root,
                "seq": self.seq,
                "site": self.site,
                "size_bytes": self.size_bytes,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> "Release":
        """The release of a payload, whose signature is not looked at here. Raises DecodeError.

        Types are checked here, ranges where a Release is constructed.
        """
        value = canonical.unpack(payload, max_bytes=RELEASE_MAX_BYTES)
        names_hosts = isinstance(value, dict) and "hosts" in value
        found = take_map(value, "release", _FIELDS if names_hosts else _FIELDS - {"hosts"})
        band = take_list(found["band"], "band", 2)
        if len(band) != 2:
            raise Malformed("band is not a pair")
        domains = take_list(found["domains"], "domains", DOMAINS_MAX)
        hosts = take_list(found["hosts"], "hosts", HOSTS_NAMED_MAX) if names_hosts else []
        if names_hosts and not hosts:
            raise Malformed("hosts are named, and there are none")
        prev, root = found["prev"], found["root"]
        return cls(
            site=take_site(found["site"]),
            seq=take_int(found["seq"], "seq"),
            prev=None if prev is None else take_own_cid(prev, "prev"),
            root=None if root is None else take_own_cid(root, "root"),
            size_bytes=take_int(found["size_bytes"], "size_bytes"),
            block_count=take_int(found["block_count"], "block_count"),
            band=Band(take_int(band[0], "band minimum"), take_int(band[1], "band maximum")),
            domains=tuple(take_str(name, "domain") for name in domains),
            created_s=take_int(found["created_s"], "created_s"),
            ended=take_bool(found["ended"], "ended"),
            hosts=tuple(take_str(address, "host") for address in hosts),
        )


_FIELDS = frozenset(item.name for item in fields(Release))


def _check_prev(prev: Cid | None, seq: int) -> None:
    if prev is None:
        return
    if seq == 1:
        raise Malformed("the first release has no previous one")
    if take_own_cid(prev, "prev").codec != RAW:
        raise Malformed("prev is not the CID of a release block (raw)")


def _check_content(release: Release) -> None:
    if release.ended:
        if release.root is not None or release.size_bytes or release.block_count:
            raise Malformed("a release that ends its site has content")
        if release.seq != SEQ_MAX:
            raise Malformed("a release that ends its site bears the highest sequence number")
        return
    take_int(release.seq, "seq", 1, SEQ_MAX - 1)
    take_own_cid(release.root, "root")
    # Blocks are unique, so at most one of them is empty.
    if not 1 <= release.block_count <= release.size_bytes + 1:
        raise Malformed("block_count does not fit size_bytes: too many blocks, or none")
    if release.size_bytes > release.block_count * BLOCK_MAX_BYTES:
        raise Malformed("size_bytes does not fit block_count: blocks over the limit")


def _check_domains(domains: tuple[str, ...]) -> None:
    take_list(list(domains), "domains", DOMAINS_MAX)
    if list(domains) != sorted(set(domains)):
        raise Malformed("domains are not sorted, or not unique")
    for name in domains:
        if not _DOMAIN_NAME.fullmatch(take_str(name, "domain", DOMAIN_MAX_CHARS)):
            raise Malformed("a domain is not a lower-case DNS name of two labels or more")


def _check_hosts(release: Release) -> None:
    take_list(list(release.hosts), "hosts", HOSTS_NAMED_MAX)
    if release.hosts and release.ended:
        raise Malformed("a release that ends its site names hosts")
    if list(release.hosts) != sorted(set(release.hosts)):
        raise Malformed("hosts are not sorted, or not unique")
    for address in release.hosts:
        if not _HOST.fullmatch(take_str(address, "host", HOST_ADDRESS_MAX_CHARS)):
            raise Malformed("a host is no multiaddr that ends in /p2p/ID")


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release whose signature was made or checked here: only sign_release and decode construct it."""

    release: Release
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    ipns_record: bytes = field(repr=False)
    """The site's name as IPNS has it, at this release; empty when the site is ended."""

    @property
    def site(self) -> SiteId:
        return self.release.site

    @property
    def seq(self) -> int:
        return self.release.seq

    @property
    def rank(self) -> tuple[int, bytes]:
        """Of two releases of a site the one of higher rank counts, for everybody: also when its key signed two of one
        sequence (docs/spec/release.md, 5)."""
        return self.release.seq, self.payload

    def contradicts(self, other: "SignedRelease | None") -> bool:
        """Both have one sequence and say different things: proof that the site's key was used in two places."""
        return other is not None and self.seq == other.seq and self.payload != other.payload

    def encode(self) -> bytes:
        """The canonical envelope `[1, payload, signature, ipns_record]`; these bytes are the release block."""
        return canonical.pack([VERSION, self.payload, self.signature, self.ipns_record])

    @property
    def cid(self) -> Cid:
        return Cid.of(RAW, self.encode())

    @classmethod
    def decode(cls, raw: bytes, *, site: SiteId | None = None) -> "SignedRelease":
        """The release of an envelope, with its signature and IPNS record checked against the site that it names.

        Raises DecodeError: BadSignature, BadIpnsRecord, WrongSite (not `site`), UnknownVersion, OverLimit, …
        """
        envelope = canonical.unpack(raw, max_bytes=RELEASE_MAX_BYTES)
        if not isinstance(envelope, list) or not envelope or type(envelope[0]) is not int:
            raise Malformed("a signed release is an array that begins with its version")
        if envelope[0] != VERSION:
            raise UnknownVersion(f"release version {envelope[0]}")
        if len(envelope) != 4:
            raise Malformed("a signed release has four elements")
        payload = take_bytes(envelope[1], "payload")
        signature = take_bytes(envelope[2], "signature", SIGNATURE_BYTES)
        record = take_bytes(envelope[3], "ipns_record")
        release = Release.decode(payload)
        if site is not None and release.site != site:
            raise WrongSite(f"a release of {release.site}, not of {site}")
        signing.verify(release.site, SIGNING_DOMAIN, payload, signature)
        check_record(release, record)
        return cls(release, payload, signature, record)


def sign_release(release: Release, private_key: Ed25519PrivateKey) -> SignedRelease:
    """Signs `release` and its IPNS record. Raises WrongSite if the key is not the site's."""
    if SiteId.of(private_key) != release.site:
        raise WrongSite("the key is not that of the site")
    payload = release.encode()
    signature = signing.sign(private_key, SIGNING_DOMAIN, payload)
    return SignedRelease(release, payload, signature, make_record(release, private_key))


def check_successor(current: SignedRelease | None, new: SignedRelease) -> None:
    """Passes if `new` may be the head after `current`, or is `current`.

    Raises WrongSite, or StaleRelease when its rank is lower.
    """
    if current is None:
        return
    if new.site != current.site:
        raise WrongSite(f"a release of {new.site}, not of {current.site}")
    if new.rank < current.rank:
        raise StaleRelease(f"sequence number {new.seq} where {current.seq} is known already")


def check_may_hold(head: SignedRelease | None, held: SignedRelease | None, new: SignedRelease) -> None:
    """Passes if a node that knows `head` and holds `held` may take the blocks of `new`, or has them.

    That may be an earlier release than the head: the best that can still be had when nobody has the head's blocks.
    Raises WrongSite, or StaleRelease when it is older than `held`, contradicts one of both, or the site has ended.
    """
    if head is not None and head.release.ended:
        check_successor(head, new)
    check_successor(held, new)
