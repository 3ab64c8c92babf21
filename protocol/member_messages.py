"""Messages by which nodes know of each other and of their copies (docs/spec/membership.md, 9)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from protocol.audit import NONCE_BYTES, PROOF_BYTES
from protocol.cid import Cid
from protocol.errors import Malformed, OverLimit
from protocol.limits import AUDIT_BLOCKS_MAX, CREATED_MAX_S, LISTING_MAX_ENTRIES, SEQ_MAX, STATEMENT_MAX_BYTES
from protocol.release import SignedRelease
from protocol.schema import take_bool, take_bytes, take_int, take_list, take_own_cid, take_site, take_str
from protocol.site_id import SiteId
from protocol.statement import SignedStatement
from protocol.summary import TAG_BYTES, Entry, check_sums

MEMBERS_PROTOCOL = "/fednode/members/1"
"""libp2p protocol by which nodes tell each other of members."""

AUDIT_PROTOCOL = "/fednode/audit/1"
"""libp2p protocol by which nodes prove to each other what they hold."""


class Of(StrEnum):
    """What a summary is of."""

    MEMBERS = "members"
    SITES = "sites"


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement, of the sender or of another node; its signature was checked."""

    statement: SignedStatement


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums of all buckets (protocol/summary.py). now_s: Unix time by the sender's clock."""

    of: Of
    sums: bytes = field(repr=False)
    now_s: int

    def __post_init__(self) -> None:
        check_sums(self.sums)
        take_int(self.now_s, "now_s", 0, CREATED_MAX_S)

    @property
    def buckets(self) -> int:
        return check_sums(self.sums)


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries of buckets that differ, one page; `done` on the last one."""

    of: Of
    entries: tuple[Entry, ...]
    done: bool

    def __post_init__(self) -> None:
        if len(self.entries) > LISTING_MAX_ENTRIES:
            raise OverLimit(f"{len(self.entries)} entries in one page, at most {LISTING_MAX_ENTRIES}")
        for entry in self.entries:
            take_site(entry.key, "key")
            take_int(entry.number, "number", 0, SEQ_MAX)
            if len(entry.tag) != TAG_BYTES:
                raise Malformed(f"a tag has {TAG_BYTES} bytes")
        if len({entry.key for entry in self.entries}) != len(self.entries):
            raise Malformed("a page names a key twice")


@dataclass(frozen=True, slots=True)
class Challenge:
    """Asks for proofs of blocks of one site that the receiver says it hosts; answered by Proofs."""

    nonce: bytes
    site: SiteId
    cids: tuple[Cid, ...]

    def __post_init__(self) -> None:
        if len(self.nonce) != NONCE_BYTES:
            raise Malformed(f"a nonce has {NONCE_BYTES} bytes")
        take_site(self.site)
        if not 1 <= len(self.cids) <= AUDIT_BLOCKS_MAX or len(set(self.cids)) != len(self.cids):
            raise Malformed(f"a challenge is for 1 to {AUDIT_BLOCKS_MAX} blocks, none twice")
        for cid in self.cids:
            take_own_cid(cid, "cid")


@dataclass(frozen=True, slots=True)
class Proofs:
    """Answers a Challenge: for each CID its proof, or nothing where the block is not there."""

    proofs: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.proofs) > AUDIT_BLOCKS_MAX or any(len(proof) not in (0, PROOF_BYTES) for proof in self.proofs):
            raise Malformed("proofs are 32 bytes or none, one for each block")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An Offer that says: and the site lacks hosts."""

    release: SignedRelease


MemberMessage: TypeAlias = Stated | Summary | Listing | Challenge | Proofs | Wanted
_Fields: TypeAlias = dict[str, object]


def _of(found: _Fields) -> Of:
    for word in Of:
        if word == take_str(found["of"], "of"):
            return word
    raise Malformed("a summary of nothing known")


def _listing(found: _Fields) -> Listing:
    entries = []
    for item in take_list(found["entries"], "entries", LISTING_MAX_ENTRIES):
        parts = take_list(item, "entry", 3)
        if len(parts) != 3:
            raise Malformed("an entry has a key, a number and a tag")
        entries.append(Entry(take_site(parts[0], "key"), take_int(parts[1], "number"), take_bytes(parts[2], "tag")))
    return Listing(_of(found), tuple(entries), take_bool(found["done"], "done"))


def _challenge(found: _Fields) -> Challenge:
    cids = take_list(found["cids"], "cids", AUDIT_BLOCKS_MAX)
    return Challenge(
        take_bytes(found["nonce"], "nonce"), take_site(found["site"]), tuple(take_own_cid(cid, "cid") for cid in cids)
    )


def _proofs(found: _Fields) -> Proofs:
    return Proofs(tuple(take_bytes(proof, "proof") for proof in take_list(found["proofs"], "proofs", AUDIT_BLOCKS_MAX)))


# type on the wire: (class, field names, decoder of the fields)
TYPES: dict[str, tuple[type, frozenset[str], Callable[[_Fields], MemberMessage]]] = {
    "statement": (
        Stated,
        frozenset({"statement"}),
        lambda f: Stated(SignedStatement.decode(take_bytes(f["statement"], "statement", STATEMENT_MAX_BYTES))),
    ),
    "summary": (
        Summary,
        frozenset({"of", "sums", "now_s"}),
        lambda f: Summary(_of(f), take_bytes(f["sums"], "sums"), take_int(f["now_s"], "now_s")),
    ),
    "listing": (Listing, frozenset({"of", "entries", "done"}), _listing),
    "audit": (Challenge, frozenset({"nonce", "site", "cids"}), _challenge),
    "wanted": (
        Wanted,
        frozenset({"release"}),
        lambda f: Wanted(SignedRelease.decode(take_bytes(f["release"], "release"))),
    ),
    "proofs": (Proofs, frozenset({"proofs"}), _proofs),
}
