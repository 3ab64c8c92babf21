"""The same folders through ipfs-unixfs-importer (JavaScript, profile unixfs-v1-2025) and through our builders.

FEDNODE_IPFS_CLIENTS names the folder, as tests/integration/ipfs_clients.py says.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ipfs_clients import CLIENTS, NODE
from tests.vectors.make_trees import SCRIPTS, Tree, plant, trees, write

pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(not NODE.exists(), reason="no Node with ipfs-unixfs-importer: set FEDNODE_IPFS_CLIENTS"),
]

IMPORT = """
import fs from 'node:fs'
import path from 'node:path'
import { importer } from 'ipfs-unixfs-importer'
import { BlackHoleBlockstore } from 'blockstore-core/black-hole'
for (const folder of process.argv.slice(1)) {
  const files = function * (at) {
    for (const entry of fs.readdirSync(path.join(folder, at), { withFileTypes: true })) {
      const name = at === '' ? entry.name : at + '/' + entry.name
      if (entry.isDirectory()) yield * files(name)
      else yield { path: name, content: fs.createReadStream(path.join(folder, name), { highWaterMark: 1 << 20 }) }
    }
  }
  let root
  const options = { profile: 'unixfs-v1-2025', wrapWithDirectory: true }
  for await (const entry of importer(files(''), new BlackHoleBlockstore(), options)) root = entry.cid
  console.log(root.toString())
}
"""


def import_all(folders: list[Path]) -> list[str]:
    command = [str(NODE), "--input-type=module", "-e", IMPORT, *map(str, folders)]
    done = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def is_for_javascript(node: Any) -> bool:
    """Only files: the importer is given files, not empty folders or links."""
    if isinstance(node, dict):
        return bool(node) and all(map(is_for_javascript, node.values()))
    return not isinstance(node, str)


def random_tree(chosen: random.Random, depth: int = 0) -> Tree:
    """Few folders in each folder, because the importer does not count folders when it decides on a HAMT."""
    found: Tree = {}
    for _ in range(chosen.randint(1, 6)):
        # The importer takes a backslash before a slash for an escape.
        name = (chosen.choice(SCRIPTS)[:60] + str(chosen.randrange(100))).replace("\\", "")
        kind = chosen.random()
        if kind < 0.35 and depth < 5:
            found[name] = random_tree(chosen, depth + 1)
        elif kind < 0.45 and depth == 1:
            length = chosen.choice([5, 30, 100])
            count = 262_144 // (47 + length) + chosen.choice([-2, -1, 0, 1, 2, 1000])
            found[name] = {f"{number:05d}".ljust(length, "n"): b"x" for number in range(count)}
        elif kind < 0.6:
            found[name] = chosen.choice([1, 2**20 - 1, 2**20, 2**20 + 1, 2**21, 3 * 2**20 + 7])
        else:
            found[name] = chosen.randbytes(chosen.choice([0, 1, 100, 5000]))
    return found


def test_the_javascript_importer_gives_the_same_roots(tmp_path: Path) -> None:
    chosen = {name: tree for name, tree in trees().items() if is_for_javascript(tree)}
    assert len(chosen) > 8
    chosen |= {f"random {seed}": random_tree(random.Random(seed)) for seed in range(12)}
    folders = []
    for number, tree in enumerate(chosen.values()):
        folders.append(tmp_path / f"{number}")
        write(tree, folders[-1])
    ours = {name: str(plant(tree, lambda cid, block: None).cid) for name, tree in chosen.items()}
    assert dict(zip(chosen, import_all(folders), strict=True)) == ours
