"""Errors by who must act: the peer whose bytes or behaviour are wrong, or the operator. All else is a bug.

`code` is stable, kebab-case and part of the interface (JSON output, decision log, penalties); the message is
for people.
"""

from typing import ClassVar


class FednodeError(Exception):
    """Root of every error that fednode raises on purpose; `hint` says what its reader can do."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class PeerError(FednodeError):
    """The bytes or the behaviour of a peer, of a file or of a reader are at fault."""

    code: ClassVar[str] = "peer-error"


class OperatorError(FednodeError):
    """The operator or publisher must act; `exit_code` is the exit status of a command that ends on it."""

    code: ClassVar[str] = "operator-error"
    exit_code: ClassVar[int] = 1


class DecodeError(PeerError):
    """Bytes or text that a decoder refuses; `offset` is where in the input, when that helps (from 0)."""

    code: ClassVar[str] = "undecodable"

    def __init__(self, message: str = "", *, hint: str | None = None, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})", hint=hint)
        self.offset = offset


class Malformed(DecodeError):
    """Not of the expected shape: wrong type, missing or unknown field, value out of its range."""

    code: ClassVar[str] = "malformed"


class Truncated(DecodeError):
    """The input ends before the value does."""

    code: ClassVar[str] = "truncated"


class TrailingBytes(DecodeError):
    """The value is followed by bytes that do not belong to it."""

    code: ClassVar[str] = "trailing-bytes"


class NotCanonical(DecodeError):
    """The value has one permitted encoding and this is another one."""

    code: ClassVar[str] = "not-canonical"


class DuplicateKey(DecodeError):
    """A map names the same key twice."""

    code: ClassVar[str] = "duplicate-key"


class OverLimit(DecodeError):
    """Larger, longer, deeper or more than protocol/limits.py allows."""

    code: ClassVar[str] = "over-limit"


class UnknownVersion(DecodeError):
    """A version of the format that this program does not know."""

    code: ClassVar[str] = "unknown-version"


class UnknownType(DecodeError):
    """A frame kind or message type that this version of the protocol does not have."""

    code: ClassVar[str] = "unknown-type"


class UnsupportedHash(DecodeError):
    """A hash function, or a length of its digest, that fednode does not verify."""

    code: ClassVar[str] = "unsupported-hash"


class UnsupportedCodec(DecodeError):
    """A content codec that cannot stand in this place."""

    code: ClassVar[str] = "unsupported-codec"


class UnsupportedRule(DecodeError):
    """A denylist rule of a kind that is valid but not acted upon yet."""

    code: ClassVar[str] = "unsupported-rule"


class HashMismatch(DecodeError):
    """The bytes are not those that the CID names."""

    code: ClassVar[str] = "hash-mismatch"


class BadSignature(DecodeError):
    """The signature was not made by this key over these bytes."""

    code: ClassVar[str] = "bad-signature"


class BadIpnsRecord(DecodeError):
    """The IPNS record of a release is not the one that this release has."""

    code: ClassVar[str] = "bad-ipns-record"


class WrongSite(DecodeError):
    """A valid record of another site, or a key that is not the site's."""

    code: ClassVar[str] = "wrong-site"


class StaleRelease(DecodeError):
    """A release whose sequence number is not above the one already known."""

    code: ClassVar[str] = "stale-release"
