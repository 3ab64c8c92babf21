"""Checks of decoded values: each returns its value with the type that was found, or raises."""

from protocol.cid import Cid
from protocol.errors import Malformed, OverLimit
from protocol.limits import MESSAGE_MAX_BYTES, SIZE_MAX_BYTES
from protocol.site_id import SiteId


def take_map(value: object, what: str, keys: frozenset[str]) -> dict[str, object]:
    """`value` if it is a map with exactly these keys. Raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not a map")
    if value.keys() != keys:
        wrong = ", ".join(sorted(ascii(key)[:40] for key in value.keys() ^ keys)[:3])
        raise Malformed(f"{what} has missing or unknown fields: {wrong}")
    return value


def take_list(value: object, what: str, max_items: int) -> list[object]:
    """`value` if it is an array of at most `max_items`. Raises Malformed or OverLimit."""
    if not isinstance(value, list):
        raise Malformed(f"{what} is not an array")
    if len(value) > max_items:
        raise OverLimit(f"{what} has {len(value)} entries, at most {max_items}")
    return value


def take_int(value: object, what: str, low: int = 0, high: int = SIZE_MAX_BYTES) -> int:
    """`value` if it is an integer with low ≤ value ≤ high. Raises Malformed or OverLimit (above high)."""
    if type(value) is not int or value < low:
        raise Malformed(f"{what} is not an integer of {low} or more")
    if value > high:
        raise OverLimit(f"{what} is {value}, at most {high}")
    return value


def take_bool(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise Malformed(f"{what} is not a boolean")
    return value


def take_str(value: object, what: str, max_chars: int = MESSAGE_MAX_BYTES) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{what} is not a string")
    if len(value) > max_chars:
        raise OverLimit(f"{what} has {len(value)} characters, at most {max_chars}")
    return value


def take_bytes(value: object, what: str, max_bytes: int = MESSAGE_MAX_BYTES) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed(f"{what} is not a byte string")
    if len(value) > max_bytes:
        raise OverLimit(f"{what} has {len(value)} bytes, at most {max_bytes}")
    return value


def take_site(value: object, what: str = "site") -> SiteId:
    if not isinstance(value, bytes):
        raise Malformed(f"{what} is not a byte string")
    return SiteId.from_public_bytes(value)


def take_own_cid(value: object, what: str) -> Cid:
    """A CID of the kind that sites are made of: version 1, raw or dag-pb, sha2-256. Raises Malformed."""
    if isinstance(value, bytes):
        cid = value if isinstance(value, Cid) else Cid(value)
        if cid.is_own_kind():
            return cid
    raise Malformed(f"{what} is not a CIDv1 of a raw or dag-pb block under sha2-256")
