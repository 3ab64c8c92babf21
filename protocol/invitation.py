"""Invitations: what an operator gives a publisher whose sites the node shall host (docs/spec/policy.md, "Invitations").

The text is a secret: whoever has it can use it. It names its node, so that no other node gets to see it.
"""

import hashlib
from typing import NamedTuple

from protocol import multibase
from protocol.errors import DecodeError, Malformed
from protocol.limits import INVITATION_SECRET_BYTES
from protocol.site_id import SiteId

PREFIX = "invite-"
NODE_BYTES = 8
"""Enough that no two nodes are mixed up; which node it is, the transport proves."""

_VERSION = 1


class Invitation(NamedTuple):
    """node: the first NODE_BYTES of the SHA-256 of the node's key."""

    node: bytes
    secret: bytes

    @classmethod
    def to(cls, node: SiteId, secret: bytes) -> "Invitation":
        """To the node with this key."""
        return cls(node_hint(node), secret)

    def __str__(self) -> str:
        return PREFIX + multibase.encode_bare("base32", bytes((_VERSION,)) + self.node + self.secret)

    def is_of(self, node: SiteId) -> bool:
        return self.node == node_hint(node)


def node_hint(node: SiteId) -> bytes:
    return hashlib.sha256(bytes(node)).digest()[:NODE_BYTES]


def parse_invitation(text: str) -> Invitation:
    """Raises Malformed for anything else than what str() gives, but for outer blanks and capitals."""
    bare = text.strip().lower()
    size = 1 + NODE_BYTES + INVITATION_SECRET_BYTES
    if not bare.startswith(PREFIX) or len(bare) > len(PREFIX) + 2 * size:
        raise Malformed(f"not an invitation: it begins with {PREFIX} and has one word")
    try:
        raw = multibase.decode_bare("base32", bare.removeprefix(PREFIX))
    except DecodeError as error:
        raise Malformed(f"not an invitation: {error}") from error
    if len(raw) != size or raw[0] != _VERSION:
        raise Malformed("not an invitation: a letter is missing or wrong")
    return Invitation(raw[1 : 1 + NODE_BYTES], raw[1 + NODE_BYTES :])
