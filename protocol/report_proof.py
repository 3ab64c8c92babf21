"""Proof of work for a report: a number that took long to find, for one report to one node (docs/spec/reports.md)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from protocol import canonical
from protocol.errors import Malformed
from protocol.limits import CREATED_MAX_S, REPORT_PROOF_BITS_MAX
from protocol.schema import take_int
from protocol.site_id import SiteId

DOMAIN: Final = b"fednode/report-proof/1"
_TEXT = re.compile(r"(0|[1-9][0-9]{0,12}):([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class ReportProof:
    """made_s: when it was begun, in Unix seconds; nonce: 8 bytes."""

    made_s: int
    nonce: bytes

    @classmethod
    def from_text(cls, text: str) -> "ReportProof":
        """MADE_S:NONCE, the nonce in hex. Malformed."""
        matched = _TEXT.fullmatch(text)
        if matched is None:
            raise Malformed("a proof of work is a time and 16 hex digits, as 1800000000:00000000000fa12c")
        return cls(take_int(int(matched[1]), "made_s", 0, CREATED_MAX_S), bytes.fromhex(matched[2]))

    def __str__(self) -> str:
        return f"{self.made_s}:{self.nonce.hex()}"

    def digest(self, node: SiteId, report: Mapping[str, str]) -> bytes:
        """What its zero bits are counted of. report: the fields as they are sent. Malformed for no texts."""
        return sha256(_task(node, report, self.made_s) + self.nonce).digest()


def zero_bits(digest: bytes) -> int:
    """How many bits are zero before the first that is one."""
    return len(digest) * 8 - int.from_bytes(digest, "big").bit_length()


def prove(node: SiteId, report: Mapping[str, str], made_s: int, bits: int) -> ReportProof:
    """A proof with at least so many zero bits; takes about 2**bits hashes. Malformed."""
    take_int(bits, "bits", 0, REPORT_PROOF_BITS_MAX)
    task = sha256(_task(node, report, made_s))
    most = 1 << (256 - bits)
    number = 0
    while True:
        nonce = number.to_bytes(8, "big")
        attempt = task.copy()
        attempt.update(nonce)
        if int.from_bytes(attempt.digest(), "big") < most:
            return ReportProof(made_s, nonce)
        number += 1


def _task(node: SiteId, report: Mapping[str, str], made_s: int) -> bytes:
    """32 bytes that stand for the report, the node and the time."""
    try:
        packed = canonical.pack({"v": 1, "node": bytes(node), "made_s": made_s, "report": dict(report)})
    except UnicodeEncodeError:
        raise Malformed("a text of the report has half a character") from None
    return sha256(DOMAIN + b"\0" + packed).digest()
