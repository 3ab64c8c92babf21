"""The CLI's side of the admin API: a synchronous client over the daemon's Unix socket
(docs/operators/admin-api.md)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from node.admin.unix_http import Answer, ConnectFailed, request
from protocol.errors import OperatorError

Json = dict[str, Any]

CONNECT_DEADLINE_S = 5.0
"""The socket is on this machine: it answers at once or never."""


IMPORT_DEADLINE_S = 3600.0
"""For the next word of the node while it takes a file: the walk at its end says nothing."""


class NoDaemon(OperatorError):
    """Nobody listens on the socket."""

    code: ClassVar[str] = "no-daemon"


class DaemonTimeout(OperatorError):
    """The daemon is there and did not answer in time; whether it did what was asked is not known."""

    code: ClassVar[str] = "daemon-timeout"


class BadAnswer(OperatorError):
    """What answered does not speak the admin API of this version, or broke off."""

    code: ClassVar[str] = "daemon-bad-answer"


class DaemonError(OperatorError):
    """The daemon said no. code and hint are the daemon's own; status is the HTTP status."""

    code: ClassVar[str] = "daemon-error"

    def __init__(self, message: str, *, code: str, hint: str | None, status: int) -> None:
        super().__init__(message, hint=hint)
        vars(self)["code"] = code
        self.status = status


