"""Entries and signed heads of a node's decision log (docs/spec/log.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias, cast, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical, envelope, signing
from protocol.errors import Malformed, UnknownVersion
from protocol.limits import CREATED_MAX_S, SEQ_MAX
from protocol.merkle import HASH_BYTES
from protocol.site_id import SiteId

VERSION: Final = 1
HEAD_DOMAIN: Final = b"fednode/log-head/1"
SALT_BYTES: Final = 16
ENTRY_MAX_BYTES: Final = 8192  # a list's name, the longest part, has at most 4096 characters, which are mostly ASCII
HEAD_MAX_BYTES: Final = 512
COUNT_MAX: Final = 2**32

Act: TypeAlias = Literal[
    "rule-added",
    "rule-removed",
    "list-added",
    "list-applied",
    "list-removed",
    "site-dropped",
    "site-followed",
    "site-unfollowed",
    "report-decided",
    "notice-given",
    "notice-lifted",
    "appeal-received",
    "appeal-decided",
]
SealedName: TypeAlias = Literal["note", "reason", "target"]
SEALED: Final[tuple[SealedName, ...]] = ("note", "reason", "target")

_SEAL_PREFIX = "fednode/log-sealed/1"


def seal(name: SealedName, salt: bytes, text: str) -> bytes:
    """What stands in an entry for a text: it says nothing without the salt, and fits no other text with it."""
    return sha256(canonical.pack([_SEAL_PREFIX, name, salt, text])).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision. sealed: see `seal`; a name that is missing has no text. refers: the number of an earlier entry,
    that this one ends, replaces or tells of. list_digest: SHA-256 over the list's rules. verdict, ground: "" where none
    is given.
    """

    number: int
    time_s: int
    act: Act
    verdict: str = ""
    ground: str = ""
    list_name: str | None = None
    list_digest: bytes | None = None
    list_rules: int | None = None
    refers: int | None = None
    sealed: tuple[tuple[SealedName, bytes], ...] = ()

    def encode(self) -> bytes:
        """The bytes that are hashed."""
        return canonical.pack(
            {
                "act": self.act,
                "ground": self.ground,
                "list": self.list_name,
                "list_digest": self.list_digest,
                "list_rules": self.list_rules,
                "number": self.number,
                "refers": self.refers,
                "sealed": {str(name): digest for name, digest in self.sealed},
                "time_s": self.time_s,
                "v": VERSION,
                "verdict": self.verdict,
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> "Entry":
        """Raises DecodeError."""
        value = _fields(canonical.unpack(raw, max_bytes=ENTRY_MAX_BYTES), _ENTRY_KEYS)
        act, list_name = value["act"], value["list"]
        if act not in get_args(Act):
            raise Malformed("an act that is none")
        if list_name is not None and not isinstance(list_name, str):
            raise Malformed("list is no text")
        digest = value["list_digest"]
        refers, rules = value["refers"], value["list_rules"]
        return cls(
            number=_int(value["number"], SEQ_MAX),
            time_s=_int(value["time_s"], CREATED_MAX_S),
            act=cast(Act, act),
            verdict=_choice(value["verdict"], ("", "allow", "quarantine", "refuse", "dismiss")),
            ground=_choice(value["ground"], ("", "policy", "legal")),
            list_name=list_name,
            list_digest=None if digest is None else _hash(digest),
            list_rules=None if rules is None else _int(rules, COUNT_MAX),
            refers=None if refers is None else _int(refers, SEQ_MAX),
            sealed=_sealed(value["sealed"]),
        )

    def opens(self, name: SealedName, salt: bytes, text: str) -> bool:
        """Whether the text is what the entry was made of."""
        return dict(self.sealed).get(name) == seal(name, salt, text)


@dataclass(frozen=True, slots=True)
class LogHead:
    """What a node says of its log: so many entries, this root. key: the node's public key."""

    key: SiteId
    size: int
    root: bytes
    time_s: int

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return canonical.pack(
            {"key": bytes(self.key), "root": self.root, "size": self.size, "time_s": self.time_s, "v": VERSION}
        )


@dataclass(frozen=True, slots=True)
class SignedLogHead:
    """A head and its signature, which `decode` has checked."""

    head: LogHead
    signature: bytes

    def encode(self) -> bytes:
        """Canonical msgpack [1, payload, signature]."""
        return envelope.wrap(self.head.encode(), self.signature)

    @classmethod
    def decode(cls, raw: bytes) -> "SignedLogHead":
        """Raises DecodeError; BadSignature unless the key in it signed it."""
        payload, signature = envelope.unwrap(raw, max_bytes=HEAD_MAX_BYTES, what="log head")
        value = _fields(canonical.unpack(payload, max_bytes=HEAD_MAX_BYTES), _HEAD_KEYS)
        key = value["key"]
        if not isinstance(key, bytes):
            raise Malformed("key is no byte string")
        site = SiteId.from_public_bytes(key)
        signing.verify(site, HEAD_DOMAIN, payload, signature)
        size, time_s = _int(value["size"], SEQ_MAX), _int(value["time_s"], CREATED_MAX_S)
        return cls(LogHead(site, size, _hash(value["root"]), time_s), signature)


def sign_head(head: LogHead, key: Ed25519PrivateKey) -> SignedLogHead:
    """Signs with the node's key."""
    return SignedLogHead(head, signing.sign(key, HEAD_DOMAIN, head.encode()))


_ENTRY_KEYS = frozenset(
    ["act", "ground", "list", "list_digest", "list_rules", "number", "refers", "sealed", "time_s", "v", "verdict"]
)
_HEAD_KEYS = frozenset(["key", "root", "size", "time_s", "v"])


def _fields(value: canonical.Value, keys: frozenset[str]) -> Mapping[str, canonical.Value]:
    if not isinstance(value, dict) or value.keys() != keys:
        raise Malformed("not the fields of an entry or head of a log")
    if value["v"] != VERSION or value["v"] is True:
        raise UnknownVersion("a log of another version")
    return value


def _int(value: canonical.Value, largest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        raise Malformed("a number that is none, or too large")
    return value


def _choice(value: canonical.Value, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise Malformed(f"not one of {', '.join(filter(None, allowed))}")
    return value


def _hash(value: canonical.Value) -> bytes:
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        raise Malformed("not a hash")
    return value


def _sealed(value: canonical.Value) -> tuple[tuple[SealedName, bytes], ...]:
    if not isinstance(value, dict) or not value.keys() <= set(SEALED):
        raise Malformed("sealed texts that an entry has not")
    return tuple((name, _hash(value[name])) for name in SEALED if name in value)
