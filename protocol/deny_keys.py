"""What rules of denylists are looked up by (IPIP-383; docs/spec/policy.md, "Looking up").

Every rule, plain or hashed, is found under 16-byte keys, so that a list is one sorted table however its rules are
written: a plain rule under the hash that its double-hashed form would have, a prefix under a hash of its own. A
question is what somebody asks about, with the keys of all rules that could be meant.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import blake3

from protocol import multibase, varint
from protocol.cid import BLAKE2B_256, BLAKE3, DAG_PB, LIBP2P_KEY, RAW, SHA2_256, SHA2_512, Cid
from protocol.denylist import CidPath, HashTarget, NamePath, PeerTarget, Target, format_target, parse_name
from protocol.errors import Malformed, UnsupportedHash
from protocol.limits import RULE_PATH_MAX_CHARS
from protocol.site_id import SiteId

KEY_BYTES: Final = 16

_EMPTY_CIDS = (
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",  # no bytes
    "bafkqaaa",  # no bytes, inlined
    "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",  # empty UnixFS file
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",  # empty UnixFS folder
    "bafyaabakaieac",  # the same, inlined
    "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",  # empty DAG-CBOR map
    "baguqeeraiqjw7i2vwntyuekgvulpp2det2kpwt6cd7tx5ayqybqpmhfk76fa",  # empty DAG-JSON map
)
NEVER_BLOCKED: Final = frozenset(Cid.from_text(text).multihash for text in _EMPTY_CIDS)
"""The empty file and the empty folder, by multihash: they are part of countless sites, so no rule may name them."""

OTHER_HASHES: Final = {
    SHA2_512: 64,
    BLAKE2B_256: 32,
    BLAKE3: 32,
}
"""Functions of double-hashed rules beside SHA2-256, with the length of their digests in bytes."""


def text_key(text: str) -> bytes:
    """Of a rule's text as double-hashing takes it."""
    return hashlib.sha256(text.encode()).digest()[:KEY_BYTES]


def prefix_key(base: str, prefix: str) -> bytes:
    return text_key(f"*{base}/{prefix}")


def marker_key(base: str) -> bytes:
    """Says that there are rules on prefixes under `base`."""
    return text_key(f"**{base}")


def other_key(multihash: bytes) -> bytes:
    """Of a double-hashed rule with another function than SHA2-256."""
    return hashlib.sha256(b"#" + multihash).digest()[:KEY_BYTES]


def rule_keys(target: Target) -> list[bytes]:
    """The keys that a rule is found under. UnsupportedHash: nobody could find it."""
    if isinstance(target, HashTarget):
        return _hash_keys(target)
    if isinstance(target, SiteId):
        return [text_key(key_text(target))]
    if isinstance(target, PeerTarget):
        return [text_key(format_target(target))]
    base = _base58(target.multihash) if isinstance(target, CidPath) else key_text(target.name)
    if target.is_prefix:
        return [prefix_key(base, target.path), marker_key(base)]
    return [text_key(f"{base}/{target.path}" if target.path else base)]


def _hash_keys(target: HashTarget) -> list[bytes]:
    keys = [] if target.legacy is None else [target.legacy[:KEY_BYTES]]
    if target.multihash is not None:
        code, offset = varint.decode(target.multihash)
        length, offset = varint.decode(target.multihash, offset)
        if code == SHA2_256 and length == 32:
            keys.append(target.multihash[offset : offset + KEY_BYTES])
        elif OTHER_HASHES.get(code) == length:
            keys.append(other_key(target.multihash))
        elif not keys:
            raise UnsupportedHash(f"hash function 0x{code:x} with {length} bytes is not supported in rules")
    return keys


