"""Dial several addresses of one peer: a staggered race that the first proved connection wins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from node.net.addresses import Address
from node.net.port import PeerUnreachable

T = TypeVar("T")
_STAGGER_S = 0.2  # a head start for the better address; a failure starts the next one at once


async def race(addresses: Sequence[Address], attempt: Callable[[Address], Awaitable[T]]) -> T:
    """The result of the first `attempt` that returns; the others are cancelled.

    An attempt may raise nothing but PeerUnreachable; when all do, it is raised with every reason.
    """
    won: list[T] = []
    reasons: list[str] = []

    async def run(address: Address, failed: trio.Event) -> None:
        try:
            result = await attempt(address)
        except PeerUnreachable as exc:
            reasons.append(f"{address.host}:{address.port}: {exc}")
            failed.set()
        else:
            won.append(result)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(run, address, failed)
            with trio.move_on_after(_STAGGER_S):
                await failed.wait()
    if won:
        return won[0]
    raise PeerUnreachable("; ".join(reasons) or "no address is known")
