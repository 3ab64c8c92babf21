"""Makes the golden vectors of ids, canonical msgpack, releases and frames: `python -m tests.vectors.make_protocol`.

The files are the truth; test_protocol.py fails when what this makes differs from them. Run it only when a format is
meant to change, together with its version.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.vectors.make_ids import cids, site_ids
from tests.vectors.make_notices import notices
from tests.vectors.make_proofs import report_proofs
from tests.vectors.make_records import canonical_values, releases
from tests.vectors.make_wire import frames

HERE = Path(__file__).parent
FILES = {
    "canonical.json": canonical_values,
    "cids.json": cids,
    "frames.json": frames,
    "notices.json": notices,
    "releases.json": releases,
    "report-proofs.json": report_proofs,
    "site-ids.json": site_ids,
}


def as_text(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    for name, make in FILES.items():
        (HERE / name).write_text(as_text(make()), encoding="ascii")


if __name__ == "__main__":
    main()