@dataclass(frozen=True, slots=True)
class Question:
    """Is there a rule on this? base: what is hashed for its name or CID; legacy: the same in the older generation,
    once for each codec that the content may be asked for with. path: below it, decoded, without outer slashes."""

    base: str
    legacy: tuple[str, ...]
    path: str = ""

    def texts(self, *, wide: bool) -> list[str]:
        """What may be hashed in a rule on it; wide: also in a rule on the whole that it is part of."""
        tails = ["", self.path] if wide and self.path else [self.path]
        return [
            text
            for tail in tails
            for text in (f"{self.base}/{tail}" if tail else self.base, *(f"{name}/{tail}" for name in self.legacy))
        ]

    def keys(self, *, wide: bool = True) -> tuple[bytes, ...]:
        """Of all rules but prefixes and those under other hash functions."""
        return _keys(self, wide)

    def other_keys(self, code: int, *, wide: bool = True) -> Iterator[bytes]:
        """Of rules under another hash function (OTHER_HASHES); these have no older generation."""
        for text in (self.base, f"{self.base}/{self.path}") if self.path and wide else (self._whole(),):
            yield other_key(varint.encode(code) + varint.encode(OTHER_HASHES[code]) + _digest(code, text.encode()))

    def prefix_keys(self) -> Iterator[bytes]:
        """Of rules on prefixes, longest last; only to be asked when the marker is there."""
        for length in range(min(len(self.path), RULE_PATH_MAX_CHARS) + 1):
            yield prefix_key(self.base, self.path[:length])

    @property
    def marker(self) -> bytes:
        return _marker(self.base)

    def _whole(self) -> str:
        return f"{self.base}/{self.path}" if self.path else self.base


@lru_cache(maxsize=4096)
def _keys(question: Question, wide: bool) -> tuple[bytes, ...]:
    return tuple(map(text_key, question.texts(wide=wide)))


_marker = lru_cache(maxsize=4096)(marker_key)


def cid_question(cid: Cid, path: str = "") -> Question | None:
    """About content; None for what no rule may name (NEVER_BLOCKED)."""
    return _cid_question(cid.multihash, cid.codec, path)


@lru_cache(maxsize=4096)
def _cid_question(multihash: bytes, codec: int, path: str) -> Question | None:
    if multihash in NEVER_BLOCKED:
        return None
    # A rule of the older generation names one codec; the same bytes are content under others, too.
    codecs = dict.fromkeys((codec, DAG_PB, RAW))
    legacy = (multibase.encode("base32", b"\x01" + varint.encode(each) + multihash) for each in codecs)
    return Question(_base58(multihash), tuple(legacy), path)


@lru_cache(maxsize=4096)
def name_question(name: SiteId | str | bytes, path: str = "") -> Question:
    """About an IPNS name: a site, a domain or another key."""
    if isinstance(name, str):
        return Question(key_text(name), (name,), path)
    multihash = name.cid.multihash if isinstance(name, SiteId) else name
    key = multibase.encode("base32", b"\x01" + varint.encode(LIBP2P_KEY) + multihash)
    return Question(key_text(name), (key,), path)


@lru_cache(maxsize=4096)
def peer_question(peer: str) -> Question:
    """About a node, by its peer id in base58."""
    return Question(f"/p2p/{peer}", ())


def path_question(text: str) -> Question | None:
    """About `/ipfs/CID[/PATH]` or `/ipns/NAME[/PATH]`. Raises DecodeError; None as cid_question."""
    match text.split("/", 3):
        case ["", "ipfs", cid, *path]:
            return cid_question(Cid.from_text(cid), unquote("".join(path)).strip("/"))
        case ["", "ipns", name, *path]:
            return name_question(parse_name(name), unquote("".join(path)).strip("/"))
    raise Malformed("no path of the form /ipfs/CID or /ipns/NAME")


def key_text(name: SiteId | str | bytes) -> str:
    """What is hashed for an IPNS name (IPIP-383): the base58 multihash of a key, `/ipns/` and the domain."""
    if isinstance(name, str):
        return f"/ipns/{name}"
    return _base58(name.cid.multihash if isinstance(name, SiteId) else name)


def _base58(raw: bytes) -> str:
    return multibase.encode_bare("base58btc", raw)


def _digest(code: int, data: bytes) -> bytes:
    if code == SHA2_512:
        return hashlib.sha512(data).digest()
    if code == BLAKE2B_256:
        return hashlib.blake2b(data, digest_size=32).digest()
    return blake3.blake3(data).digest()


__all__ = ["NamePath", "Question", "cid_question", "name_question", "path_question", "peer_question", "rule_keys"]
