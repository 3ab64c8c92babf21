"""Routes of the admin API (docs/operators/admin-api.md) over a NodeControl."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.admin.cases import CASES, DECISION, LINES, NOTICES, NUMBER, CaseControl
from node.admin.control import RULES_PAGE_MAX, SITE_STATES, SITES_MAX, BadRequest, Json, NodeControl, NotFound
from node.admin.imports import IMPORT, START, ImportControl, addresses_in
from node.admin.invitations import INVITATION, ISSUE, InvitationControl
from node.admin.members import SITE_QUERY, MemberControl
from node.admin.shapes import Field, Shape, read_object, read_query
from node.admin.trees import NAME, RECORD, TREE, UPLOAD, TreeControl, record_of
from node.metrics import CONTENT_TYPE as METRICS_TYPE
from node.policy.rules import BadTarget
from protocol.errors import DecodeError, FednodeError, OperatorError, PeerError
from protocol.limits import REASON_MAX_CHARS

BODY_MAX_BYTES = 64 * 1024
"""Of a request. The largest member, a target, has at most 8192 characters."""

NOTE_MAX_CHARS = 2000
"""Of an operator's note to itself."""

BODY_DEADLINE_S = 10.0
"""For the whole body to arrive; the other end is a program on the same machine."""

TARGET: Shape = {"target": Field(str)}
SITE: Shape = {"site": Field(str, max_chars=200)}
SITES: Shape = {
    "find": Field(str, default="", max_chars=300, allow_empty=True),
    "state": Field(str, default="", choices=("", *SITE_STATES), allow_empty=True),
    "sort": Field(str, default="site", choices=("site", "size", "updated")),
    "offset": Field(int, default=0),
    "limit": Field(int, default=SITES_MAX, min_value=1, max_value=SITES_MAX),
}
PATH: Shape = {"path": Field(str, max_chars=4096)}
CHECK: Shape = {"cid": Field(str, max_chars=400)}
ADDRESS: Shape = {"address": Field(str, max_chars=1000)}
LIST: Shape = {
    "source": Field(str, max_chars=4096),
    "mode": Field(str, default="enforce", choices=("enforce", "review", "observe")),
    "name": Field(str, default="", max_chars=200, allow_empty=True),
    "cap_sites": Field(int, default=10),
    "quorum": Field(int, default=1, min_value=1, max_value=64),
}
LIST_NAME: Shape = {"name": Field(str, max_chars=4096)}
LIST_SOURCE: Shape = {"source": Field(str, max_chars=4096)}
LIST_CHANGE: Shape = {
    "name": Field(str, max_chars=4096),
    "action": Field(str, choices=("enforce", "review", "observe", "accept", "reject", "overrule", "restore")),
    "line": Field(str, default=None),
}
THING: Shape = {"thing": Field(str)}
PAGE: Shape = {
    "list": Field(str, default=None, max_chars=4096),
    "offset": Field(int, default=0),
    "limit": Field(int, default=RULES_PAGE_MAX, min_value=1, max_value=RULES_PAGE_MAX),
}
BLOCK: Shape = {
    "target": Field(str),
    "ground": Field(str, default="policy", choices=("policy", "legal")),
    "reason": Field(str, default="", max_chars=REASON_MAX_CHARS, allow_empty=True),
    "verdict": Field(str, default=None, choices=("quarantine", "refuse", "allow")),
    "drop": Field(bool, default=False),
    "note": Field(str, default="", max_chars=NOTE_MAX_CHARS, allow_empty=True),
    "secret": Field(bool, default=False),
    "now": Field(bool, default=False),
    "until_s": Field(int, default=None),
}

Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)


def create_app(
    control: NodeControl,
    cases: CaseControl | None = None,
    imports: ImportControl | None = None,
    trees: TreeControl | None = None,
    members: MemberControl | None = None,
    invitations: InvitationControl | None = None,
) -> Starlette:
    """The ASGI application; it holds no state of its own."""
    return Starlette(
        routes=_routes(control)
        + (_case_routes(cases) if cases is not None else [])
        + (_import_routes(imports) if imports is not None else [])
        + (_tree_routes(trees) if trees is not None else [])
        + (_member_routes(members) if members is not None else [])
        + (_invitation_routes(invitations) if invitations is not None else []),
        exception_handlers={
            FednodeError: _fednode_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_gone,
        },
    )


