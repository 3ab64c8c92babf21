"""A process that writes under load, killed with -9 again and again, and read by another one all the while."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from node.store import layout
from node.store.disk import open_store
from node.store.errors import BlockMissing
from node.store.port import Store, StoreReader
from node.store.reader import open_reader
from protocol.cid import Cid
from tests.conformance.store_check import problems
from tests.conformance.store_kit import SMALL, Publisher, readable, scratch
from tests.unit.store.writer import SITES, content_of


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.large)])
def test_kill_9_under_load(rounds: int) -> None:
    source = random.Random(9)
    read = 0
    with scratch() as path:
        store_path = path / "store"
        for _ in range(rounds):
            acknowledged, blocks_read = run_and_kill(store_path, after=source.randint(1, 60))
            read += blocks_read
            with closing(open_store(store_path, quota_bytes=10_000_000, limits=SMALL)) as store:
                check_acknowledged(store, acknowledged)
            assert problems(store_path) == []
    assert read > 100


def run_and_kill(path: Path, after: int) -> tuple[list[list[str]], int]:
    """Let a writer go on until it has acknowledged `after` calls; gives what it said, and how much was read."""
    command = [sys.executable, "-m", "tests.unit.store.writer", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split()]
        with closing(open_reader(path)) as reader:
            read = 0
            while len(said) < after:
                read += read_all(reader, path)
                said.append(process.stdout.readline().split())
        process.send_signal(signal.SIGKILL)
        said += [line.split() for line in process.stdout.read().splitlines()]
    assert process.returncode == -signal.SIGKILL, said
    return said, read


def read_all(reader: StoreReader, path: Path) -> int:
    """Each block that the index names at this moment can be read, unless it is gone again. Verified on reading."""
    with closing(sqlite3.connect(f"file:{path / layout.DATABASE_NAME}?mode=ro", uri=True)) as connection:
        cids = [Cid(row[0]) for row in connection.execute("SELECT cid FROM blocks ORDER BY id DESC")]
    read = 0
    for cid in cids:
        try:
            reader.get_block(cid)
            read += 1
        except BlockMissing:
            continue
    return read


def check_acknowledged(store: Store, said: list[list[str]]) -> None:
    assert store.usage().corrupt_blocks == 0
    for site in range(1, SITES + 1):
        seqs = {what: int(seq) for what, number, seq in said if int(number) == site}
        record = store.site(Publisher(site).site)
        last = seqs.get("held", 0)
        if record is None:
            assert last == 0
            continue
        assert record.head.seq in (last, last + 1) or last == 0
        if record.held is not None:
            assert record.held == record.head
            assert readable(store, content_of(site, record.held.seq))
        else:  # dropped, and the next release was not finished
            assert (record.head.seq + 1) % 7 == 0
        rules = {row.target: int(row.reason) for row in store.rules()}
        if "ruled" in seqs:
            assert rules[f"/ipns/{site}"] in (seqs["ruled"], seqs["ruled"] + 1)
