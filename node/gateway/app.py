"""Requests → answers: sorts out what a request is for, and answers what is about the node itself."""

from __future__ import annotations

from collections.abc import Sequence

from node.gateway import pages, routing_v1
from node.gateway.backend import Backend, NameBackend, NoNames
from node.gateway.blocks import Blocks
from node.gateway.certificate_budget import Budget, Grant
from node.gateway.certificates import Certificates
from node.gateway.dns import DnsClient
from node.gateway.domains import Domains, NameFailed
from node.gateway.failures import NO_CONSENT, bad_request, page, redirect, refused_form
from node.gateway.formats import TRUSTLESS, FormatError, wanted
from node.gateway.heads import Heads
from node.gateway.http1 import BadRequest, Request
from node.gateway.log_answers import LogAnswers
from node.gateway.node_answers import NodeAnswers
from node.gateway.notice_answers import NoticeAnswers
from node.gateway.pages import Self
from node.gateway.rates import address_key, is_loopback
from node.gateway.reading import OPEN
from node.gateway.ready import ReadyAnswers, ReadyAtHand, Version
from node.gateway.record_answers import RecordAnswers
from node.gateway.report_answers import AskDesk, ReportAnswers, no_desk
from node.gateway.response import Response
from node.gateway.routing import CidPath, NamePath, NodePath, Nothing, Redirect, Route, Scheme, SitePath, route
from node.gateway.routing_v1 import RoutingAnswers
from node.gateway.settings import WorkerSettings
from node.gateway.site_answers import SiteAnswers
from node.gateway.view import StoreView
from node.policy.list_files import ListFiles
from node.store.port import StoreReader
from protocol.errors import OperatorError
from protocol.site_id import SiteId

FRONT_LINKS_MAX = 500
NAME_FAILURES = {
    "no-record": (404, "A site asks for the name {name}, but DNS has no DNSLink record for it (_dnslink.{name})."),
    "no-consent": (404, NO_CONSENT),
    "too-deep": (400, "The DNSLink records for {name} lead from name to name without an end."),
    "no-answer": (503, "DNS does not answer which site {name} stands for. Try again soon."),
}


def limit_key(address: str) -> tuple[str, bool]:
    """What counts as one reader, and whether it is this machine."""
    return address_key(address), is_loopback(address)


def _takes(request: Request, place: NodePath) -> bool:
    """Whether the node's own pages have an answer to another method than GET and HEAD."""
    return request.method == "POST" or place.path.startswith(routing_v1.PREFIX)


