"""A whole publish: ask the nodes what they know, sign what comes next, hand it to every node, sum up.

No terminal in here: progress goes to a `Progress`, questions have been asked before. The demo and `start --sample`
run the same flow as `fednode publish`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Protocol

import trio

from cli.errors import CommandError, FolderError
from cli.publishing.exchange import IDLE_S, WRITE_S, NodeResult, Watcher, offer
from cli.publishing.nodes import Node
from cli.publishing.sequence import newest
from cli.publishing.source import BlockSource
from node.replication.asking import ask_head
from protocol import messages as msg
from protocol.errors import FednodeError
from protocol.notice import SignedNotice
from protocol.release import SignedRelease
from protocol.site_id import SiteId

NODES_AT_ONCE = 4

EXIT_OK = 0
EXIT_UNREACHABLE = 3
EXIT_ALL_REFUSED = 4
EXIT_SOME_REFUSED = 5


class Task(Protocol):
    """Something that goes through so many bytes."""

    def advance(self, count_bytes: int) -> None: ...


class Progress(Protocol):
    """Is told how a publish goes."""

    def task(self, name: str, total_bytes: int) -> Task:
        """Reading or writing on this machine."""

    def node(self, name: str, total_bytes: int) -> Watcher:
        """A node that the release is now offered to."""


class Silent:
    """A Progress, a Task and a Watcher that show nothing."""

    def task(self, name: str, total_bytes: int) -> Task:
        return self

    def node(self, name: str, total_bytes: int) -> Watcher:
        return self

    def advance(self, count_bytes: int) -> None:
        pass

    def sent(self, count_bytes: int) -> None:
        pass

    def node_has(self, done_bytes: int, total_bytes: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Heads:
    """What the nodes said when asked: the newest release each knows (None: none), or why a node cannot be used."""

    known: dict[str, SignedRelease | None] = field(default_factory=dict)
    unusable: dict[str, NodeResult] = field(default_factory=dict)

    @property
    def newest(self) -> SignedRelease | None:
        return newest(self.known.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """One release and how each node took it. `unchanged`: no new release was needed."""

    signed: SignedRelease
    nodes: tuple[NodeResult, ...]
    unchanged: bool
    notices: dict[str, SignedNotice] = field(default_factory=dict)
    """By node: what it holds against the site, or will."""

    @property
    def exit_code(self) -> int:
        """0 all accepted; 3 none was reached; 4 all refused; 5 some did not accept."""
        accepted = sum(result.ok for result in self.nodes)
        if accepted == len(self.nodes):
            return EXIT_OK
        if accepted:
            return EXIT_SOME_REFUSED
        if any(result.state == "refused" for result in self.nodes):
            return EXIT_ALL_REFUSED
        return EXIT_UNREACHABLE


async def ask_nodes(nodes: Sequence[Node], site: SiteId) -> Heads:
    """Asks every node for the site's head, at once."""
    heads = Heads()

    async def ask(node: Node) -> None:
        try:
            answer = await ask_head(await node.open(), site, idle_s=IDLE_S, write_s=WRITE_S)
        except (FednodeError, OSError) as error:
            heads.unusable[node.name] = _failed(node.name, error)
            return
        if isinstance(answer, SignedRelease):
            heads.known[node.name] = answer
        elif answer.code == "not-found":
            heads.known[node.name] = None
        else:
            heads.unusable[node.name] = NodeResult(node.name, "refused", answer.code, answer.reason)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(ask, node)
    return heads


async def offer_to_nodes(
    nodes: Sequence[Node],
    heads: Heads,
    signed: SignedRelease,
    source: BlockSource | None,
    progress: Progress,
    secrets: Mapping[str, bytes] = MappingProxyType({}),
) -> tuple[NodeResult, ...]:
    """Hands the release to every usable node, a few at once; results in the order of `nodes`. secrets: of invitations,
    by the names of their nodes.

    FolderError (the folder changed) ends it for all nodes.
    """
    results = dict(heads.unusable)
    limit = trio.CapacityLimiter(NODES_AT_ONCE)
    stopped: FolderError | None = None

    async def offer_to(node: Node, scope: trio.CancelScope) -> None:
        nonlocal stopped
        async with limit:
            try:
                watcher = progress.node(node.name, signed.release.size_bytes)
                answer = await offer(await node.open(), signed, source, watcher, secrets.get(node.name))
            except FolderError as error:
                stopped = error
                scope.cancel()
            except (FednodeError, OSError) as error:
                results[node.name] = _failed(node.name, error)
            else:
                known = heads.known.get(node.name)
                results[node.name] = _result(node.name, answer, had_it=known is not None and known.cid == signed.cid)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            if node.name not in results:
                nursery.start_soon(offer_to, node, nursery.cancel_scope)
    if stopped is not None:
        raise stopped
    return tuple(results[node.name] for node in nodes)


def _result(name: str, answer: msg.Have | msg.Refuse, *, had_it: bool) -> NodeResult:
    if isinstance(answer, msg.Refuse):
        return NodeResult(name, "refused", answer.code, answer.reason)
    already = had_it and not answer.new_blocks
    return NodeResult(name, "already" if already else "accepted", "", "", answer.new_blocks, answer.new_bytes)


def _failed(name: str, error: FednodeError | OSError) -> NodeResult:
    if isinstance(error, FednodeError):
        return NodeResult(name, "failed", error.code, str(error))
    return NodeResult(name, "failed", "unreachable", error.strerror or str(error))


Decide = Callable[[SignedRelease | None], tuple[SignedRelease, bool]]
"""From the newest release that any node knows: the release to hand out, and whether it is an old one."""


async def publish(
    nodes: Sequence[Node],
    site: SiteId,
    decide: Decide,
    source: BlockSource | None,
    progress: Progress,
    secrets: Mapping[str, bytes] = MappingProxyType({}),
) -> Outcome:
    """Ask, decide, offer. NoNodeReached when not a single node can be used, before anything is signed."""
    heads = await ask_nodes(nodes, site)
    if len(heads.unusable) == len(nodes):
        raise _no_node([heads.unusable[node.name] for node in nodes])
    signed, unchanged = decide(heads.newest)
    return Outcome(signed, await offer_to_nodes(nodes, heads, signed, source, progress, secrets), unchanged)


class NoNodeReached(CommandError):
    """No node could be talked to; nothing was signed or sent."""

    code: ClassVar[str] = "unreachable"
    exit_code: ClassVar[int] = EXIT_UNREACHABLE


class NoNodeListens(CommandError):
    """Every node refused to talk; nothing was signed or sent."""

    code: ClassVar[str] = "refused"
    exit_code: ClassVar[int] = EXIT_ALL_REFUSED


def _no_node(results: Sequence[NodeResult]) -> CommandError:
    told = "; ".join(f"{result.node}: {result.reason}" for result in results)
    if any(result.state == "refused" for result in results):
        return NoNodeListens(f"every node refused: {told}")
    return NoNodeReached(f"no node could be reached: {told}", hint="check the addresses, and that the nodes run")
