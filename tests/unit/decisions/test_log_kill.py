"""kill -9 in the middle of decisions: no entry that was acknowledged is lost, and no head that was shown is denied."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from protocol import merkle
from tests.unit.decisions.test_log import A, check, open_log

KILLS = 3
LINES_MAX = 40


def killed(folder: Path, lines: int) -> list[tuple[int, int, bytes]]:
    """(last entry, size, root) of what the process said before it was killed: after so many lines, in mid-write."""
    command = [sys.executable, "-m", "tests.unit.decisions.writer", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(int(last), int(size), bytes.fromhex(root)) for last, size, root in whole]


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    rng = random.Random(7)
    shown: list[tuple[int, bytes]] = []
    for _ in range(KILLS):
        said = killed(tmp_path, rng.randrange(1, LINES_MAX))
        assert said
        shown += [(size, root) for _, size, root in said]
        log = open_log(tmp_path)
        check(log.reader)
        size = log.reader.size()
        assert size > max(last for last, _, _ in said)
        frontier = merkle.Frontier()
        roots = {0: frontier.root()}
        for at in range(0, size, 100):
            for found in log.reader.entries(at, min(size, at + 100)):
                frontier.append(merkle.leaf_hash(found.raw))
                roots[frontier.size] = frontier.root()
        assert [each for each in shown if roots.get(each[0]) != each[1]] == [], "a head that was shown is denied"
        assert log.append([]) == []
        log.settle([], [], [])
        assert log.reader.number_for(A, None) is None, "the rule that was in force is taken back in the log"
        check(log.reader)
        log.close()