class AdminClient:
    """One method per route; each returns the decoded JSON. Use as a context manager, from one thread."""

    def __init__(self, socket_path: Path, *, timeout_s: float = 60.0) -> None:
        self._socket_path = socket_path
        self._timeout_s = timeout_s

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing stays open between requests."""

    def status(self) -> Json:
        return self._ask("GET", "/v1/status")

    def sites(self) -> list[Json]:
        """All that the node knows."""
        return self._rows("/v1/sites", "sites")

    def sites_page(
        self, *, find: str = "", state: str = "", sort: str = "site", offset: int = 0, limit: int = 100
    ) -> Json:
        """Those that fit, with "total" and "held_bytes" of all of them. sort: site, size or updated."""
        query = {"find": find, "state": state, "sort": sort, "offset": str(offset), "limit": str(limit)}
        return self._ask("GET", "/v1/sites", query=query)

    def site(self, site: str) -> Json:
        return self._ask("GET", f"/v1/sites/{quote(site, safe='')}")

    def peers(self) -> list[Json]:
        return self._rows("/v1/peers", "peers")

    def members(self) -> list[Json]:
        return self._rows("/v1/members", "members")

    def resilience(self, site: str) -> Json:
        return self._ask("GET", "/v1/resilience", query={"site": site})

    def connect(self, address: str) -> Json:
        return self._ask("POST", "/v1/peers", body={"address": address})

    def rules(self, *, list_name: str | None = None) -> list[Json]:
        """All of the operator's own rules, or of one list, page by page."""
        rows: list[Json] = []
        query = {} if list_name is None else {"list": list_name}
        while True:
            page = self._ask("GET", "/v1/rules", query=query | {"offset": str(len(rows))})
            found = _list_in(page, "rules")
            rows += found
            if not found or len(rows) >= page.get("total", 0):
                return rows

    def rules_page(self, *, list_name: str | None = None, offset: int = 0, limit: int = 100) -> Json:
        """{"rules", "total"}: the operator's own, or those of one list."""
        query = {"offset": str(offset), "limit": str(limit)}
        return self._ask("GET", "/v1/rules", query=query if list_name is None else query | {"list": list_name})

    def block(
        self,
        target: str,
        *,
        ground: str = "policy",
        reason: str = "",
        drop: bool = False,
        verdict: str | None = None,
        note: str = "",
        secret: bool = False,
        now: bool = False,
        until_s: int | None = None,
    ) -> Json:
        """verdict None: quarantine, or refuse with drop. ground: policy or legal. note, secret: for the log. now:
        without a notice period. until_s: when the rule ends by itself."""
        body: Json = {"target": target, "ground": ground, "reason": reason, "drop": drop}
        body |= {"note": note, "secret": secret, "now": now}
        if until_s is not None:
            body["until_s"] = until_s
        return self._ask("POST", "/v1/rules", body=body if verdict is None else body | {"verdict": verdict})

    def unblock(self, target: str) -> Json:
        return self._ask("DELETE", "/v1/rules", query={"target": target})

    def blocklists(self) -> list[Json]:
        return self._rows("/v1/blocklists", "blocklists")

    def blocklist_add(self, path: str) -> Json:
        return self._ask("POST", "/v1/blocklists", body={"path": path})

    def blocklist_remove(self, path: str) -> Json:
        return self._ask("DELETE", "/v1/blocklists", query={"path": path})

    def lists(self) -> list[Json]:
        return self._rows("/v1/lists", "lists")

    def list_add(
        self, source: str, *, mode: str = "enforce", name: str = "", cap_sites: int = 10, quorum: int = 1
    ) -> Json:
        body = {"source": source, "mode": mode, "name": name, "cap_sites": cap_sites, "quorum": quorum}
        return self._ask("POST", "/v1/lists", body=body)

    def list_remove(self, name: str) -> Json:
        return self._ask("DELETE", "/v1/lists", query={"name": name})

    def list_preview(self, source: str) -> Json:
        """Of a source, or of the waiting or present version of a list by its name."""
        return self._ask("POST", "/v1/lists/previews", body={"source": source})

    def list_change(self, name: str, action: str, line: str | None = None) -> Json:
        """action: enforce, review, observe, accept, reject, overrule or restore."""
        body = {"name": name, "action": action}
        return self._ask("POST", "/v1/lists/changes", body=body if line is None else body | {"line": line})

    def explain(self, thing: str) -> Json:
        return self._ask("GET", f"/v1/policy/{quote(thing, safe='')}")

    def follow(self, site: str) -> Json:
        return self._ask("POST", "/v1/follows", body={"site": site})

    def unfollow(self, site: str) -> Json:
        return self._ask("DELETE", "/v1/follows", query={"site": site})

    def invitations(self) -> list[Json]:
        return self._rows("/v1/invitations", "invitations")

    def invite(self, *, until_s: int, note: str = "", sites: int = 1, quota_bytes: int | None = None) -> Json:
        body = {"note": note, "until_s": until_s, "sites": sites, "quota_bytes": quota_bytes}
        return self._ask("POST", "/v1/invitations", body={k: v for k, v in body.items() if v is not None})

    def revoke_invitation(self, number: int) -> Json:
        return self._ask("DELETE", "/v1/invitations", query={"number": str(number)})

    def check_block(self, cid: str) -> Json:
        return self._ask("POST", "/v1/store/checks", body={"cid": cid})

    def withhold(self, number: int) -> Json:
        """An entry of the decision log is published without its texts from now on."""
        return self._ask("POST", "/v1/log/withheld", body={"number": number})

    def reports(self, *, state: str = "open", category: str = "", offset: int = 0, limit: int = 100) -> Json:
        query = {"state": state, "category": category, "offset": str(offset), "limit": str(limit)}
        return self._ask("GET", "/v1/reports", query=query)

    def take_reports(self, lines: str) -> Json:
        """{"tokens"} of reports in JSON lines; all are taken, or none."""
        return self._ask("POST", "/v1/reports", body={"lines": lines})

    def report(self, number: int) -> Json:
        return self._ask("GET", "/v1/reports/case", query={"number": str(number)})

    def decide(
        self, cases: str, *, verdict: str, reason: str, note: str = "", secret: bool = False, now: bool = False
    ) -> Json:
        """cases: numbers and ranges, as "1,4-7". verdict: dismiss, quarantine, refuse or legal; of appeals uphold or
        lift."""
        body = {"cases": cases, "verdict": verdict, "reason": reason, "note": note, "secret": secret, "now": now}
        return self._ask("POST", "/v1/reports/decisions", body=body)

    def notices(self, site: str = "") -> Json:
        """{"node", "notices"} of a site, or with "" the open ones of all."""
        return self._ask("GET", "/v1/notices", query={"site": site} if site else {})

    def doctor(self) -> Json:
        return self._ask("GET", "/v1/doctor")

    def trees(self) -> list[Json]:
        return self._rows("/v1/trees", "trees")

    def import_trees(self, pieces: Iterable[bytes], *, partial: bool) -> Json:
        """`pieces` of a CAR file; the answer comes when all of it is kept."""
        return self._decoded(
            self._request(
                "POST",
                "/v1/trees",
                query={"partial": "yes" if partial else "no"},
                content=pieces,
                headers={"content-type": "application/vnd.ipld.car"},
                timeout_s=IMPORT_DEADLINE_S,
            )
        )

    def drop_tree(self, root: str) -> Json:
        return self._ask("DELETE", "/v1/trees", query={"root": root})

    def names(self) -> list[Json]:
        return self._rows("/v1/names", "names")

    def import_name(self, name: str, record: bytes) -> Json:
        return self._ask("POST", "/v1/names", body={"name": name, "record": base64.b64encode(record).decode()})

    def drop_name(self, name: str) -> Json:
        return self._ask("DELETE", "/v1/names", query={"name": name})

    def imports(self) -> list[Json]:
        return self._rows("/v1/imports", "imports")

    def start_import(self, target: str, peers: Sequence[str]) -> Json:
        return self._ask("POST", "/v1/imports", body={"target": target, "peers": " ".join(peers)})

    def show_import(self, number: int) -> Json:
        return self._ask("GET", "/v1/imports/one", query={"number": str(number)})

    def cancel_import(self, number: int) -> Json:
        return self._ask("DELETE", "/v1/imports/one", query={"number": str(number)})

    def metrics(self) -> str:
        """The node's numbers in the text format of Prometheus."""
        answer = self._request("GET", "/v1/metrics")
        return answer.body.decode(errors="replace") if answer.is_success else str(self._decoded(answer))

    def _rows(self, path: str, name: str) -> list[Json]:
        return _list_in(self._ask("GET", path), name)

    def _ask(self, method: str, path: str, *, body: Json | None = None, query: dict[str, str] | None = None) -> Json:
        return self._decoded(self._request(method, path, body=body, query=query))

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: dict[str, str] | None = None,
        content: Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        if body is not None:
            headers = {"content-type": "application/json"}
        try:
            return request(
                self._socket_path,
                method,
                f"{path}?{urlencode(query)}" if query else path,
                body=content if body is None else json.dumps(body).encode(),
                headers=headers or {},
                connect_s=CONNECT_DEADLINE_S,
                timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            )
        except ConnectFailed as error:
            raise self._no_daemon(error.__cause__) from error
        except TimeoutError as error:
            raise DaemonTimeout(
                f"the node at {self._socket_path} did not answer in time",
                hint="`fednode status` shows if it lives",
            ) from error
        except (HTTPException, OSError) as error:
            raise BadAnswer(f"the node at {self._socket_path} broke off: {error}", hint="see the node's log") from error

    def _no_daemon(self, cause: BaseException | None) -> NoDaemon:
        if isinstance(cause, PermissionError):
            hint = "run this as the user that runs the node, or with sudo -u"
            return NoDaemon(f"no access to {self._socket_path}", hint=hint)
        return NoDaemon(
            f"no node is running (nobody listens at {self._socket_path})",
            hint="`fednode start` starts it; for another data_dir give --data-dir",
        )

    def _decoded(self, answer: Answer) -> Json:
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"{self._socket_path} did not answer with JSON (status {answer.status})") from error
        if answer.is_success and isinstance(value, dict):
            return value
        said = value.get("error") if isinstance(value, dict) else None
        if not isinstance(said, dict) or not isinstance(said.get("code"), str):
            raise BadAnswer(f"{self._socket_path} gave an unknown answer (status {answer.status})")
        hint = said.get("hint")
        raise DaemonError(
            str(said.get("message", "")),
            code=said["code"],
            hint=hint if isinstance(hint, str) else None,
            status=answer.status,
        )


def _list_in(answer: Json, name: str) -> list[Json]:
    rows = answer.get(name)
    if not isinstance(rows, list):
        raise BadAnswer(f"the answer has no {name}")
    return rows
