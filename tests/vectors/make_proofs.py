"""Vectors of proofs of work for reports (docs/spec/reports.md)."""

from __future__ import annotations

from protocol import canonical
from protocol.report_proof import ReportProof, prove, zero_bits
from tests.vectors.make_ids import SITES

NODE = SITES[0]
MADE_S = 1_800_000_000
REPORTS = (
    {"where": f"/ipns/{SITES[1]}", "category": "malware", "why": "It asks for passwords."},
    {"where": "https://example.org/ä", "category": "other", "why": "zwei\nZeilen 🦊", "contact": "me@example.org"},
)


def report_proofs() -> dict[str, object]:
    return {"proofs": [_entry(report, bits) for report in REPORTS for bits in (0, 8, 16)]}


def _entry(report: dict[str, str], bits: int) -> dict[str, object]:
    proof = prove(NODE, report, MADE_S, bits)
    digest = proof.digest(NODE, report)
    task = canonical.pack({"v": 1, "node": bytes(NODE), "made_s": MADE_S, "report": report})
    return {
        "node": str(NODE),
        "report": report,
        "task": task.hex(),
        "proof": str(ReportProof(MADE_S, proof.nonce)),
        "digest": digest.hex(),
        "bits": zero_bits(digest),
    }
