"""The console's pages and actions as an ASGI application. It speaks to the node by the admin API alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from pathlib import Path

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from cli.console import deciding, decisions, lists, overview, refusing, reports, sites
from cli.console.asking import Answer, Asked, Fields, Goto, Page, Session
from cli.console.guard import Guard, Keys
from cli.console.markup import el, join, text
from cli.console.parts import framed
from cli.errors import WrongUsage
from node.admin.client import AdminClient, DaemonError, NoDaemon
from protocol.errors import FednodeError

BODY_MAX_BYTES = 512 * 1024
NODE_DEADLINE_S = 300.0
"""For one answer of the node: a preview reads many folders, a bulk decision writes thousands of entries."""

STATIC = {"console.css": "text/css", "console.js": "text/javascript"}

SHOWN: dict[str, Callable[[Asked], Page]] = {
    "": overview.overview,
    "sites": sites.sites,
    "site": sites.site,
    "reports": reports.queue,
    "reports/case": reports.case,
    "lists": lists.lists,
    "lists/hits": lists.hits,
    "rules": refusing.rules,
    "log": decisions.log,
    "log/withhold": decisions.ask_withhold,
}
DONE: dict[str, Callable[[Asked], Answer]] = {
    "follow": sites.follow,
    "reports/decide": deciding.decide,
    "lists/preview": lists.preview,
    "lists/add": lists.add,
    "lists/change": lists.change,
    "lists/remove": lists.remove,
    "rules/add": refusing.add,
    "rules/remove": refusing.remove,
    "log/withheld": decisions.withhold,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Console:
    """Of one run: which node, and what lasts between pages."""

    socket: Path
    log: Path
    session: Session


def create_app(socket: Path, decision_log: Path, keys: Keys, port: int, used: Callable[[], None]) -> ASGIApp:
    """socket: of the admin API; decision_log: its file; used: called for each request that was let in."""
    base = f"/{keys.room}/"
    console = Console(socket, decision_log, Session(base, keys.csrf))
    routes = [
        *(Route(f"/{path}", partial(_show, console, page), methods=["GET"]) for path, page in SHOWN.items()),
        *(Route(f"/{path}", partial(_do, console, action), methods=["POST"]) for path, action in DONE.items()),
        *(Route(f"/{name}", partial(_static, name), methods=["GET"]) for name in STATIC),
    ]
    return Guard(Starlette(routes=[Mount(base.rstrip("/"), routes=routes)]), keys, port, used)


async def _static(name: str, _request: Request) -> Response:
    return Response((Path(__file__).parent / name).read_bytes(), media_type=STATIC[name])


async def _show(console: Console, page: Callable[[Asked], Page], request: Request) -> Response:
    return await _answered(console, page, request, b"")


async def _do(console: Console, action: Callable[[Asked], Answer], request: Request) -> Response:
    raw = bytearray()
    if int(request.headers.get("content-length", "0")) > BODY_MAX_BYTES:  # h11 has checked that it is a number
        return PlainTextResponse("The form is too long.\n", 413)
    try:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                raw += chunk
                if len(raw) > BODY_MAX_BYTES:
                    return PlainTextResponse("The form is too long.\n", 413)
    except ClientDisconnect:
        return Response(status_code=400)
    return await _answered(console, action, request, bytes(raw))


async def _answered(console: Console, make: Callable[[Asked], Answer], request: Request, body: bytes) -> Response:
    """In a thread, as the client of the admin API waits for its answers. The root of a request."""
    return await trio.to_thread.run_sync(_answer, console, make, request, body)


def _answer(console: Console, make: Callable[[Asked], Answer], request: Request, body: bytes) -> Response:
    with AdminClient(console.socket, timeout_s=NODE_DEADLINE_S) as client:
        asked = Asked(client, console.session, Fields(()), Fields(()), console.log)
        try:
            form = Fields.read(body)
            if request.method == "POST" and not compare_digest(
                form.exact("csrf").encode(), console.session.csrf.encode()
            ):
                return PlainTextResponse("This did not come from a page of this console. Nothing was changed.\n", 403)
            query = Fields.read(request.scope["query_string"])
            asked = Asked(client, console.session, query, form, console.log)
            answer = make(asked)
        except FednodeError as error:
            answer = _failed(error)
        except Exception as error:  # the root of a request: the console goes on
            log.exception("%s %s failed", request.method, request.url.path)
            answer = _failed(error)
    if isinstance(answer, Goto):
        if answer.notice is not None:
            console.session.notices.append(answer.notice)
        return RedirectResponse(answer.url, 303)
    return HTMLResponse(framed(asked, answer).encode("utf-8", "replace"), answer.status)


def _failed(error: Exception) -> Page:
    if isinstance(error, FednodeError):
        hint = el("p", text(error.hint), class_="hint") if error.hint else None
        return Page("That did not work", join(el("p", text(error), class_="attention"), hint), status=_status(error))
    return Page("A bug in fednode", el("p", type(error).__name__, class_="attention"), status=500)


def _status(error: FednodeError) -> int:
    if isinstance(error, DaemonError):
        return error.status
    if isinstance(error, NoDaemon):
        return 503
    return 400 if isinstance(error, WrongUsage) else 502
