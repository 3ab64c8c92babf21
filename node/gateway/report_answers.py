"""Reports from readers: a form that works without script, the same as JSON, and what became of a report."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from html import escape
from typing import Any
from urllib.parse import parse_qs

import trio

from node.casework.model import (
    CATEGORIES,
    CONTACT_MAX_CHARS,
    EVIDENCE_MAX_CHARS,
    WHERE_MAX_CHARS,
    WHY_MAX_CHARS,
    BadReport,
    read_report,
)
from node.gateway import pages
from node.gateway.backend import Unavailable
from node.gateway.http1 import REPORTS_PATH, BadRequest, Request
from node.gateway.pages import Self
from node.gateway.response import Response

PERIOD_S = 600.0
REPORTS_MAX = 5  # of one address in a period
LOCAL_REPORTS_MAX = 120  # of this machine itself, which may be a proxy for everybody
ADDRESSES_MAX = 10_000
BUSY_S = 60.0  # until a report makes sense again that the node had no room for
FIELDS_MAX = 10
_TOKEN = re.compile(rf"{re.escape(REPORTS_PATH)}/([A-Za-z0-9_-]{{10,60}})")
_STYLE = "label,select,input,textarea{display:block;width:100%;box-sizing:border-box}label{margin-top:1rem}"
CSP = pages.csp(_STYLE, form_action="'self'")

AskDesk = Callable[[bytes], Awaitable[bytes]]


async def no_desk(_question: bytes) -> bytes:
    """Where there is none."""
    raise Unavailable("not-found", "this node takes no reports")


class RateLimit:
    """So many in a period for one address; kept in memory alone."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str, most: int) -> float:
        """Counts one more; 0 when it is allowed, else until when the address must wait."""
        now_s = trio.current_time()
        began_s, count = self._seen.pop(address, (now_s, 0))
        if now_s - began_s >= PERIOD_S:
            began_s, count = now_s, 0
        self._seen[address] = (began_s, count + 1)
        if len(self._seen) > ADDRESSES_MAX:
            self._seen.popitem(last=False)
        return 0 if count < most else began_s + PERIOD_S - now_s


