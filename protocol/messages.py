"""Messages of /fednode/sync/1, publish/1 (docs/spec/sync.md) and notices/1 (docs/spec/notice.md): values and their
strict wire form.

Constructing a message checks it, so that what exists can be sent; the errors are those of decoding.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TypeAlias

from protocol import canonical, member_messages
from protocol.cid import Cid
from protocol.errors import Malformed, OverLimit, UnknownType
from protocol.limits import (
    APPEAL_MAX_BYTES,
    BLOCK_MAX_BYTES,
    CID_BYTES,
    EXPORT_NONCE_BYTES,
    INVITATION_SECRET_BYTES,
    MESSAGE_MAX_BYTES,
    NOTICE_MAX_BYTES,
    NOTICES_MAX,
    REASON_MAX_CHARS,
    REFUSE_CODE_MAX_CHARS,
    SEQ_MAX,
    SIGNATURE_BYTES,
    SUBJECT_MAX_BYTES,
    WANT_MAX_CIDS,
)
from protocol.member_messages import MemberMessage
from protocol.plain import clip_plain, is_plain_line
from protocol.release import SignedRelease
from protocol.schema import (
    take_bytes,
    take_int,
    take_list,
    take_map,
    take_own_cid,
    take_site,
    take_str,
)
from protocol.site_id import SiteId
from protocol.statement import SignedStatement

SYNC_PROTOCOL = "/fednode/sync/1"
"""libp2p protocol between nodes."""

PUBLISH_PROTOCOL = "/fednode/publish/1"
"""libp2p protocol between a publisher and a node; also what publish.sock speaks."""

NOTICES_PROTOCOL = "/fednode/notices/1"
"""libp2p protocol between a publisher and a node that refuses its site."""


class Kind(IntEnum):
    """Frame kinds."""

    MESSAGE = 0
    BLOCK = 1


class RefuseCode(StrEnum):
    """Why something is refused; stable, and the same on every wire and in every log.

    The set may grow: a code that is not known here is kept as it is and means a refusal without more to say.
    """

    BLOCKED_POLICY = "blocked-policy"
    BLOCKED_LAW = "blocked-law"
    QUARANTINED = "quarantined"
    NOT_HOSTING = "not-hosting"
    NOT_FOLLOWING = "not-following"
    NOT_INVITED = "not-invited"
    BAD_INVITATION = "bad-invitation"
    PUBLISHER_FULL = "publisher-full"
    MEDIA_TYPE = "media-type"
    NOT_NEEDED = "not-needed"
    FULL = "full"
    TOO_LARGE = "too-large"
    STALE = "stale"
    ENDED = "ended"
    BAD_RELEASE = "bad-release"
    BAD_BLOCK = "bad-block"
    BAD_REQUEST = "bad-request"
    BUSY = "busy"
    NOT_FOUND = "not-found"
    INTERNAL = "internal"


REFUSE_CODES = frozenset(code.value for code in RefuseCode)


_CODE = re.compile("[a-z]+(?:-[a-z]+)*")


def clip_reason(text: str) -> str:
    """`text` as a reason may be sent: what is not plain becomes a space, the rest is cut to its limit."""
    return clip_plain(text, REASON_MAX_CHARS)


@dataclass(frozen=True, slots=True)
class Offer:
    """A release that the sender has, in full."""

    release: SignedRelease


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks for the head of a site; answered by Offer or Refuse."""

    site: SiteId

    def __post_init__(self) -> None:
        take_site(self.site)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Opens the transfer of one release's blocks; Want follows."""

    site: SiteId
    release_cid: Cid

    def __post_init__(self) -> None:
        take_site(self.site)
        take_own_cid(self.release_cid, "release_cid")


@dataclass(frozen=True, slots=True)
class Want:
    """Asks for blocks; each is answered by Block, Missing or Refuse, in this order."""

    cids: tuple[Cid, ...]

    def __post_init__(self) -> None:
        if not self.cids:
            raise Malformed("a want for nothing")
        if len(self.cids) > WANT_MAX_CIDS:
            raise OverLimit(f"{len(self.cids)} CIDs in one want, at most {WANT_MAX_CIDS}")
        for cid in self.cids:
            take_own_cid(cid, "cid")
        if len(set(self.cids)) != len(self.cids):
            raise Malformed("a want names a CID twice")


