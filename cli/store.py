"""fednode store: check the blocks on disk, or mend their index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import config_options, echo_json, json_option, load_config
from cli.daemon import daemon
from cli.errors import CommandError, NoDaemon, WrongUsage
from cli.tables import count, human_size, plain

if TYPE_CHECKING:
    from config import Config
    from node.store.rebuild import Rebuilt
    from node.store.verify import Verified
    from protocol.cid import Cid

SHOWN_MAX = 20
EPILOG = "Exit codes: 0 all is well; 1 something is damaged or failed; 2 wrong usage or configuration."
REBUILD_EPILOG = "Exit codes: 0 done; 1 failed, or a node runs; 2 wrong usage or configuration."


@click.group("store", epilog=EPILOG)
def command() -> None:
    """Check the blocks on disk, or mend their index."""


@command.command("verify", epilog=EPILOG)
@click.option("--rate", metavar="SIZE", help='Read at most so much a second, such as "20 MiB". Default: no limit.')
@config_options
@json_option
def verify(rate: str | None, config_file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Read every block and compare index and packs. Works beside a running node. Marks damaged blocks."""
    from node.store.verify import Pace
    from node.store.verify import verify as verify_store

    config, folder = _store(config_file, data_dir)
    with _progress("reading") as progress:
        found = verify_store(folder, pace=Pace(_rate(rate)), progress=progress)
    marked_by = _mark(config, config_file, data_dir, found.damaged) if found.damaged else None
    if as_json:
        echo_json(_verified_json(found, marked_by))
    else:
        _echo_verified(found, marked_by)
    return 0 if found.ok else 1


@command.command("rebuild", epilog=REBUILD_EPILOG)
@config_options
@json_option
def rebuild(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Make the index anew from the packs. The node must be stopped. The old index is kept beside the new one."""
    from node.store.rebuild import rebuild as rebuild_store

    _, folder = _store(config_file, data_dir)
    with _progress("reading packs") as progress:
        result = rebuild_store(folder, progress=progress)
    echo_json(_rebuilt_json(result)) if as_json else _echo_rebuilt(result)


def _store(config_file: Path | None, data_dir: Path | None) -> tuple[Config, Path]:
    from config import Paths

    config = load_config(config_file, data_dir).config
    folder = Paths(config.data_dir).store_dir
    if not (folder / "packs").is_dir():
        raise CommandError(f"there is no store at {folder}", hint="fednode start makes one")
    return config, folder


def _rate(text: str | None) -> int:
    from config.sizes import parse_size

    try:
        rate = parse_size(text) if text is not None else 0
    except ValueError as error:
        raise WrongUsage(f"--rate {error}") from None
    if text is not None and rate == 0:
        raise WrongUsage("--rate must be more than 0")
    return rate


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    from cli.progress import bars

    with bars() as shown:
        watcher = shown.node(name, 0)
        yield watcher.node_has


def _mark(config: Config, config_file: Path | None, data_dir: Path | None, damaged: list[Cid]) -> str:
    """Damaged blocks count as missing from now on, and are fetched again; gives who has noted it."""
    try:
        with daemon(config_file, data_dir) as client:
            for cid in damaged:
                client.check_block(str(cid))
    except NoDaemon:
        _mark_offline(config, damaged)
        return "store"
    return "daemon"


def _mark_offline(config: Config, damaged: list[Cid]) -> None:
    from contextlib import closing

    from config import Paths
    from node.store.disk import open_store

    opened = open_store(
        Paths(config.data_dir).store_dir,
        quota_bytes=config.hosting.quota_bytes,
        cache_bytes=config.gateway.cache_bytes,
    )
    with closing(opened) as store:
        for cid in damaged:
            store.mark_corrupt(cid)


def _verified_json(found: Verified, marked_by: str | None) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "packs": found.packs,
        "blocks": found.blocks,
        "bytes": found.bytes,
        "damaged_count": found.damaged_count,
        "damaged": [str(cid) for cid in found.damaged],
        "known_damaged": found.known_damaged,
        "problem_count": found.problem_count,
        "problems": found.problems,
        "marked_by": marked_by,
    }


def _echo_verified(found: Verified, marked_by: str | None) -> None:
    click.echo(f"read {count(found.blocks, 'block')}, {human_size(found.bytes)}, in {count(found.packs, 'pack')}")
    for cid in found.damaged[:SHOWN_MAX]:
        click.echo(f"  damaged: {cid}")
    if found.damaged_count:
        who = "the node fetches them again" if marked_by == "daemon" else "the node fetches them again when it runs"
        click.echo(f"{count(found.damaged_count, 'damaged block')}; {who}")
    if found.known_damaged:
        click.echo(f"{count(found.known_damaged, 'block')} known to be damaged, to be fetched again")
    for text in found.problems[:SHOWN_MAX]:
        click.echo(f"  wrong: {plain(text)}")
    if found.problem_count:
        click.echo(f"{count(found.problem_count, 'problem')} of the index; mend it: fednode store rebuild")
    if found.ok:
        click.echo("all is well")


def _rebuilt_json(result: Rebuilt) -> dict[str, Any]:
    return {
        "packs": result.packs,
        "blocks": result.blocks,
        "bytes": result.bytes,
        "damaged_blocks": result.damaged_blocks,
        "unreadable_bytes": result.unreadable_bytes,
        "loose_blocks": result.loose_blocks,
        "sites_held": result.sites_held,
        "sites_incomplete": [str(site) for site in result.sites_incomplete],
        "sites_ended": result.sites_ended,
        "trees_held": result.trees_held,
        "trees_incomplete": [str(root) for root in result.trees_incomplete],
        "kept": result.kept,
        "lost": result.lost,
        "old_index": str(result.old_index) if result.old_index else None,
    }


def _echo_rebuilt(result: Rebuilt) -> None:
    click.echo(f"found {count(result.blocks, 'block')}, {human_size(result.bytes)}, in {count(result.packs, 'pack')}")
    click.echo(f"{count(result.sites_held, 'site')} held, {result.sites_ended} ended")
    for site in result.sites_incomplete[:SHOWN_MAX]:
        click.echo(f"  incomplete, fetched again when the node runs: {site}")
    if result.trees_held or result.trees_incomplete:
        click.echo(f"{count(result.trees_held, 'tree')} kept")
    for root in result.trees_incomplete[:SHOWN_MAX]:
        click.echo(f"  incomplete, to be imported again: /ipfs/{root}")
    if result.damaged_blocks or result.unreadable_bytes:
        damage = f"{count(result.damaged_blocks, 'damaged block')}, {human_size(result.unreadable_bytes)} unreadable"
        click.echo(f"{damage}; the node fetches again what is missing")
    kept = ", ".join(f"{number:,} {name}" for name, number in result.kept.items() if number)
    if kept:
        click.echo(f"kept of the old index: {kept}")
    if result.lost:
        click.echo(f"lost, wholly or in part: {', '.join(result.lost)}; make rules, lists and follows anew")
    if result.old_index:
        click.echo(f"the old index is {plain(result.old_index)}")