class ReportAnswers:
    """On the node's own hosts."""

    def __init__(self, me: Self, ask: AskDesk, limit_key: Callable[[str], tuple[str, bool]]) -> None:
        """limit_key: what counts as one address, and whether it is this machine."""
        self._me = me
        self._ask = ask
        self._limit_key = limit_key
        self._limit = RateLimit()

    async def answer(self, request: Request, path: str) -> Response | None:
        """None for a path that has nothing to do with reports."""
        if path == REPORTS_PATH:
            if request.method == "POST":
                return await self._take(request)
            if "application/json" in request.headers.get("accept", ""):
                labels = {name: category.label for name, category in CATEGORIES.items()}
                return _json(200, {**await self._desk({"terms": True}), "categories": labels})
            return self._page(200, "Report something", [_form({"where": _about(request)})])
        if not path.startswith(f"{REPORTS_PATH}/"):
            return None
        matched = _TOKEN.fullmatch(path)
        found = await self._desk({"token": matched[1]}) if matched else {}
        return self._status(request, found.get("case"))

    async def _take(self, request: Request) -> Response:
        as_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
        fields: dict[str, str] = {}
        try:
            fields = _fields(request.body, as_json=as_json)
            proof = fields.pop("proof", "")
            read_report(fields)
        except BadReport as error:
            return self._refused(400, str(error), fields, as_json)
        address, local = self._limit_key(request.reader)
        if wait_s := self._limit.wait_s(address, LOCAL_REPORTS_MAX if local else REPORTS_MAX):
            why = "there were too many reports from your address; try again later"
            return _retry(self._refused(429, why, fields, as_json), wait_s)
        answer = await self._desk({"report": fields, "proof": proof, "form": not as_json})
        if as_json and "proof_of_work" in answer:
            return _json(403, answer)
        if "token" not in answer:
            why = str(answer.get("error", "this node cannot take reports now"))
            return _retry(self._refused(503, why, fields, as_json), BUSY_S)
        url = f"{REPORTS_PATH}/{answer['token']}"
        if as_json:
            return _json(201, {"status": url})
        text = "It was taken. Keep this address: it shows what becomes of your report, and nobody else can guess it."
        link = f'<p><a href="{escape(url)}">{escape(url)}</a></p>'
        return self._page(201, "Thank you", [pages.paragraph(text), link])

    async def _desk(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(await self._ask(json.dumps(question, ensure_ascii=False).encode()))
        except Unavailable as error:
            raise BadRequest(503, error.reason) from error
        return found

    def _status(self, request: Request, case: dict[str, Any] | None) -> Response:
        as_json = "application/json" in request.headers.get("accept", "")
        if case is None:
            text = "There is no such report; reports are forgotten some months after they were decided."
            return _json(404, {"error": text}) if as_json else self._page(404, "Not found", [pages.paragraph(text)])
        if as_json:
            return _json(200, case)
        entry = case["entry"]
        rows = [
            ("About", str(case["subject"])),
            ("State", "waits for a decision" if case["state"] == "open" else str(case["state"])),
            ("Reason", str(case["reason"])),
            ("Decision", f"entry {entry} of this node's public log" if entry is not None else ""),
        ]
        return self._page(200, "Your report", [pages.facts(rows)])

    def _refused(self, status: int, why: str, fields: dict[str, str], as_json: bool) -> Response:
        if as_json:
            return _json(status, {"error": why})
        return self._page(status, "This was not taken", [pages.paragraph(f"Not taken: {why}."), _form(fields)])

    def _page(self, status: int, title: str, content: list[str]) -> Response:
        headers = [*pages.HEADERS, ("Content-Security-Policy", CSP)]
        return Response(status, headers, pages.page(title, [f"<style>{_STYLE}</style>", *content], self._me))


def _about(request: Request) -> str:
    """What the address of the form names; "" where the address makes no sense."""
    try:
        found = parse_qs(request.target.partition("?")[2], max_num_fields=FIELDS_MAX)
    except ValueError:
        return ""
    return found.get("about", [""])[0]


def _fields(body: bytes, *, as_json: bool) -> dict[str, str]:
    """BadReport for what is neither a form nor a JSON object of texts."""
    try:
        if as_json:
            value = json.loads(body)
            if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
                raise BadReport("the body must be a JSON object of texts")
            "".join(text for pair in value.items() for text in pair).encode()  # half characters cannot be passed on
            return value
        found = parse_qs(body.decode(), max_num_fields=FIELDS_MAX, keep_blank_values=True)
        return {name: values[-1].replace("\r\n", "\n") for name, values in found.items()}
    except (ValueError, RecursionError):
        raise BadReport("the body cannot be read") from None


def _form(fields: dict[str, str]) -> str:
    def given(name: str) -> str:
        return escape(fields.get(name, ""))

    chosen = fields.get("category", "")
    options = "".join(
        f'<option value="{name}"{" selected" if name == chosen else ""}>{escape(category.label)}</option>'
        for name, category in CATEGORIES.items()
    )
    return (
        "<p>Reports go to the operator of this node, who decides for this node alone.</p>"
        f'<form method="post" action="{REPORTS_PATH}">'
        f'<label for="where">Address or name of what you report</label>'
        f'<input id="where" name="where" required maxlength="{WHERE_MAX_CHARS}" value="{given("where")}">'
        f'<label for="category">What it is</label><select id="category" name="category">{options}</select>'
        f'<label for="why">Why you report it</label>'
        f'<textarea id="why" name="why" rows="5" required maxlength="{WHY_MAX_CHARS}">{given("why")}</textarea>'
        f'<label for="evidence">Evidence: addresses or references, if there are any</label>'
        f'<input id="evidence" name="evidence" maxlength="{EVIDENCE_MAX_CHARS}" value="{given("evidence")}">'
        f'<label for="contact">How to reach you, if you wish; it is not published</label>'
        f'<input id="contact" name="contact" maxlength="{CONTACT_MAX_CHARS}" value="{given("contact")}">'
        "<p><button>Send</button></p></form>"
    )


def _retry(refused: Response, wait_s: float) -> Response:
    return replace(refused, headers=[*refused.headers, ("Retry-After", str(max(1, math.ceil(wait_s))))])


def _json(status: int, value: Any) -> Response:
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Response(status, headers, json.dumps(value, ensure_ascii=False).encode() + b"\n")
