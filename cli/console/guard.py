"""Who may use the console: one browser, which opened the one-time address. An ASGI application around another.

What it keeps out (docs/operators/console.md, "Safety"): other users and programs of this machine, other pages in the
same browser, and names of others that resolve to this machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie

from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.console.markup import el, join

COOKIE = "fednode-console"
HEADERS = {
    "Cache-Control": "no-store",
    # no-referrer would make browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
}
SAFE_METHODS = ("GET", "HEAD")


@dataclass(slots=True)
class Keys:
    """The secrets of one run. room: the folder that all pages are in. Cookies are sent to every port of a host, but
    only below their path: as nobody else knows the room, no other server on this machine is sent the session."""

    room: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    once: str | None = field(default_factory=lambda: secrets.token_urlsafe(32))

    def spend(self, token: str) -> bool:
        """Whether it is the one-time token; the next one is refused."""
        if self.once is None or not _same(token, self.once):
            return False
        self.once = None
        return True


class Guard:
    """`used` is called for each request that was let in."""

    def __init__(self, app: ASGIApp, keys: Keys, port: int, used: Callable[[], None]) -> None:
        self._app = app
        self._keys = keys
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._used = used

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        sending = _with_headers(send)
        answer = self._answer(scope)
        if answer is not None:
            await answer(scope, receive, sending)
            return
        self._used()
        await self._app(scope, receive, sending)

    def _answer(self, scope: Scope) -> Response | None:
        """What is said to a request that is not let in."""
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse(f"The console answers to http://{self._hosts[0]} alone.\n", 421)
        method, path = scope["method"], scope["path"]
        if path == "/open":
            return self._open(method, scope["query_string"])
        if not path.startswith(f"/{self._keys.room}/") or not self._known(headers):
            return _sorry("This console is open in another browser, or was closed. Run fednode console again.")
        if method not in SAFE_METHODS and not _from_ourselves(headers, f"http://{hosts[0]}"):
            return _sorry("This did not come from a page of the console. Nothing was changed.")
        return None

    def _open(self, method: str, query: bytes) -> Response:
        given = query.decode("latin-1").removeprefix("token=")
        if method != "GET" or not self._keys.spend(given):
            return _sorry("This address works once, and was used. Run fednode console again.")
        home = f"/{self._keys.room}/"
        # A page and not a redirect: the step after it comes from the console itself, whatever led here, so that the
        # browser sends a cookie that is SameSite=Strict.
        page = join(
            el("meta", charset="utf-8"),
            el("meta", http_equiv="refresh", content=f"0;url={home}"),
            el("title", "fednode console"),
            el("p", el("a", "Open the console", href=home)),
        )
        answer = HTMLResponse("<!doctype html>" + page)
        answer.set_cookie(COOKIE, self._keys.session, path=home, httponly=True, samesite="strict")
        return answer

    def _known(self, headers: Iterable[tuple[str, str]]) -> bool:
        for name, value in headers:
            if name == "cookie":
                try:
                    found = SimpleCookie(value).get(COOKIE)
                except CookieError:
                    continue
                if found is not None and _same(found.value, self._keys.session):
                    return True
        return False


def _from_ourselves(headers: Iterable[tuple[str, str]], origin: str) -> bool:
    """Browsers say where a form comes from; a request without that is refused."""
    said = [value for name, value in headers if name == "origin"]
    site = [value for name, value in headers if name == "sec-fetch-site"]
    return said == [origin] and site in ([], ["same-origin"])


def _same(given: str, secret: str) -> bool:
    return compare_digest(given.encode(), secret.encode())


def _sorry(why: str) -> Response:
    return PlainTextResponse(why + "\n", 403)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending
