"""What full collections walk. In a process of its own: the collector is one for all."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc, weakref
from node import garbage

class Circle:
    def __init__(self):
        self.me = self

garbage.shorten_collections()
lasting = [Circle() for _ in range(1000)]
before = gc.get_freeze_count()
gc.collect()
assert gc.get_freeze_count() >= before + 1000, "what lasts is set aside"

gone, came = weakref.ref(lasting[0]), weakref.ref(Circle())
lasting.clear()
gc.collect()
assert came() is None, "what came since is collected"
assert gone() is not None, "what was set aside is not walked"

garbage.ALL_EVERY_S = 0.0
gc.collect()
assert gone() is None, "all is walked once in a while"
"""


def test_full_collections_walk_what_came_since_the_last() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
