"""A disk that is full, read-only or failing for a while: typed errors, reads go on, and nothing is lost."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from node.store.errors import QuotaExceeded, StoreFailed, StoreFull, StoreReadOnly
from node.store.port import Origin, Store
from protocol.errors import OperatorError
from tests.conformance.store_check import problems
from tests.conformance.store_kit import Publisher, blocks, publish, readable, scratch
from tests.unit.store.fault_files import FaultFiles, never
from tests.unit.store.scenario import Call, Scenario, all_readable, durable_state, open_disk, outcome
from tests.unit.store.seeds import over_seeds

EXPECTED = {errno.ENOSPC: StoreFull, errno.EROFS: StoreReadOnly, errno.EIO: StoreFailed}


def attempt(call: Call, store: Store) -> object:
    try:
        return call(store)
    except OperatorError as error:
        if isinstance(error, QuotaExceeded):
            raise
        return error


@over_seeds(12)
def test_a_failing_step_changes_nothing_that_lasts(seed: int) -> None:
    """Some steps in a row fail; afterwards the store works as if nothing had been."""
    source = random.Random(seed)
    code = source.choice(list(EXPECTED))
    first, count = source.randrange(12, 100), source.choice((1, 2, 5, 20))
    files = FaultFiles(fails=lambda step: code if first <= step < first + count else None, seed=seed)
    scenario = Scenario(seed)
    with scratch() as path:
        store = open_disk(path, files)
        for call in scenario.calls:
            before = durable_state(store)
            answer = outcome(partial(attempt, call), store)
            if isinstance(answer, OperatorError):
                assert type(answer) is EXPECTED[code]
                assert answer.hint
                assert durable_state(store) == before
            assert all_readable(store)
        files.fails = never
        scenario.go_on(store)
        store.close()
        open_disk(path).close()
        assert problems(path) == []


def test_blocks_that_the_disk_did_not_take_are_asked_for_again() -> None:
    """After a failed sync nobody knows what is on the disk, so none of it is believed."""
    files = FaultFiles()
    content = blocks(1, 6)
    publisher = Publisher(1)
    with scratch() as path:
        store = open_disk(path, files)
        publish(store, publisher.release(content), content)
        later = blocks(2, 5)
        hold = store.begin_hold(publisher.release(later))
        store.put_blocks(hold, list(later.items()))
        files.fails = lambda step: errno.EIO if files.log[-1] == "fsync" else None
        with pytest.raises(StoreFailed):
            store.finish_hold(hold, origin=Origin.PUBLISHED)
        files.fails = never
        assert readable(store, content)
        assert store.link_blocks(hold, list(later)) == list(later)
        assert store.hold_info(hold).done_blocks == 0
        store.put_blocks(hold, list(later.items()))
        store.finish_hold(hold, origin=Origin.PUBLISHED)
        store.close()
        open_disk(path).close()
        assert problems(path) == []


def test_the_message_tells_what_to_do() -> None:
    files = FaultFiles()
    with scratch() as path:
        store = open_disk(path, files)
        files.fails = lambda step: errno.ENOSPC
        with pytest.raises(StoreFull) as caught:
            publish(store, Publisher(1).release(blocks(1, 9, 900)), blocks(1, 9, 900))
        assert str(path) in str(caught.value)
        assert "quota" in str(caught.value.hint)
        assert caught.value.code == "store-full"
        store.close()


def test_a_really_full_disk() -> None:
    """Against a small tmpfs, in a mount namespace of its own; see full_disk.py."""
    unshare = shutil.which("unshare")
    for arguments in (["-m"], ["-U", "-r", "-m"]):
        if unshare and subprocess.run([unshare, *arguments, "mount", "-t", "tmpfs", "none", "/mnt"]).returncode == 0:
            break
    else:
        pytest.skip("mounting a small disk needs root or user namespaces")
    with scratch() as path:
        done = subprocess.run(
            [unshare, *arguments, sys.executable, "-m", "tests.unit.store.full_disk", str(path)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
