"""How many reports strangers may leave, and the proof of work that the operator may ask for (docs/spec/reports.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from node.casework.model import BadReport
from protocol.errors import DecodeError
from protocol.report_proof import ReportProof, zero_bits
from protocol.site_id import SiteId

REPORTS_PER_MINUTE_MAX = 600
"""Of all together; the queue and its reader are people."""

UNPROVED_PER_MINUTE_MAX = 10
"""Of those that come by the form where a proof of work is asked for: browsers without script cannot give one."""

PROOF_AGE_MAX_S = 3600
PROOF_AHEAD_MAX_S = 300
"""A proof holds from so long before its time, on a clock of another machine, until so long after it."""


class NeedsProof(BadReport):
    """There was no proof of work, or none that counts."""


class Turnstile:
    """In the daemon, in memory alone: who restarts the node may show it a proof again."""

    def __init__(
        self, node: SiteId, *, bits: int = 0, now_s: Callable[[], float] = time.time,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """bits: of work for each report; 0: none is asked for. elapsed_s: a clock that nobody sets."""
        self.node = node
        self.bits = bits
        self._now_s = now_s
        self._elapsed_s = elapsed_s
        self._minute = 0
        self._in_minute = 0
        self._unproved = 0
        # Proofs that were taken, in two generations, each of which lasts as long as a proof can.
        self._used: set[bytes] = set()
        self._used_before: set[bytes] = set()
        self._turned_s = now_s()

    def let_in(self, report: Mapping[str, str], proof: str = "", *, by_form: bool = False) -> None:
        """Counts one more that wants to leave a report. NeedsProof, BadReport."""
        proved = self._proved(report, proof) if self.bits else None
        if self.bits and proved is None and not by_form:
            raise NeedsProof(f"this node asks for a proof of work of {self.bits} bits; `fednode report` makes it")
        self._begin_minute()
        if self.bits and proved is None:
            # Before anything is counted: a flood through the form takes no room from those who did the work.
            if self._unproved >= UNPROVED_PER_MINUTE_MAX:
                raise BadReport("many use this form at the moment; try again in a minute, or use `fednode report`")
            self._unproved += 1
        if not self.has_room():
            raise BadReport("this node gets too many reports at the moment; try again later")
        if proved is not None:
            self._used.add(proved)

    def has_room(self) -> bool:
        """Counts one more of whatever takes room in the queue."""
        self._begin_minute()
        self._in_minute += 1
        return self._in_minute <= REPORTS_PER_MINUTE_MAX

    def _begin_minute(self) -> None:
        minute = int(self._elapsed_s() // 60)
        if minute != self._minute:
            self._minute, self._in_minute, self._unproved = minute, 0, 0

    def _proved(self, report: Mapping[str, str], text: str) -> bytes | None:
        """The digest of a proof that counts, None when none was given. NeedsProof."""
        if not text:
            return None
        now_s = self._now_s()
        try:
            proof = ReportProof.from_text(text)
            digest = proof.digest(self.node, report)
        except DecodeError as error:
            raise NeedsProof(str(error)) from error
        if not now_s - PROOF_AGE_MAX_S <= proof.made_s <= now_s + PROOF_AHEAD_MAX_S:
            raise NeedsProof("the proof of work is too old, or of a time to come")
        if zero_bits(digest) < self.bits:
            raise NeedsProof(
                f"the proof of work has {zero_bits(digest)} bits for this report and node, not {self.bits}"
            )
        self._turn(now_s)
        if digest in self._used or digest in self._used_before:
            raise NeedsProof("this proof of work was used before")
        return digest

    def _turn(self, now_s: float) -> None:
        if abs(now_s - self._turned_s) > PROOF_AGE_MAX_S + PROOF_AHEAD_MAX_S:
            self._used, self._used_before, self._turned_s = set(), self._used, now_s