@dataclass(frozen=True, slots=True)
class Block:
    """One block. Not checked against its CID here: the receiver does that before it writes it."""

    cid: Cid
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        take_own_cid(self.cid, "cid")
        if len(self.data) > BLOCK_MAX_BYTES:
            raise OverLimit(f"block of {len(self.data)} bytes, at most {BLOCK_MAX_BYTES}")


@dataclass(frozen=True, slots=True)
class Missing:
    """The sender does not have this block."""

    cid: Cid

    def __post_init__(self) -> None:
        take_own_cid(self.cid, "cid")


@dataclass(frozen=True, slots=True)
class Have:
    """The sender holds this release in full and durably; the counts say what was new to it."""

    site: SiteId
    seq: int
    new_blocks: int
    new_bytes: int

    def __post_init__(self) -> None:
        take_site(self.site)
        take_int(self.seq, "seq", 1, SEQ_MAX)
        take_int(self.new_blocks, "new_blocks")
        take_int(self.new_bytes, "new_bytes")


@dataclass(frozen=True, slots=True)
class Refuse:
    """A refusal; `subject` is the site id or CID that it is about, empty for the whole exchange."""

    code: str
    reason: str
    subject: bytes = b""

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(take_str(self.code, "code", REFUSE_CODE_MAX_CHARS)):
            raise Malformed("a refuse code is lower-case words joined by hyphens")
        if not is_plain_line(take_str(self.reason, "reason", REASON_MAX_CHARS)):
            raise Malformed("a reason is one line of plain text")
        take_bytes(self.subject, "subject", SUBJECT_MAX_BYTES)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the receiver of blocks is: bytes that it has, of how many, and how many were new."""

    done_bytes: int
    total_bytes: int
    new_bytes: int

    def __post_init__(self) -> None:
        take_int(self.total_bytes, "total_bytes")
        take_int(self.done_bytes, "done_bytes", 0, self.total_bytes)
        take_int(self.new_bytes, "new_bytes", 0, self.done_bytes)


@dataclass(frozen=True, slots=True)
class Invited:
    """What the operator gave the publisher (protocol/invitation.py); the Offer of the site follows."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _take_exactly(self.secret, "secret", INVITATION_SECRET_BYTES)


@dataclass(frozen=True, slots=True)
class AskNotices:
    """Asks for the notices about a site; answered by Notices."""

    site: SiteId

    def __post_init__(self) -> None:
        take_site(self.site)


@dataclass(frozen=True, slots=True)
class Notices:
    """Signed notices (protocol/notice.py), the newest first. Not checked here."""

    notices: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.notices) > NOTICES_MAX:
            raise OverLimit(f"{len(self.notices)} notices in one message, at most {NOTICES_MAX}")
        for notice in self.notices:
            take_bytes(notice, "notice", NOTICE_MAX_BYTES)


@dataclass(frozen=True, slots=True)
class HandAppeal:
    """A signed appeal (protocol/notice.py), not checked here; answered by End or Refuse."""

    appeal: bytes

    def __post_init__(self) -> None:
        take_bytes(self.appeal, "appeal", APPEAL_MAX_BYTES)


@dataclass(frozen=True, slots=True)
class AskExport:
    """A publisher wants its own site, whatever the node's policy says; answered by Challenge or Refuse."""

    site: SiteId

    def __post_init__(self) -> None:
        take_site(self.site)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Asks for the proof that the site's key is there."""

    nonce: bytes

    def __post_init__(self) -> None:
        _take_exactly(self.nonce, "nonce", EXPORT_NONCE_BYTES)


@dataclass(frozen=True, slots=True)
class Proof:
    """Answers a Challenge; answered by Offer, after which blocks may be wanted, or Refuse."""

    signature: bytes

    def __post_init__(self) -> None:
        _take_exactly(self.signature, "signature", SIGNATURE_BYTES)


def _take_exactly(value: bytes, what: str, size_bytes: int) -> None:
    if len(take_bytes(value, what)) != size_bytes:
        raise Malformed(f"{what} has not {size_bytes} bytes")


@dataclass(frozen=True, slots=True)
class End:
    """The sender has nothing more to say in this exchange."""


Message: TypeAlias = (
    Offer
    | Ask
    | Fetch
    | Want
    | Block
    | Missing
    | Have
    | Refuse
    | Progress
    | Invited
    | AskNotices
    | Notices
    | HandAppeal
    | AskExport
    | Challenge
    | Proof
    | End
    | MemberMessage
)
_Fields: TypeAlias = dict[str, object]


