"""What the network must not do to the process that it runs in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]

IMPORT = """
import sys
from node.net import addresses, memory, opening, peer_ids
heavy = {"libp2p", "multiaddr", "google", "aioquic", "noise"} & {name.partition(".")[0] for name in sys.modules}
assert not heavy, heavy
addresses.Address.parse("/ip4/127.0.0.1/tcp/1/p2p/" + peer_ids.peer_id_of_seed(bytes(32)))
"""

TALK = """
import logging, os, signal, sys, threading, trio
from node.net.opening import open_network
from node.net.port import NetSettings

async def main():
    async with open_network(NetSettings(("/ip4/127.0.0.1/tcp/0",), os.urandom(32))) as one:
        async with open_network(NetSettings((), os.urandom(32))) as other:
            await other.connect(one.addresses()[0], deadline_s=30)
            while not one.known_addresses(one.local_peer) and not other.known_addresses(one.local_peer):
                await trio.sleep(0.01)

handler = signal.getsignal(signal.SIGTERM)
trio.run(main)
assert not logging.getLogger().handlers
assert signal.getsignal(signal.SIGTERM) is handler
assert [thread.name for thread in threading.enumerate() if not thread.daemon] == ["MainThread"]
"""


@pytest.mark.parametrize("program", [IMPORT, TALK], ids=["import", "talk"])
def test_program_stays_quiet_and_whole(program: str) -> None:
    """Importing is cheap; talking leaves logging, signals and threads as they were, and prints nothing."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