class GatewayApp:
    """The handler of a worker's server."""

    def __init__(
        self,
        settings: WorkerSettings,
        reader: StoreReader,
        backend: Backend,
        desk: AskDesk = no_desk,
        names: NameBackend | None = None,
        grant: Grant | None = None,
    ) -> None:
        """desk: where reports go. names: whom to ask for names of others. grant: who counts the certificates for
        strangers."""
        self._reports = ReportAnswers(Self(settings.node_name, settings.contact), desk, limit_key)
        self._log = LogAnswers(settings.store_dir.parent / "decisions.db")
        self._notices = NoticeAnswers(
            settings.store_dir.parent / "notices.db", Self(settings.node_name, settings.contact)
        )
        self._me = Self(settings.node_name, settings.contact, self._log.entry_of, self._notices.has_notice)
        self._domains = settings.domains
        self._list_sites = settings.list_sites
        self._view = StoreView(reader, ListFiles(settings.store_dir.parent / "lists"))
        blocks = Blocks(reader, backend, names)
        heads = Heads(
            self._view, backend, names, fetch_on_miss=settings.fetch_on_miss, fetch_trees=settings.fetch_trees
        )
        self._blocks = blocks
        self._names = Domains(
            self._view,
            DnsClient(settings.dns_servers),
            settings.tree_domains,
            fetch_on_miss=settings.fetch_on_miss,
        )
        certificates = Certificates(self._view, heads, grant or Budget().grant)
        self._about = NodeAnswers(settings, self._view, self._names, certificates)
        records = RecordAnswers(self._view, names or NoNames(), limit_key, takes=settings.take_records)
        self._routing = RoutingAnswers(self._view, heads, backend, records)
        self._sites = SiteAnswers(self._view, blocks, heads, self._me, settings.fetch_limits)
        self._ready = ReadyAnswers()
        self.at_hand = ReadyAtHand(self._ready, self._view)
        self._rules_version = self._view.rules_version

    async def answer(self, request: Request) -> Response:
        """Raises BadRequest for a host or path that is none."""
        key = self._ready.key_of(request)
        version = await self._version() if key is not None else None
        if key is not None and version is not None:
            ready = self._ready.get(key, version)
            if ready is not None:
                return ready
        response, place = await self._answer(request)
        if key is None or version is None or place is None or not self._view.is_held(place.site):
            return response
        return self._ready.offer(key, version, response) if version == Version.seen_by(self._view) else response

    async def _version(self) -> Version | None:
        """Of what would be served now; None when the store cannot be read, as the answer will then say."""
        try:
            await self._view.refresh()
        except OperatorError:
            return None
        return Version.seen_by(self._view)

    async def _answer(self, request: Request) -> tuple[Response, SitePath | None]:
        """With the place in a site, if the request alone says which it is."""
        scheme: Scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
        try:
            form = wanted(request)
        except FormatError as error:
            return refused_form(error, self._me), None
        found = route(
            request.host, request.target, self._domains, scheme, trustless=form is not None and form.kind in TRUSTLESS
        )
        place = found if isinstance(found, SitePath) else None
        while isinstance(found, NamePath):  # a name as host, then one in the path
            found = await self._at_name(found)
        if request.method == "OPTIONS" and not isinstance(found, NodePath):
            return Response(200, [("Allow", "GET, HEAD, OPTIONS"), *OPEN]), None
        if request.method not in ("GET", "HEAD") and not (isinstance(found, NodePath) and _takes(request, found)):
            raise BadRequest(405, "only GET and HEAD")
        match found:
            case SitePath():
                return await self._sites.answer(request, found, form), place
            case CidPath():
                return await self._sites.answer_cid(request, found, form), None
            case Redirect(location, status):
                if request.headers.get("service-worker") == "script":
                    raise BadRequest(400, "a service worker for more than one site")
                return redirect(location, status), None
            case Nothing(status, reason):
                return page(status, pages.plain("Nothing here", reason, self._me)), None
            case NodePath(path):
                try:
                    return await self._node(request, path), None
                except OperatorError:
                    raise BadRequest(503, "this node cannot read its store") from None

    async def _at_name(self, place: NamePath) -> Route:
        try:
            await self._view.refresh()
            target = await self._names.target_of(place.name)
        except OperatorError:
            raise BadRequest(503, "this node cannot read its store") from None
        if target is None:
            return place.otherwise
        if isinstance(target, NameFailed):
            status, reason = NAME_FAILURES[target.kind]
            return Nothing(status, reason.format(name=place.name))
        return place.of_owner(target.owner, target.inside, must_list=target.must_list)

    def counts(self) -> dict[str, int]:
        """What is counted here, for the report to the daemon."""
        return {
            "cache_hits": self._blocks.cache_hits,
            "cache_misses": self._blocks.cache_misses,
            "fetches": self._blocks.fetches,
        }

    def error_page(self, error: BadRequest) -> Response:
        """The answer to a request that is none."""
        return bad_request(error, self._me)

    async def apply_new_rules(self) -> None:
        """Cut the answers on their way that rules made since the last call refuse."""
        await self._view.refresh()
        if self._view.rules_version != self._rules_version:
            self._rules_version = self._view.rules_version
            self._sites.check_bodies()

    async def _node(self, request: Request, path: str) -> Response:
        if path.startswith(routing_v1.PREFIX):
            return await self._routing.answer(request, path)
        answer = self._log.answer(path) or await self._reports.answer(request, path)
        answer = answer or self._notices.answer(request, path)
        answer = answer or await self._about.answer(request, path)
        if answer is not None:
            return answer
        if path == "/":
            await self._view.refresh()
            return page(200, self._front(await self._view.served()))
        if path == "/healthz":
            await self._view.refresh()  # fails when the store cannot be read
            return Response(
                200, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")], b"ok\n"
            )
        return page(404, pages.plain("Not found", "This node has no such page.", self._me))

    def _front(self, served: Sequence[SiteId]) -> bytes:
        links = [(f"/ipns/{site}/", str(site)) for site in served[:FRONT_LINKS_MAX]] if self._list_sites else []
        return pages.front(self._me, len(served), links)
