"""Delegated routing V1 over HTTP: who has a block, where this node is, and what a site's name stands for.

docs/spec/routing.md. It answers for this node and what it hosts, and asks nobody else. Records: record_answers.py.
"""

from __future__ import annotations

import json

import trio

from node.gateway.backend import Backend, Identity, Unavailable
from node.gateway.heads import Heads
from node.gateway.http1 import BadRequest, Request
from node.gateway.record_answers import HEADERS, METHODS, RecordAnswers, text
from node.gateway.response import Response
from node.gateway.routing import parse_cid, parse_host
from node.gateway.view import StoreView
from protocol import ipns
from protocol.errors import DecodeError
from protocol.routing_filter import RoutingFilter

PREFIX = "/routing/v1/"
IDENTITY_FRESH_S = 60.0  # addresses of a node change when it moves or is opened to the network
FOUND_MAX_AGE_S = 60
FOUND_STALE_S = 172_800  # as the specification has it; who follows a stale answer in vain asks again
EMPTY_MAX_AGE_S = 15  # the site may be on its way here
_JSON, _NDJSON = "application/json", "application/x-ndjson"


class RoutingAnswers:
    """Makes answers. Policy is asked as for serving: what is refused here is not said to be here."""

    def __init__(self, view: StoreView, heads: Heads, backend: Backend, records: RecordAnswers) -> None:
        self._view = view
        self._heads = heads
        self._backend = backend
        self._records = records
        self._identity: tuple[float, Identity] | None = None

    async def answer(self, request: Request, path: str) -> Response:
        """Raises BadRequest when the daemon does not answer, OperatorError."""
        await self._view.refresh()
        kind, _, name = path.removeprefix(PREFIX).partition("/")
        if request.method == "OPTIONS":
            return Response(200, [*HEADERS, ("Allow", METHODS)])
        if request.method == "PUT" and kind != "ipns":
            return text(501, "Only records of names are taken.")
        match kind:
            case "providers":
                return await self._providers(request, name)
            case "peers":
                return await self._peers(request, name)
            case "ipns":
                return await self._records.answer(request, name)
            case _:
                return text(400, "There is nothing at this path of /routing/v1.")

    async def _providers(self, request: Request, name: str) -> Response:
        cid = parse_cid(name)
        if cid is None:
            return text(422, "This is not a CID of content.")
        has = any(
            self._view.decide(current.site, current.site_root, ("",), (cid,)).allowed
            for current in self._heads.holding(cid)
        )
        return await self._found(request, "Providers", has=has)

    async def _peers(self, request: Request, name: str) -> Response:
        try:
            wanted = ipns.name_of(name)
        except DecodeError:
            return text(422, "This is not a peer id.")
        identity = await self._whoami()
        return await self._found(request, "Peers", has=wanted == ipns.name_of(identity.peer))

    async def _found(self, request: Request, key: str, *, has: bool) -> Response:
        """This node as a record of the peer schema, if it has what was asked for and passes the request's filters. The
        address that it was asked at is its gateway's."""
        try:
            wanted = RoutingFilter.parse(request.target.partition("?")[2])
        except DecodeError as error:
            return text(422, f"These filters are not read: {error}.")
        if not has:
            return _records(request, key, [])
        identity = await self._whoami()
        addresses = [address.partition("/p2p/")[0] for address in identity.addresses]
        protocols = ["transport-bitswap"]
        if request.host:
            addresses.append(_http_address(request))
            protocols.append("transport-ipfs-gateway-http")
        passed = wanted.apply(addresses, protocols)
        me: dict[str, object] = {"Schema": "peer", "ID": identity.peer, "Addrs": passed, "Protocols": protocols}
        return _records(request, key, [me] if passed is not None else [])

    async def _whoami(self) -> Identity:
        """Asks the daemon, unless it was asked a moment ago."""
        now = trio.current_time()
        if self._identity is None or now - self._identity[0] > IDENTITY_FRESH_S:
            try:
                self._identity = now, await self._backend.identity()
            except Unavailable:
                raise BadRequest(503, "this node does not know its addresses at the moment") from None
        return self._identity[1]


def _http_address(request: Request) -> str:
    """The multiaddr of the gateway as its reader knows it."""
    host = parse_host(request.host or "")
    scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
    port = host.port or ("443" if scheme == "https" else "80")
    bare = host.name.strip("[]")
    kind = "dns" if not host.is_address else "ip6" if ":" in bare else "ip4"
    return f"/{kind}/{bare}/tcp/{port}/{scheme}"


def _records(request: Request, key: str, records: list[dict[str, object]]) -> Response:
    stale = f", stale-while-revalidate={FOUND_STALE_S}, stale-if-error={FOUND_STALE_S}" if records else ""
    freshness = f"public, max-age={FOUND_MAX_AGE_S if records else EMPTY_MAX_AGE_S}{stale}"
    if _NDJSON in request.headers.get("accept", "").lower():
        kind, body = _NDJSON, "".join(json.dumps(record) + "\n" for record in records)
    else:
        kind, body = _JSON, json.dumps({key: records})
    return Response(200, [*HEADERS, ("Content-Type", kind), ("Cache-Control", freshness)], body.encode())
