"""What a node tells a publisher of a refusal, and what the publisher answers: notices, appeals, and proofs for exports
(docs/spec/notice.md)."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias, cast, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical, envelope, signing
from protocol.errors import Malformed, UnknownVersion, WrongSite
from protocol.limits import (
    APPEAL_MAX_BYTES,
    APPEAL_TEXT_MAX_CHARS,
    CREATED_MAX_S,
    EXPORT_NONCE_BYTES,
    NOTICE_CONTACT_MAX_CHARS,
    NOTICE_MAX_BYTES,
    NOTICE_RULE_MAX_CHARS,
    REASON_MAX_CHARS,
    SEQ_MAX,
)
from protocol.plain import is_plain_line
from protocol.schema import take_int, take_map, take_site, take_str
from protocol.site_id import SiteId

VERSION: Final = 1
NOTICE_DOMAIN: Final = b"fednode/notice/1"
APPEAL_DOMAIN: Final = b"fednode/appeal/1"
EXPORT_DOMAIN: Final = b"fednode/export-proof/1"

NoticeKind: TypeAlias = Literal["refusal", "lifted", "upheld"]

# An appeal may have several lines.
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Notice:
    """What a node tells the publisher of a site.

    kind: `refusal`, or how one ended: `lifted`; `upheld`: an appeal was heard, and the refusal stays. verdict, ground:
    "" when lifted. rule, reason: "" where they are kept secret. list_name: the list whose rule it is. entry: of the
    node's decision log. effective_s: since when, or from when on, the node refuses. keep_until_s: until when, at the
    least, the publisher can fetch the site; None: it cannot. refers: the number of the notice that this one follows.
    contact: how else to reach the operator. Times are Unix seconds.
    """

    node: SiteId
    site: SiteId
    number: int
    kind: NoticeKind
    verdict: str
    ground: str
    reason: str
    rule: str
    list_name: str | None
    entry: int | None
    issued_s: int
    effective_s: int
    keep_until_s: int | None
    contact: str
    refers: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoticeKind):
            raise Malformed("a notice of no known kind")
        lifted = self.kind == "lifted"
        if self.verdict not in (("",) if lifted else ("refuse", "quarantine")):
            raise Malformed("a notice whose verdict does not fit its kind")
        if self.ground not in (("",) if lifted else ("policy", "legal")):
            raise Malformed("a notice whose ground does not fit its kind")
        take_site(self.node, "node")
        take_site(self.site)
        take_int(self.number, "number", 1, SEQ_MAX)
        _take_plain(self.reason, "reason", REASON_MAX_CHARS)
        _take_plain(self.rule, "rule", NOTICE_RULE_MAX_CHARS)
        _take_plain(self.contact, "contact", NOTICE_CONTACT_MAX_CHARS)
        if self.list_name is not None:
            _take_plain(self.list_name, "list", NOTICE_RULE_MAX_CHARS)
        for name in ("issued_s", "effective_s"):
            take_int(getattr(self, name), name, 0, CREATED_MAX_S)
        if self.keep_until_s is not None:
            take_int(self.keep_until_s, "keep_until_s", 0, CREATED_MAX_S)
        if self.entry is not None:
            take_int(self.entry, "entry", 0, SEQ_MAX)
        if self.refers is not None:
            take_int(self.refers, "refers", 1, SEQ_MAX)

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return canonical.pack(
            {
                "contact": self.contact,
                "effective_s": self.effective_s,
                "entry": self.entry,
                "ground": self.ground,
                "issued_s": self.issued_s,
                "keep_until_s": self.keep_until_s,
                "kind": self.kind,
                "list": self.list_name,
                "node": bytes(self.node),
                "number": self.number,
                "reason": self.reason,
                "refers": self.refers,
                "rule": self.rule,
                "site": bytes(self.site),
                "v": VERSION,
                "verdict": self.verdict,
            }
        )


@dataclass(frozen=True, slots=True)
class SignedNotice:
    """A notice and the node's signature, which `decode` has checked."""

    notice: Notice
    signature: bytes

    def encode(self) -> bytes:
        """Canonical msgpack [1, payload, signature]."""
        return envelope.wrap(self.notice.encode(), self.signature)

    @classmethod
    def decode(cls, raw: bytes) -> "SignedNotice":
        """Raises DecodeError; BadSignature unless the node named in it signed it."""
        payload, signature = envelope.unwrap(raw, max_bytes=NOTICE_MAX_BYTES, what="notice")
        found = _record(payload, NOTICE_MAX_BYTES, "notice", _NOTICE_KEYS)
        notice = Notice(
            node=take_site(found["node"], "node"),
            site=take_site(found["site"]),
            number=take_int(found["number"], "number", 1, SEQ_MAX),
            kind=cast(NoticeKind, take_str(found["kind"], "kind", 16)),
            verdict=take_str(found["verdict"], "verdict", 16),
            ground=take_str(found["ground"], "ground", 16),
            reason=take_str(found["reason"], "reason"),
            rule=take_str(found["rule"], "rule"),
            list_name=None if found["list"] is None else take_str(found["list"], "list"),
            entry=_int_or_none(found["entry"], "entry"),
            issued_s=take_int(found["issued_s"], "issued_s"),
            effective_s=take_int(found["effective_s"], "effective_s"),
            keep_until_s=_int_or_none(found["keep_until_s"], "keep_until_s"),
            contact=take_str(found["contact"], "contact"),
            refers=_int_or_none(found["refers"], "refers"),
        )
        signing.verify(notice.node, NOTICE_DOMAIN, payload, signature)
        return cls(notice, signature)


