"""The root of the task of an inbound stream: what a handler raises ends its stream and nothing else."""

from __future__ import annotations

import logging
from collections import Counter

import trio

from node.net.port import Handler, Stream
from protocol.errors import PeerError

logger = logging.getLogger(__name__)


async def run_handler(handler: Handler, stream: Stream, counts: Counter[str]) -> None:
    """Close the stream after the handler, or reset it when the handler raised. Raises only cancellation."""
    try:
        await handler(stream)
    except Exception as exc:  # a handler's failure ends its stream and nothing else
        counts["handler_errors"] += 1
        level = logging.DEBUG if _is_of_peer(exc) else logging.WARNING
        logger.log(level, "handler of %s failed on %s", stream.protocol, stream.peer, exc_info=True)
        stream.reset()
    except BaseException:
        stream.reset()
        raise
    else:
        await stream.aclose()


def _is_of_peer(exc: Exception) -> bool:
    if isinstance(exc, ExceptionGroup):
        return all(isinstance(inner, Exception) and _is_of_peer(inner) for inner in exc.exceptions)
    return isinstance(exc, PeerError | trio.BrokenResourceError | trio.ClosedResourceError | trio.TooSlowError)