def _routes(control: NodeControl) -> list[Route]:
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", "/v1/status", _get(control.status)),
        ("GET", "/v1/sites", _get_page(SITES, control.sites)),
        ("GET", "/v1/sites/{site}", _get_site(control)),
        ("GET", "/v1/peers", _get(_named("peers", control.peers))),
        ("POST", "/v1/peers", _post(ADDRESS, control.connect)),
        ("GET", "/v1/rules", _get_rules(control)),
        ("POST", "/v1/rules", _post_rule(control)),
        ("DELETE", "/v1/rules", _delete(TARGET, control.unblock)),
        ("GET", "/v1/blocklists", _get(_named("blocklists", control.blocklists))),
        ("POST", "/v1/blocklists", _post(PATH, control.blocklist_add)),
        ("DELETE", "/v1/blocklists", _delete(PATH, control.blocklist_remove)),
        ("GET", "/v1/lists", _get(_named("lists", control.lists.show))),
        ("POST", "/v1/lists", _post_all(LIST, control.lists.add)),
        ("DELETE", "/v1/lists", _delete(LIST_NAME, control.lists.remove)),
        ("POST", "/v1/lists/previews", _post(LIST_SOURCE, control.lists.preview)),
        ("POST", "/v1/lists/changes", _post_all(LIST_CHANGE, control.lists.change)),
        ("GET", "/v1/policy/{thing:path}", _get_policy(control)),
        ("POST", "/v1/follows", _post(SITE, control.follow)),
        ("DELETE", "/v1/follows", _delete(SITE, control.unfollow)),
        ("POST", "/v1/store/checks", _post(CHECK, control.check_block)),
        ("GET", "/v1/doctor", _get(control.doctor)),
        ("GET", "/v1/metrics", _get_metrics(control)),
    ]
    return [Route(path, _rooted(endpoint), methods=[method]) for method, path, endpoint in table]


def _case_routes(cases: CaseControl) -> list[Route]:
    async def listed(request: Request) -> Response:
        return JSONResponse(await cases.reports(**read_query(request.query_params.multi_items(), CASES)))

    async def shown(request: Request) -> Response:
        return JSONResponse(await cases.report(read_query(request.query_params.multi_items(), NUMBER)["number"]))

    async def taken(request: Request) -> Response:
        return JSONResponse(await cases.take((await _body(request, LINES))["lines"]))

    async def decided(request: Request) -> Response:
        body = await _body(request, DECISION)
        return JSONResponse(await cases.decide(body.pop("cases"), **body))

    async def noticed(request: Request) -> Response:
        return JSONResponse(await cases.notices(read_query(request.query_params.multi_items(), NOTICES)["site"]))

    async def withheld(request: Request) -> Response:
        return JSONResponse(await cases.withhold((await _body(request, NUMBER))["number"]))

    table = [
        ("GET", "/v1/reports", listed),
        ("POST", "/v1/reports", taken),
        ("GET", "/v1/reports/case", shown),
        ("POST", "/v1/reports/decisions", decided),
        ("GET", "/v1/notices", noticed),
        ("POST", "/v1/log/withheld", withheld),
    ]
    return [Route(path, _rooted(endpoint), methods=[method]) for method, path, endpoint in table]


def _import_routes(imports: ImportControl) -> list[Route]:
    async def started(request: Request) -> Response:
        body = await _body(request, START)
        return JSONResponse(await imports.start(body["target"], addresses_in(body)))

    async def shown(request: Request) -> Response:
        return JSONResponse(await imports.get(read_query(request.query_params.multi_items(), IMPORT)["number"]))

    async def cancelled(request: Request) -> Response:
        return JSONResponse(await imports.cancel(read_query(request.query_params.multi_items(), IMPORT)["number"]))

    table = [
        ("GET", "/v1/imports", _get(_named("imports", imports.show))),
        ("POST", "/v1/imports", started),
        ("GET", "/v1/imports/one", shown),
        ("DELETE", "/v1/imports/one", cancelled),
    ]
    return [Route(path, _rooted(endpoint), methods=[method]) for method, path, endpoint in table]