def sign_notice(notice: Notice, key: Ed25519PrivateKey) -> SignedNotice:
    """Signs with the node's key. WrongSite when the notice is another node's."""
    if SiteId.of(key) != notice.node:
        raise WrongSite("the key is not that of the node in the notice")
    return SignedNotice(notice, signing.sign(key, NOTICE_DOMAIN, notice.encode()))


@dataclass(frozen=True, slots=True)
class Appeal:
    """A publisher's answer to one notice of one node: it says nothing to another node, or about another notice."""

    node: SiteId
    site: SiteId
    notice: int
    text: str
    contact: str
    made_s: int

    def __post_init__(self) -> None:
        take_site(self.node, "node")
        take_site(self.site)
        take_int(self.notice, "notice", 1, SEQ_MAX)
        take_int(self.made_s, "made_s", 0, CREATED_MAX_S)
        _take_plain(self.contact, "contact", NOTICE_CONTACT_MAX_CHARS)
        if not take_str(self.text, "text", APPEAL_TEXT_MAX_CHARS).strip() or _NOT_TEXT.search(self.text):
            raise Malformed("an appeal is plain text, and says something")

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return canonical.pack(
            {
                "contact": self.contact,
                "made_s": self.made_s,
                "node": bytes(self.node),
                "notice": self.notice,
                "site": bytes(self.site),
                "text": self.text,
                "v": VERSION,
            }
        )


@dataclass(frozen=True, slots=True)
class SignedAppeal:
    """An appeal and the signature of the site's key, which `decode` has checked."""

    appeal: Appeal
    signature: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the signed bytes: what is handed in twice is one appeal."""
        return sha256(self.appeal.encode()).digest()

    def encode(self) -> bytes:
        """Canonical msgpack [1, payload, signature]."""
        return envelope.wrap(self.appeal.encode(), self.signature)

    @classmethod
    def decode(cls, raw: bytes) -> "SignedAppeal":
        """Raises DecodeError; BadSignature unless the site's key signed it."""
        payload, signature = envelope.unwrap(raw, max_bytes=APPEAL_MAX_BYTES, what="appeal")
        found = _record(payload, APPEAL_MAX_BYTES, "appeal", _APPEAL_KEYS)
        appeal = Appeal(
            node=take_site(found["node"], "node"),
            site=take_site(found["site"]),
            notice=take_int(found["notice"], "notice", 1, SEQ_MAX),
            text=take_str(found["text"], "text"),
            contact=take_str(found["contact"], "contact"),
            made_s=take_int(found["made_s"], "made_s"),
        )
        signing.verify(appeal.site, APPEAL_DOMAIN, payload, signature)
        return cls(appeal, signature)


def sign_appeal(appeal: Appeal, key: Ed25519PrivateKey) -> SignedAppeal:
    """Signs with the site's key. WrongSite when the appeal is about another site."""
    if SiteId.of(key) != appeal.site:
        raise WrongSite("the key is not that of the site in the appeal")
    return SignedAppeal(appeal, signing.sign(key, APPEAL_DOMAIN, appeal.encode()))


def prove_export(key: Ed25519PrivateKey, node: SiteId, nonce: bytes) -> bytes:
    """The signature that shows a node that asked with `nonce` that the site's key is here."""
    return signing.sign(key, EXPORT_DOMAIN, _export_payload(node, SiteId.of(key), nonce))


def check_export_proof(site: SiteId, node: SiteId, nonce: bytes, signature: bytes) -> None:
    """Raises BadSignature unless the key of `site` answered this node's nonce."""
    signing.verify(site, EXPORT_DOMAIN, _export_payload(node, site, nonce), signature)


def _export_payload(node: SiteId, site: SiteId, nonce: bytes) -> bytes:
    if len(nonce) != EXPORT_NONCE_BYTES:
        raise Malformed(f"a nonce has {EXPORT_NONCE_BYTES} bytes")
    return canonical.pack({"node": bytes(node), "nonce": nonce, "site": bytes(site), "v": VERSION})


_NOTICE_KEYS = frozenset(
    ["contact", "effective_s", "entry", "ground", "issued_s", "keep_until_s", "kind", "list", "node", "number",
     "reason", "refers", "rule", "site", "v", "verdict"]
)  # fmt: skip
_APPEAL_KEYS = frozenset(["contact", "made_s", "node", "notice", "site", "text", "v"])


def _record(payload: bytes, max_bytes: int, what: str, keys: frozenset[str]) -> dict[str, object]:
    value = canonical.unpack(payload, max_bytes=max_bytes)
    found = take_map(value, what, keys)
    if found["v"] != VERSION or found["v"] is True:
        raise UnknownVersion(f"a {what} of another version")
    return found


def _int_or_none(value: object, what: str) -> int | None:
    return None if value is None else take_int(value, what)


def _take_plain(value: str, what: str, max_chars: int) -> None:
    if not is_plain_line(take_str(value, what, max_chars)):
        raise Malformed(f"{what} is not one line of plain text")
