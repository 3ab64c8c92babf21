"""What nodes and publishers sign beside releases, as it travels: canonical msgpack [1, payload, signature].

Used by docs/spec/membership.md, 2, docs/spec/log.md and docs/spec/notice.md.
"""

from typing import Final

from protocol import canonical
from protocol.errors import Malformed, UnknownVersion
from protocol.limits import SIGNATURE_BYTES

_VERSION: Final = 1


def wrap(payload: bytes, signature: bytes) -> bytes:
    return canonical.pack([_VERSION, payload, signature])


def unwrap(raw: bytes, *, max_bytes: int, what: str) -> tuple[bytes, bytes]:
    """Payload and signature, which is not checked here. what: for errors ("notice"). Raises DecodeError."""
    match canonical.unpack(raw, max_bytes=max_bytes):
        case [int(version), bytes(payload), bytes(signature)] if type(version) is int:
            pass
        case _:
            raise Malformed(f"not a signed {what}: an array of version, payload and signature")
    if version != _VERSION:
        raise UnknownVersion(f"{what} version {version}")
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed(f"a signature has {SIGNATURE_BYTES} bytes")
    return payload, signature
