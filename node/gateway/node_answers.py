"""What the node says of itself: `/.well-known/fednode`, security.txt, robots.txt, and which names deserve TLS."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from urllib.parse import parse_qs

from node.gateway.certificates import Certificates
from node.gateway.domains import Domains, Target
from node.gateway.failures import blocked_by, page
from node.gateway.http1 import BadRequest, Request
from node.gateway.pages import Self, plain
from node.gateway.response import Header, Response
from node.gateway.routing import CidPath, NamePath, NodePath, SitePath, route
from node.gateway.settings import WorkerSettings
from node.gateway.view import StoreView

ABOUT = "/.well-known/fednode"
TLS = "/.well-known/fednode/tls"
SECURITY = "/.well-known/security.txt"
ROBOTS = "/robots.txt"
SECURITY_VALID_DAYS = 90  # RFC 9116, 2.5.5: less than a year; the text is made anew with each request
MAX_AGE_S = 300

_ROBOTS = b"User-agent: *\nDisallow: /ipfs/\nDisallow: /ipns/\nDisallow: /routing/\n"
_NO_STORE: Header = ("Cache-Control", "no-store")
_SHORT: Header = ("Cache-Control", f"public, max-age={MAX_AGE_S}")
_TEXT: Header = ("Content-Type", "text/plain; charset=utf-8")
_NOSNIFF: Header = ("X-Content-Type-Options", "nosniff")


class NodeAnswers:
    """Answers on the node's own hosts; a site's origin has its own files under these paths."""

    def __init__(self, settings: WorkerSettings, view: StoreView, domains: Domains, certificates: Certificates) -> None:
        self._settings = settings
        self._me = Self(settings.node_name, settings.contact)
        self._view = view
        self._domains = domains
        self._certificates = certificates

    async def answer(self, request: Request, path: str) -> Response | None:
        """None for a path that is not one of these. Errors of the store go through."""
        if path == ABOUT:
            await self._view.refresh()
            about = self._about(len(await self._view.served()))
            cors: Header = ("Access-Control-Allow-Origin", "*")
            return Response(200, [("Content-Type", "application/json"), _NOSNIFF, cors, _SHORT], about)
        if path == TLS:
            return await self._tls(request)
        if path == SECURITY:
            return self._security()
        if path == ROBOTS:
            return Response(200, [_TEXT, _NOSNIFF, _SHORT], _ROBOTS)
        return None

    def _about(self, served: int) -> bytes:
        """docs/spec/gateway.md, 12."""
        settings = self._settings
        about = {
            "software": {"name": "fednode", "version": version("fednode")},
            "name": settings.node_name,
            "contact": settings.contact,
            "policy": settings.policy_url,
            "hosting": settings.hosting_mode,
            "lists": sorted({name.rpartition("/")[2] for name in self._view.list_names}),
            "peer_id": settings.peer_id,
            "addresses": list(settings.addresses),
            "sites": served,
        }
        return json.dumps(about, ensure_ascii=False, indent=2).encode() + b"\n"

    def _security(self) -> Response:
        contact = blocked_by(self._me, "")
        if not contact:
            text = "The operator of this node has not said how to be reached."
            return page(404, plain("Not found", text, self._me))
        expires = datetime.fromtimestamp(int(time.time()), UTC) + timedelta(days=SECURITY_VALID_DAYS)
        lines = [f"Contact: {contact}", f"Expires: {expires.strftime('%Y-%m-%dT%H:%M:%SZ')}"]
        if self._settings.policy_url:
            lines.append(f"Policy: {self._settings.policy_url}")
        return Response(200, [_TEXT, _NOSNIFF, _SHORT], "".join(line + "\n" for line in lines).encode())

    async def _tls(self, request: Request) -> Response:
        """200 for a name under which readers get something from this node: a proxy may get a certificate for it."""
        names = parse_qs(request.target.partition("?")[2], max_num_fields=8).get("domain", [])
        await self._view.refresh()
        if len(names) == 1 and await self._is_served(names[0]):
            return Response(200, [_TEXT, _NOSNIFF, _NO_STORE], b"yes\n")
        return Response(404, [_TEXT, _NOSNIFF, _NO_STORE], b"no\n")

    async def _is_served(self, name: str) -> bool:
        try:
            found = route(name, "/", self._settings.domains)
        except BadRequest:
            return False
        if ":" in name:
            return False
        match found:
            case NodePath():
                return name.lower() in self._settings.domains
            case SitePath(site=site):
                return self._view.is_held(site)
            case CidPath(cid=cid):
                roots = (self._view.root_of(site) for site in self._view.sites_of(cid))
                return cid in roots or cid in self._view.trees_of(cid)
            case NamePath(name=domain):
                target = await self._domains.target_of(domain)
                return isinstance(target, Target) and await self._certificates.may_have(domain, target)
            case _:
                return False
