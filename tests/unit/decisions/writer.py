"""A process that decides as fast as it can and says what the log acknowledged; to be killed at any time."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from node.decisions.log import Draft
from node.store.port import RuleRow
from tests.unit.decisions.test_log import A, open_log


def main(folder: Path) -> None:
    log = open_log(folder)
    for turn in itertools.count():
        rules = [RuleRow(A, "quarantine", "policy", f"turn {turn} {number}", 5) for number in range(turn % 2)]
        numbers = log.settle(rules, [], []) + log.append([Draft("report-decided", A, f"turn {turn}")] * (turn % 3))
        head = log.reader.head().head
        sys.stdout.write(f"{max(numbers, default=-1)} {head.size} {head.root.hex()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