def _decode_want(found: _Fields) -> Want:
    cids = take_list(found["cids"], "cids", WANT_MAX_CIDS)
    return Want(tuple(Cid(take_bytes(cid, "cid")) for cid in cids))


def _decode_notices(found: _Fields) -> Notices:
    notices = take_list(found["notices"], "notices", NOTICES_MAX)
    return Notices(tuple(take_bytes(notice, "notice", NOTICE_MAX_BYTES) for notice in notices))


# type on the wire: (class, field names, decoder of the fields)
_Decoder: TypeAlias = Callable[[_Fields], Message]
_TYPES: dict[str, tuple[type, frozenset[str], _Decoder]] = {
    "offer": (
        Offer,
        frozenset({"release"}),
        lambda f: Offer(SignedRelease.decode(take_bytes(f["release"], "release"))),
    ),
    "ask": (Ask, frozenset({"site"}), lambda f: Ask(take_site(f["site"]))),
    "fetch": (
        Fetch,
        frozenset({"site", "release_cid"}),
        lambda f: Fetch(take_site(f["site"]), take_own_cid(f["release_cid"], "release_cid")),
    ),
    "want": (Want, frozenset({"cids"}), _decode_want),
    "missing": (Missing, frozenset({"cid"}), lambda f: Missing(take_own_cid(f["cid"], "cid"))),
    "have": (
        Have,
        frozenset({"site", "seq", "new_blocks", "new_bytes"}),
        lambda f: Have(
            take_site(f["site"]),
            take_int(f["seq"], "seq"),
            take_int(f["new_blocks"], "new_blocks"),
            take_int(f["new_bytes"], "new_bytes"),
        ),
    ),
    "refuse": (
        Refuse,
        frozenset({"code", "reason", "subject"}),
        lambda f: Refuse(
            take_str(f["code"], "code"),
            take_str(f["reason"], "reason"),
            take_bytes(f["subject"], "subject"),
        ),
    ),
    "progress": (
        Progress,
        frozenset({"done_bytes", "total_bytes", "new_bytes"}),
        lambda f: Progress(
            take_int(f["done_bytes"], "done_bytes"),
            take_int(f["total_bytes"], "total_bytes"),
            take_int(f["new_bytes"], "new_bytes"),
        ),
    ),
    "invited": (Invited, frozenset({"secret"}), lambda f: Invited(take_bytes(f["secret"], "secret"))),
    "ask-notices": (AskNotices, frozenset({"site"}), lambda f: AskNotices(take_site(f["site"]))),
    "notices": (Notices, frozenset({"notices"}), _decode_notices),
    "appeal": (HandAppeal, frozenset({"appeal"}), lambda f: HandAppeal(take_bytes(f["appeal"], "appeal"))),
    "ask-export": (AskExport, frozenset({"site"}), lambda f: AskExport(take_site(f["site"]))),
    "challenge": (Challenge, frozenset({"nonce"}), lambda f: Challenge(take_bytes(f["nonce"], "nonce"))),
    "proof": (Proof, frozenset({"signature"}), lambda f: Proof(take_bytes(f["signature"], "signature"))),
    "end": (End, frozenset(), lambda f: End()),
    **member_messages.TYPES,
}
_NAMES = {entry[0]: name for name, entry in _TYPES.items()}


def encode(message: Message) -> bytes:
    """The body of a message frame; ValueError for Block, which has a frame kind of its own (frames.py)."""
    if isinstance(message, Block):
        raise ValueError("a block has no message form")
    name = _NAMES[type(message)]
    fields: dict[str, canonical.Packable] = {"type": name}
    for key in _TYPES[name][1]:
        value = getattr(message, key)
        fields[key] = value.encode() if isinstance(value, SignedRelease | SignedStatement) else value
    return canonical.pack(fields)


def decode_message(kind: int, body: bytes) -> Message:
    """The message of a frame, an Offer's signature checked, a block's hash not. Raises DecodeError."""
    if kind == Kind.BLOCK:
        return Block(Cid(body[:CID_BYTES]), body[CID_BYTES:])
    if kind != Kind.MESSAGE:
        raise UnknownType(f"frame kind {kind}")
    found = canonical.unpack(body, max_bytes=MESSAGE_MAX_BYTES)
    if not isinstance(found, dict) or not isinstance(name := found.pop("type", None), str):
        raise Malformed("a message is a map with its type")
    if name not in _TYPES:
        raise UnknownType(f"message type {ascii(name)[:40]}")
    _, keys, decoder = _TYPES[name]
    return decoder(take_map(found, name, keys))
