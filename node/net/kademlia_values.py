"""IPNS records that the DHT keeps for others: only those that their name's key signed, the newest of each name.

Without I/O or clock. Other kinds of values (`/pk/…`) are not kept: nothing needs them any more.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from node.net.port import PeerId
from protocol.errors import DecodeError, PeerError
from protocol.ipns import IpnsRecord

NAME_PREFIX = b"/ipns/"


class StaleRecord(PeerError):
    """A newer record of the name is known."""

    code = "stale-record"


class NoRoom(PeerError):
    """The sender fills its share of the table."""

    code = "no-room"


def value_key(name: bytes) -> bytes:
    """The DHT key of an IPNS name, a multihash."""
    return NAME_PREFIX + name


def check_value(key: bytes, value: bytes, now_s: float) -> IpnsRecord:
    """The record, verified against the name in `key`. Raises PeerError."""
    if not key.startswith(NAME_PREFIX):
        raise DecodeError("a key that is no IPNS name")
    record = IpnsRecord.decode(value)
    if not record.is_valid_at(int(now_s * 1e9)):
        raise DecodeError("an IPNS record that has expired")
    record.verify(key[len(NAME_PREFIX) :])
    return record


@dataclass(slots=True)
class _Kept:
    record: IpnsRecord
    sender: PeerId
    expires_s: float


class ValueTable:
    """The newest record of each name, up to `records` of them and `per_sender` from one peer, but for the local one."""

    def __init__(self, local_peer: PeerId, *, records: int = 8192, per_sender: int = 1024) -> None:
        self._local_peer = local_peer
        self._records = records
        self._per_sender = per_sender
        self._by_key: OrderedDict[bytes, _Kept] = OrderedDict()  # the one that was put longest ago first
        self._counts: dict[PeerId, int] = {}

    def put(self, key: bytes, record: IpnsRecord, sender: PeerId, expires_s: float) -> None:
        """Takes a record that was checked. Raises StaleRecord for one that is older than what is known, NoRoom."""
        known = self._by_key.get(key)
        if known is not None and known.record.order > record.order:
            raise StaleRecord("a newer record of this name is known")
        is_one_more = sender != self._local_peer and (known is None or known.sender != sender)
        if is_one_more and self._counts.get(sender, 0) >= self._per_sender:
            raise NoRoom(f"{sender} has put {self._per_sender} records")
        if known is not None:
            self._remove(key)
        elif len(self._by_key) >= self._records:
            self._remove(next(iter(self._by_key)))
        self._by_key[key] = _Kept(record, sender, expires_s)
        self._counts[sender] = self._counts.get(sender, 0) + 1

    def get(self, key: bytes, now_s: float) -> bytes | None:
        """The record, if it is neither expired nor kept for too long."""
        kept = self._by_key.get(key)
        if kept is None or kept.expires_s <= now_s or not kept.record.is_valid_at(int(now_s * 1e9)):
            return None
        return kept.record.raw

    def expire(self, now_s: float) -> None:
        for key in [key for key in self._by_key if self.get(key, now_s) is None]:
            self._remove(key)

    def _remove(self, key: bytes) -> None:
        sender = self._by_key.pop(key).sender
        self._counts[sender] -= 1
        if not self._counts[sender]:
            del self._counts[sender]

    def __len__(self) -> int:
        return len(self._by_key)