def _tree_routes(trees: TreeControl) -> list[Route]:
    async def taken(request: Request) -> Response:
        partial = read_query(request.query_params.multi_items(), UPLOAD)["partial"] == "yes"
        if request.headers.get("content-type", "").strip().lower() != "application/vnd.ipld.car":
            raise HTTPException(415, "the body must be application/vnd.ipld.car")
        async with aclosing(_pieces(request)) as pieces:
            try:
                return JSONResponse(await trees.take(pieces, partial=partial))
            except FednodeError:
                async for _ in pieces:  # an answer in the middle of a body would be lost on the way
                    pass
                raise

    async def named(request: Request) -> Response:
        body = await _body(request, RECORD)
        return JSONResponse(await trees.take_name(body["name"], record_of(body["record"])))

    table = [
        ("GET", "/v1/trees", _get(_named("trees", trees.show))),
        ("POST", "/v1/trees", taken),
        ("DELETE", "/v1/trees", _delete(TREE, trees.drop)),
        ("GET", "/v1/names", _get(_named("names", trees.names))),
        ("POST", "/v1/names", named),
        ("DELETE", "/v1/names", _delete(NAME, trees.drop_name)),
    ]
    return [Route(path, _rooted(endpoint), methods=[method]) for method, path, endpoint in table]


def _member_routes(members: MemberControl) -> list[Route]:
    async def asked(request: Request) -> Response:
        return JSONResponse(
            await members.resilience(read_query(request.query_params.multi_items(), SITE_QUERY)["site"])
        )

    table = [
        ("GET", "/v1/members", _get(_named("members", members.members))),
        ("GET", "/v1/resilience", asked),
    ]
    return [Route(path, _rooted(endpoint), methods=[method]) for method, path, endpoint in table]


def _invitation_routes(invitations: InvitationControl) -> list[Route]:
    async def revoked(request: Request) -> Response:
        number = read_query(request.query_params.multi_items(), INVITATION)["number"]
        return JSONResponse(await invitations.revoke(number))

    table = [
        ("GET", "/v1/invitations", _get(_named("invitations", invitations.show))),
        ("POST", "/v1/invitations", _post_all(ISSUE, invitations.issue)),
        ("DELETE", "/v1/invitations", revoked),
    ]
    return [Route(path, _rooted(endpoint), methods=[method]) for method, path, endpoint in table]


async def _pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes; each piece within BODY_DEADLINE_S of the one before."""
    stream = aiter(request.stream())
    while True:
        with trio.move_on_after(BODY_DEADLINE_S) as deadline:
            piece = await anext(stream, None)
        if deadline.cancelled_caught:
            raise HTTPException(408, f"nothing of the body came for {BODY_DEADLINE_S:.0f} s")
        if piece is None:
            return
        yield piece


def _rooted(endpoint: Endpoint) -> Endpoint:
    """A bug ends its own request: it is logged with its traceback, and the client learns only its class."""

    async def rooted(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (FednodeError, HTTPException, ClientDisconnect):
            raise
        except Exception as error:  # the root of a request
            log.exception("%s %s failed", request.method, request.url.path)
            message = f"a bug in fednode: {type(error).__name__}"
            return _error(500, "internal", message, "the daemon's log has the details")

    return rooted


def _named(name: str, rows: Callable[[], Awaitable[list[Json]]]) -> Callable[[], Awaitable[Json]]:
    """Lists go out inside an object, so that an answer can get more members later."""

    async def answer() -> Json:
        return {name: await rows()}

    return answer


def _get(answer: Callable[[], Awaitable[Json]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        read_query(request.query_params.multi_items(), {})
        return JSONResponse(await answer())

    return endpoint


def _get_page(shape: Shape, answer: Callable[..., Awaitable[Json]]) -> Endpoint:
    """An endpoint whose query has the members of shape, which the answer takes by their names."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(await answer(**read_query(request.query_params.multi_items(), shape)))

    return endpoint


def _get_metrics(control: NodeControl) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        read_query(request.query_params.multi_items(), {})
        return Response(await control.metrics(), media_type=METRICS_TYPE)

    return endpoint


