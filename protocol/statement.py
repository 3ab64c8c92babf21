"""Statements: what a node says of itself and of the sites that it holds (docs/spec/membership.md, 2)."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical, envelope, signing
from protocol.errors import Malformed, UnknownVersion, WrongSite
from protocol.limits import (
    CREATED_MAX_S,
    STATEMENT_ADDRESS_MAX_CHARS,
    STATEMENT_ADDRESSES_MAX,
    STATEMENT_LIST_BYTES,
    STATEMENT_LISTS_MAX,
    STATEMENT_MAX_BYTES,
    STATEMENT_TEXT_MAX_CHARS,
)
from protocol.plain import is_plain_line
from protocol.schema import take_bytes, take_int, take_list, take_map, take_site, take_str
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId

VERSION: Final = 1
SIGNING_DOMAIN: Final = b"fednode/statement/1"

_ADDRESS = re.compile(r"/[\x21-\x7e]*")


class Takes(StrEnum):
    """Which sites of others a node takes."""

    OPEN = "open"
    FOLLOWED = "followed"
    NONE = "none"
    LEAVING = "leaving"
    """None any more, and those that it holds must not be counted on."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one node states. Constructing one raises Malformed or OverLimit for an invalid field.

    node: its public key, the one of its peer id. made_s: Unix time; of two statements the later counts.
    addresses: multiaddrs without the peer id. operator, region: as the operator words them, or "".
    room_bytes: what it could still take. lists: digests of the lists that it enforces, ascending.
    sites: how many it holds, and `holdings` which.
    """

    node: SiteId
    made_s: int
    addresses: tuple[str, ...]
    takes: Takes
    room_bytes: int
    sites: int
    holdings: SiteFilter = field(repr=False)
    operator: str = ""
    region: str = ""
    lists: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        take_site(self.node, "node")
        take_int(self.made_s, "made_s", 0, CREATED_MAX_S)
        take_list(list(self.addresses), "addresses", STATEMENT_ADDRESSES_MAX)
        for address in self.addresses:
            if not _ADDRESS.fullmatch(take_str(address, "address", STATEMENT_ADDRESS_MAX_CHARS)):
                raise Malformed("an address is no multiaddr")
        take_int(self.room_bytes, "room_bytes")
        take_int(self.sites, "sites")
        for what, text in (("operator", self.operator), ("region", self.region)):
            if not is_plain_line(take_str(text, what, STATEMENT_TEXT_MAX_CHARS)):
                raise Malformed(f"{what} is one line of plain text")
        take_list(list(self.lists), "lists", STATEMENT_LISTS_MAX)
        if any(len(digest) != STATEMENT_LIST_BYTES for digest in self.lists):
            raise Malformed(f"the digest of a list has {STATEMENT_LIST_BYTES} bytes")
        if list(self.lists) != sorted(set(self.lists)):
            raise Malformed("the lists are not in order")

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return canonical.pack(
            {
                "addresses": self.addresses,
                "holdings": bytes(self.holdings),
                "lists": self.lists,
                "made_s": self.made_s,
                "node": bytes(self.node),
                "operator": self.operator,
                "region": self.region,
                "room_bytes": self.room_bytes,
                "sites": self.sites,
                "takes": str(self.takes),
                "v": VERSION,
            }
        )


_KEYS = frozenset(
    ["addresses", "holdings", "lists", "made_s", "node", "operator", "region", "room_bytes", "sites", "takes", "v"]
)
_TAKES = {str(word): word for word in Takes}


def _read(payload: bytes) -> Statement:
    value = canonical.unpack(payload, max_bytes=STATEMENT_MAX_BYTES)
    if isinstance(value, dict) and value.get("v", VERSION) != VERSION:
        raise UnknownVersion(f"statement version {ascii(value['v'])[:20]}")
    found = take_map(value, "statement", _KEYS)
    takes = _TAKES.get(take_str(found["takes"], "takes"))
    if takes is None:
        raise Malformed("takes is none of the known words")
    addresses = take_list(found["addresses"], "addresses", STATEMENT_ADDRESSES_MAX)
    lists = take_list(found["lists"], "lists", STATEMENT_LISTS_MAX)
    return Statement(
        node=take_site(found["node"], "node"),
        made_s=take_int(found["made_s"], "made_s"),
        addresses=tuple(take_str(address, "address") for address in addresses),
        takes=takes,
        room_bytes=take_int(found["room_bytes"], "room_bytes"),
        sites=take_int(found["sites"], "sites"),
        holdings=SiteFilter.from_bytes(take_bytes(found["holdings"], "holdings")),
        operator=take_str(found["operator"], "operator"),
        region=take_str(found["region"], "region"),
        lists=tuple(take_bytes(digest, "list") for digest in lists),
    )


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement and its signature, which `decode` has checked."""

    statement: Statement
    signature: bytes = field(repr=False)

    @property
    def node(self) -> SiteId:
        return self.statement.node

    @property
    def made_s(self) -> int:
        return self.statement.made_s

    def encode(self) -> bytes:
        """Canonical msgpack [1, payload, signature]."""
        return envelope.wrap(self.statement.encode(), self.signature)

    @classmethod
    def decode(cls, raw: bytes) -> "SignedStatement":
        """Raises DecodeError; BadSignature unless the node that it is of signed it."""
        payload, signature = envelope.unwrap(raw, max_bytes=STATEMENT_MAX_BYTES, what="statement")
        statement = _read(payload)
        signing.verify(statement.node, SIGNING_DOMAIN, payload, signature)
        return cls(statement, signature)


def sign_statement(statement: Statement, private_key: Ed25519PrivateKey) -> SignedStatement:
    """Raises WrongSite if the key is not the node's."""
    if SiteId.of(private_key) != statement.node:
        raise WrongSite("the key is not that of the node in the statement")
    return SignedStatement(statement, signing.sign(private_key, SIGNING_DOMAIN, statement.encode()))
