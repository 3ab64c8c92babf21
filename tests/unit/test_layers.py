"""The shape of the code: which package imports which, what the pure ones may touch, and how large rooms may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "config", "node", "cli")
ARROWS = {
    "protocol": set[str](),
    "config": {"protocol"},
    "node": {"config", "protocol"},
    "cli": {"node", "config", "protocol"},
}
# Each stands for I/O, a clock, randomness, concurrency or logging.
IMPURE = frozenset(
    [
        "asyncio",
        "concurrent",
        "datetime",
        "importlib",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "trio",
        "uuid",
    ]
)
PURE_PLACES = ("protocol", "node/core")
# The core draws its jitter from a random.Random that is handed in, seeded.
# Formats name instants (IPNS validity); that nobody asks for the present one, CLOCK_CALLS sees to.
PERMITTED = {"node/core": {"random"}, "protocol": {"datetime"}}
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})
FILE_MAX_LINES = 500
FUNCTION_MAX_LINES = 60
NOT_CODE = {".venv", ".git", "tests", "node_modules"}


def sources(place: str) -> list[Path]:
    return sorted((ROOT / place).rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_of(path: Path) -> list[str]:
    """Dotted name of the package that a file's relative imports start from, as parts."""
    return list(path.relative_to(ROOT).with_suffix("").parts)[:-1]


def imports(tree: ast.Module, package: list[str]) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, wherever it stands: in functions and under TYPE_CHECKING, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])
        elif isinstance(node, ast.Call) and _called(node) in {"__import__", "import_module"} and node.args:
            argument = node.args[0]
            yield node.lineno, str(argument.value) if isinstance(argument, ast.Constant) else "importlib"


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def wrong_arrows(path: Path) -> list[str]:
    here = path.relative_to(ROOT).parts[0]
    return [
        f"{path.relative_to(ROOT)}:{line}: {here} → {name}"
        for line, name in imports(tree_of(path), module_of(path))
        if (target := name.split(".")[0]) in PACKAGES and target != here and target not in ARROWS[here]
    ]


def impurities(path: Path, permitted: set[str]) -> list[str]:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for line, name in imports(tree_of(path), module_of(path))
        if name.split(".")[0] in IMPURE - permitted
    ]
    found += [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.func.id}()"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}
    ]
    found += [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.attr}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS
    ]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    files = sources(package)
    assert files
    assert [wrong for path in files for wrong in wrong_arrows(path)] == []


@pytest.mark.parametrize("place", PURE_PLACES)
def test_pure_code_stays_pure(place: str) -> None:
    files = sources(place)
    assert files
    assert [found for path in files for found in impurities(path, PERMITTED.get(place, set()))] == []


def test_only_net_imports_libp2p() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for package in PACKAGES
        for path in sources(package)
        if not path.is_relative_to(ROOT / "node/net")
        for line, name in imports(tree_of(path), module_of(path))
        if name.split(".")[0] in {"libp2p", "multiaddr"}
    ]
    assert found == []


def all_code() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if NOT_CODE.isdisjoint(path.relative_to(ROOT).parts))


def test_files_stay_small() -> None:
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in all_code()}
    assert len(lengths) > 20
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > FILE_MAX_LINES} == {}


def test_functions_stay_small() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines"
        for path in all_code()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_MAX_LINES
    ]
    assert found == []


@pytest.mark.parametrize(
    ("place", "code", "found"),
    [
        ("protocol/x.py", "import node.core", True),
        ("protocol/x.py", "def f():\n    from config import schema", True),
        ("protocol/x.py", "from .. import cli", True),
        ("protocol/x.py", "from . import cid", False),
        ("config/x.py", "from node import core", True),
        ("config/x.py", "if TYPE_CHECKING:\n    from node.core import x", True),
        ("node/core/x.py", "import cli.main", True),
        ("node/core/x.py", "from ..net import port", False),
        ("node/core/x.py", "import config.schema, protocol.cid", False),
        ("node/core/x.py", "importlib.import_module('cli.main')", True),
        ("cli/x.py", "import node, config, protocol, nodelike", False),
    ],
)
def test_the_check_of_arrows_sees_them(place: str, code: str, found: bool) -> None:
    path = ROOT / place
    here = place.split("/")[0]
    names = {name.split(".")[0] for _, name in imports(ast.parse(code), module_of(path))}
    assert bool((names & set(PACKAGES)) - {here} - ARROWS[here]) is found