def _get_site(control: NodeControl) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        read_query(request.query_params.multi_items(), {})
        checked = read_query([("site", request.path_params["site"])], SITE)
        return JSONResponse(await control.site(checked["site"]))

    return endpoint


def _get_policy(control: NodeControl) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        read_query(request.query_params.multi_items(), {})
        checked = read_query([("thing", request.path_params["thing"])], THING)
        return JSONResponse(await control.lists.explain(checked["thing"]))

    return endpoint


def _get_rules(control: NodeControl) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        page = read_query(request.query_params.multi_items(), PAGE)
        answer = await control.rules(list_name=page["list"], offset=page["offset"], limit=page["limit"])
        return JSONResponse(answer)

    return endpoint


def _post(shape: Shape, answer: Callable[[str], Awaitable[Json]]) -> Endpoint:
    """An endpoint whose body has the one member of shape."""
    (name,) = shape

    async def endpoint(request: Request) -> Response:
        return JSONResponse(await answer((await _body(request, shape))[name]))

    return endpoint


def _post_all(shape: Shape, answer: Callable[..., Awaitable[Json]]) -> Endpoint:
    """An endpoint whose body has the members of shape, which the answer takes by their names."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(await answer(**await _body(request, shape)))

    return endpoint


def _delete(shape: Shape, answer: Callable[[str], Awaitable[Json]]) -> Endpoint:
    """An endpoint whose query has the one member of shape: targets hold slashes, so they are no path
    segments."""
    (name,) = shape

    async def endpoint(request: Request) -> Response:
        return JSONResponse(await answer(read_query(request.query_params.multi_items(), shape)[name]))

    return endpoint


def _post_rule(control: NodeControl) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        body = await _body(request, BLOCK)
        drop, verdict = body["drop"], body["verdict"]
        if drop and verdict == "quarantine":
            raise BadRequest("a quarantined site is kept: drop does not go with verdict quarantine")
        if verdict == "allow" and (drop or body["ground"] == "legal"):
            raise BadRequest("what is allowed is neither dropped nor refused by law")
        answer = await control.block(
            body["target"],
            verdict=verdict or ("refuse" if drop else "quarantine"),
            ground=body["ground"],
            reason=body["reason"],
            drop=drop,
            note=body["note"],
            secret=body["secret"],
            now=body["now"],
            until_s=body["until_s"],
        )
        return JSONResponse(answer)

    return endpoint


async def _body(request: Request, shape: Shape) -> dict[str, Any]:
    read_query(request.query_params.multi_items(), {})
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json")
    raw = bytearray()
    with trio.move_on_after(BODY_DEADLINE_S) as deadline:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                raw += chunk
                if len(raw) > BODY_MAX_BYTES:
                    raise HTTPException(413, f"the body has more than {BODY_MAX_BYTES} bytes")
    if deadline.cancelled_caught:
        raise HTTPException(408, f"the body did not arrive within {BODY_DEADLINE_S:.0f} s")
    return read_object(bytes(raw), shape)


async def _fednode_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FednodeError)  # noqa: S101 (the handler is registered for this class)
    return _error(_status(error), error.code, str(error), error.hint)


def _status(error: FednodeError) -> int:
    """The class says who must act; docs/operators/admin-api.md has the table."""
    if isinstance(error, (BadRequest, BadTarget, DecodeError)):
        return 400
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, OperatorError):
        return 409
    return 502 if isinstance(error, PeerError) else 500


HTTP_CODES = {
    404: "no-such-route",
    405: "method-not-allowed",
    408: "timeout",
    413: "too-large",
    415: "not-json",
}


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (the handler is registered for this class)
    code = HTTP_CODES.get(error.status_code, "bad-request")
    hint = "docs/operators/admin-api.md lists the routes" if error.status_code in (404, 405) else None
    response = _error(error.status_code, code, error.detail, hint)
    response.headers.update(error.headers or {})
    return response


async def _client_gone(_request: Request, _error_: Exception) -> Response:
    return Response(status_code=400)


def _error(status: int, code: str, message: str, hint: str | None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message, "hint": hint}}, status_code=status)
