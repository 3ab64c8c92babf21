"""One line in the log for each answer: what was asked and answered. Nothing in it tells who asked."""

from __future__ import annotations

import logging
from typing import TypedDict

from node.gateway.http1 import Request

PATH_MAX_CHARS = 200

log = logging.getLogger(__name__)


class Fields(TypedDict):
    """What a line says. path: without its query, which may hold what readers typed."""

    method: str
    host: str
    path: str
    status: int
    sent_bytes: int
    duration_ms: int


def fields_of(request: Request, status: int, sent_bytes: int, duration_s: float) -> Fields:
    """Cut to what a line may hold."""
    return {
        "method": request.method,
        "host": (request.host or "")[:PATH_MAX_CHARS],
        "path": request.target.partition("?")[0][:PATH_MAX_CHARS],
        "status": status,
        "sent_bytes": sent_bytes,
        "duration_ms": int(duration_s * 1000),
    }


def write(fields: Fields) -> None:
    """As text for people; the JSON form of the log has the fields one by one."""
    log.info(
        "%(method)s %(host)s%(path)s %(status)d %(sent_bytes)d bytes %(duration_ms)d ms",
        fields,
        extra={"fields": fields},
    )
