"""What the node told a site's publisher, for everybody: signed notices as JSON, and as a page (docs/spec/notice.md)."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path

from node.decisions.shape import PREFIX as LOG_PREFIX
from node.gateway import pages
from node.gateway.http1 import Request
from node.gateway.pages import Self
from node.gateway.response import Response, public_json
from node.notices.book import NoticeReader, NoticesFailed
from node.notices.shape import PREFIX, notice_json
from protocol.errors import DecodeError
from protocol.notice import Notice, SignedNotice
from protocol.site_id import SiteId


class NoticeAnswers:
    """Reads the notices' file in a worker. Questions of microseconds, asked on the loop."""

    def __init__(self, path: Path, me: Self) -> None:
        self._path = path
        self._me = me
        self._reader: NoticeReader | None = None

    def answer(self, request: Request, path: str) -> Response | None:
        """None for a path that has nothing to do with notices. NoticesFailed."""
        if not path.startswith(f"{PREFIX}/"):
            return None
        try:
            site = SiteId.from_text(path.removeprefix(f"{PREFIX}/"))
        except DecodeError:
            return public_json(404, {"error": "no such site; see docs/spec/notice.md of fednode"})
        found = [SignedNotice.decode(raw) for raw in self._open().of_site(site)]
        if "text/html" in request.headers.get("accept", ""):
            return self._page(site, found)
        return public_json(200 if found else 404, {"notices": [notice_json(each) for each in found]})

    def has_notice(self, site: SiteId) -> bool:
        """Whether there is one to be linked."""
        try:
            return bool(self._open().of_site(site))
        except NoticesFailed:
            return False

    def _open(self) -> NoticeReader:
        if self._reader is None:
            self._reader = NoticeReader(self._path)
        return self._reader

    def _page(self, site: SiteId, found: list[SignedNotice]) -> Response:
        content = [pages.facts([("Site", str(site))])]
        if not found:
            content.append(pages.paragraph("This node told the publisher of this site nothing."))
        for each in found:
            content.append(_in_words(each.notice))
        if found and found[0].notice.kind != "lifted":
            content.append(
                "<h2>For the publisher</h2><p>With the site's key you can answer, and take the site away:</p>"
                f"<p><code>fednode appeal {site} --to NODE &quot;…&quot;</code></p>"
                f"<p><code>fednode export --from NODE --key NAME {site} -o site.car</code></p>"
            )
        headers = [*pages.HEADERS, ("Content-Security-Policy", pages.CSP)]
        return Response(200 if found else 404, headers, pages.page("Notices to a publisher", content, self._me))


def _in_words(notice: Notice) -> str:
    entry = ""
    if notice.entry is not None:
        url = f"{LOG_PREFIX}/entries/{notice.entry}/{notice.entry + 1}"
        entry = f'<p><a href="{escape(url)}">Entry {notice.entry}</a> of the public log.</p>'
    rows = [
        ("Reason", notice.reason),
        ("Rule", notice.rule),
        ("From list", notice.list_name or ""),
        ("Kept for the publisher until", _moment(notice.keep_until_s)),
        ("Contact", notice.contact),
    ]
    heading = f"<h2>{escape(_heading(notice))}</h2>"
    return heading + pages.facts([("Given", _moment(notice.issued_s)), *rows]) + entry


def _heading(notice: Notice) -> str:
    if notice.kind == "lifted":
        return f"{notice.number}: no longer refused"
    why = "a legal demand" if notice.ground == "legal" else "the node's policy"
    since = "from … on" if notice.effective_s > time.time() else "since …"
    upheld = "appeal heard, still " if notice.kind == "upheld" else ""
    return f"{notice.number}: {upheld}refused {since.replace('…', _moment(notice.effective_s))}, because of {why}"


def _moment(seconds: int | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else ""
