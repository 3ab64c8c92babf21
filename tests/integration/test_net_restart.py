"""Two real processes: one ends, is killed, comes back, on the same port or on another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
import trio

from tests.integration.net_kit import NodeProcess, eventually
from tests.integration.net_node import DEADLINE_S

pytestmark = pytest.mark.integration


@pytest.fixture
def one() -> Iterator[NodeProcess]:
    with NodeProcess() as started:
        yield started


def is_connected(node: NodeProcess, other: NodeProcess) -> bool:
    return any(peer["peer"] == other.peer for peer in node.ask("peers"))


async def test_peer_that_was_killed_is_seen_as_gone_and_found_on_another_port(one: NodeProcess) -> None:
    seed = os.urandom(32)
    with NodeProcess(seed=seed) as other, trio.fail_after(60):
        one.ask(f"connect {other.addresses[0]}")
        assert one.ask(f"echo {other.peer}")
        other.kill()
        await eventually(lambda: not is_connected(one, other))
        with pytest.raises(AssertionError, match="peer-unreachable"):
            one.ask(f"echo {other.peer}")
        with NodeProcess(seed=seed) as again:
            assert again.endpoint != other.endpoint
            one.ask(f"remember {again.peer} {again.addresses[0]}")
            started = trio.current_time()
            assert one.ask(f"echo {again.peer}")
            assert trio.current_time() - started < DEADLINE_S / 2


async def test_same_port_can_be_bound_again_at_once(one: NodeProcess) -> None:
    seed = os.urandom(32)
    with NodeProcess(seed=seed) as other:
        one.ask(f"connect {other.addresses[0]}")
        other.kill()
    listen = (other.addresses[0].partition("/p2p/")[0],)
    with NodeProcess(listen, seed=seed) as again, trio.fail_after(60):
        await eventually(lambda: not is_connected(one, other))
        assert one.ask(f"echo {again.peer}")


async def test_stop_is_quick_while_a_peer_is_frozen(one: NodeProcess) -> None:
    with NodeProcess() as frozen:
        one.ask(f"connect {frozen.addresses[0]}")
        frozen.process.send_signal(signal.SIGSTOP)
        try:
            started = trio.current_time()
            one.stop()
            assert trio.current_time() - started < 10
            assert one.process.returncode == 0
        finally:
            frozen.process.send_signal(signal.SIGCONT)


def test_peer_that_vanished_without_a_word_is_found_at_its_new_address(one: NodeProcess) -> None:
    """It still looks connected, as after a power cut: frozen, it answers nothing and closes nothing."""
    seed = os.urandom(32)
    with NodeProcess(seed=seed) as gone:
        one.ask(f"connect {gone.addresses[0]}")
        gone.process.send_signal(signal.SIGSTOP)
        try:
            with NodeProcess(seed=seed) as back:
                one.ask(f"remember {back.peer} {back.addresses[0]}")
                assert is_connected(one, gone)
                began_s = time.monotonic()
                assert one.ask(f"echo {back.peer}")
                found_s = time.monotonic()
                assert one.ask(f"echo {back.peer}")
                assert time.monotonic() - found_s < (found_s - began_s) / 2
        finally:
            gone.process.send_signal(signal.SIGCONT)
