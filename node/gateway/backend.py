"""What a gateway worker asks of the daemon: the port, and its messages on `gateway.sock`.

One connection carries one request and its answer; closing it early withdraws the request. A message is a u32 length
(big-endian) and so many bytes of canonical msgpack:

    {"op": "resolve", "site": 32 bytes}                  → {"ok": signed release}
    {"below": seq, "op": "resolve", "site": 32 bytes}    → the same, an older one than that, since this cannot be had
    {"op": "fetch", "site": 32 bytes, "cid": CID}        → {"ok": true}
    {"op": "identity"}                                   → {"ok": canonical msgpack of [peer id, [address, …]]}
    {"op": "desk", "body": JSON}                         → {"ok": JSON}, see node/casework/desk.py
    {"op": "find-name", "name": multihash}               → {"ok": true}: its record is in the store
    {"op": "fetch-tree", "root": CID, "cid": CID}        → {"ok": true}: the store has the block
    {"op": "put-name", "name": multihash, "record": …}   → {"ok": true}: this IPNS record is in the store
    {"domain": text, "op": "certify"}                    → {"ok": true}: it may have a certificate for strangers
    any                                                  → {"error": kind, "reason": text}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, cast, get_args

from node.gateway.http1 import REPORT_BODY_MAX_BYTES
from protocol import canonical
from protocol.cid import Cid
from protocol.errors import Malformed, PeerError
from protocol.limits import DOMAIN_MAX_CHARS, REASON_MAX_CHARS, RELEASE_MAX_BYTES, SEQ_MAX
from protocol.release import SignedRelease
from protocol.site_id import SiteId

LENGTH_BYTES = 4
BACKEND_MESSAGE_MAX_BYTES = max(2 * RELEASE_MAX_BYTES, 3 * REPORT_BODY_MAX_BYTES)  # JSON escapes what a form does not

UnavailableKind = Literal["refused", "not-found", "timeout", "busy"]


class Unavailable(PeerError):
    """What a reader asked for cannot be had now. reason: for people, without anybody's address."""

    code: ClassVar[str] = "unavailable"

    def __init__(self, kind: UnavailableKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: UnavailableKind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is to other nodes. addresses: multiaddrs, as many as fit a message."""

    peer: str
    addresses: tuple[str, ...]

    def encode(self) -> bytes:
        return canonical.pack([self.peer, list(self.addresses)])

    @classmethod
    def decode(cls, raw: bytes) -> Identity:
        """Raises DecodeError."""
        found = canonical.unpack(raw, max_bytes=BACKEND_MESSAGE_MAX_BYTES)
        match found:
            case [str() as peer, list() as addresses] if all(isinstance(address, str) for address in addresses):
                return cls(peer, tuple(str(address) for address in addresses))
        raise Malformed("not an identity")


class Backend(Protocol):
    """The daemon's side. Any may take long: the caller sets deadlines, and cancels what nobody waits for."""

    async def resolve(self, site: SiteId, below: int | None = None) -> SignedRelease:
        """The newest head of a site that is not hosted here. Raises Unavailable.

        below: the release of that number cannot be had; the newest one before it, or the site's end.
        """
        ...

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        """Make the block readable in the store, verified: fetch it on behalf of `site`, or heal it. Unavailable."""
        ...

    async def identity(self) -> Identity:
        """Who this node is. Raises Unavailable."""
        ...


class NameBackend(Protocol):
    """The daemon's side of names of others (multihashes of keys), and of the trees that they lead to."""

    async def find_name(self, name: bytes) -> None:
        """Look for the best record of a name, so that the store has it if there is one. Raises Unavailable."""
        ...

    async def put_name(self, name: bytes, record: bytes) -> None:
        """Take the record of somebody who published it here. Raises Unavailable."""
        ...

    async def fetch_tree_block(self, root: Cid, cid: Cid) -> None:
        """As Backend.fetch_block, for a tree that is no site's. Raises Unavailable."""
        ...


class NoNames:
    """Where names of others are none of the node's business."""

    async def find_name(self, name: bytes) -> None:
        """Raises Unavailable."""
        raise Unavailable("not-found", "this node looks for no names")

    async def put_name(self, name: bytes, record: bytes) -> None:
        """Raises Unavailable."""
        raise Unavailable("refused", "this node takes no records")

    async def fetch_tree_block(self, root: Cid, cid: Cid) -> None:
        """Raises Unavailable."""
        raise Unavailable("not-found", "this node fetches no trees for readers")


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for the head of a site; below: for the newest release of a lower number."""

    site: SiteId
    below: int | None = None

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        more = {} if self.below is None else {"below": self.below}
        return canonical.pack({"op": "resolve", "site": self.site, **more})


@dataclass(frozen=True, slots=True)
class FetchBlock:
    """Ask for a block of a site."""

    site: SiteId
    cid: Cid

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"cid": self.cid, "op": "fetch", "site": self.site})


@dataclass(frozen=True, slots=True)
class AskIdentity:
    """Ask who this node is."""

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"op": "identity"})


@dataclass(frozen=True, slots=True)
class AskDesk:
    """Hand in a report, or ask what became of one."""

    body: bytes

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"body": self.body, "op": "desk"})


@dataclass(frozen=True, slots=True)
class FindName:
    """Ask for the record of a name."""

    name: bytes

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"name": self.name, "op": "find-name"})


@dataclass(frozen=True, slots=True)
class FetchTreeBlock:
    """Ask for a block of a tree."""

    root: Cid
    cid: Cid

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"cid": self.cid, "op": "fetch-tree", "root": self.root})


@dataclass(frozen=True, slots=True)
class PutName:
    """Hand in the record of a name."""

    name: bytes
    record: bytes

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"name": self.name, "op": "put-name", "record": self.record})


@dataclass(frozen=True, slots=True)
class Certify:
    """Ask for one of the certificates that there are for domains of sites that are not held."""

    domain: str

    def encode(self) -> bytes:
        """The message's bytes, without their length."""
        return canonical.pack({"domain": self.domain, "op": "certify"})


BackendRequest = Resolve | FetchBlock | AskIdentity | AskDesk | FindName | PutName | FetchTreeBlock | Certify


def decode_request(raw: bytes) -> BackendRequest:
    """A worker's request. Raises DecodeError."""
    fields = _map(raw)
    if fields == {"op": "identity"}:
        return AskIdentity()
    return _of_no_site(fields) or _of_a_site(fields)


def _of_no_site(fields: dict[str, canonical.Value]) -> BackendRequest | None:
    match fields:
        case {"op": "desk", "body": bytes() as body, **rest} if not rest:
            return AskDesk(body)
        case {"op": "find-name", "name": bytes() as name, **rest} if not rest:
            return FindName(name)
        case {"op": "put-name", "name": bytes() as name, "record": bytes() as record, **rest} if not rest:
            return PutName(name, record)
        case {"op": "fetch-tree", "root": bytes() as root, "cid": bytes() as block, **rest} if not rest:
            return FetchTreeBlock(Cid.from_bytes(root), Cid.from_bytes(block))
        case {"op": "certify", "domain": str() as domain, **rest} if not rest and len(domain) <= DOMAIN_MAX_CHARS:
            return Certify(domain)
    return None


def _of_a_site(fields: dict[str, canonical.Value]) -> BackendRequest:
    site = fields.get("site")
    if not isinstance(site, bytes):
        raise Malformed("site is not a byte string")
    match fields.get("op"), sorted(fields):
        case "resolve", ["op", "site"]:
            return Resolve(SiteId.from_public_bytes(site))
        case "resolve", ["below", "op", "site"]:
            below = fields["below"]
            if not isinstance(below, int) or isinstance(below, bool) or not 0 <= below <= SEQ_MAX:
                raise Malformed("below is no sequence number")
            return Resolve(SiteId.from_public_bytes(site), below)
        case "fetch", ["cid", "op", "site"]:
            cid = fields["cid"]
            if not isinstance(cid, bytes):
                raise Malformed("cid is not a byte string")
            return FetchBlock(SiteId.from_public_bytes(site), Cid.from_bytes(cid))
        case _:
            raise Malformed("not a request")


def encode_success(answer: SignedRelease | Identity | bytes | None) -> bytes:
    """The answer to a request that was met."""
    if answer is None or isinstance(answer, bytes):
        return canonical.pack({"ok": True if answer is None else answer})
    return canonical.pack({"ok": answer.encode()})


def encode_failure(error: Unavailable) -> bytes:
    """The answer to a request that cannot be met."""
    return canonical.pack({"error": error.kind, "reason": error.reason[:REASON_MAX_CHARS]})


def decode_answer(raw: bytes) -> bytes | None:
    """The bytes of a release or an identity, None of a fetch. Raises Unavailable as the daemon did, or DecodeError."""
    fields = _map(raw)
    match sorted(fields):
        case ["ok"]:
            found = fields["ok"]
            if found is True:
                return None
            if isinstance(found, bytes):
                return found
        case ["error", "reason"]:
            kind, reason = fields["error"], fields["reason"]
            if kind in get_args(UnavailableKind) and isinstance(reason, str):
                raise Unavailable(cast(UnavailableKind, kind), reason[:REASON_MAX_CHARS])
    raise Malformed("not an answer")


def frame(message: bytes) -> bytes:
    """The message with its length before it."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


def _map(raw: bytes) -> dict[str, canonical.Value]:
    fields = canonical.unpack(raw, max_bytes=BACKEND_MESSAGE_MAX_BYTES)
    if not isinstance(fields, dict):
        raise Malformed("not a map")
    return fields
