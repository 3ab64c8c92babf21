"""What the admin API asks of the node. The API checks shapes and lengths; the node checks meaning.

Every method returns what json.dumps takes, once the effect is durable and in force. Failures are raised as
FednodeError: the API answers with their code, message and hint, and with the status that
docs/operators/admin-api.md gives for the class.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from node.policy.active import ListMode
from protocol.errors import OperatorError

Json = dict[str, Any]

RULES_PAGE_MAX = 1000
"""Rules in one answer: about 300 KB of JSON."""

SITES_MAX = 1_000_000
"""Sites in one answer, each about a kilobyte of JSON; who has many asks for pages."""

SITE_STATES = ("hosted", "updating", "fetching", "known", "quarantined", "refused", "ended")


class NotFound(OperatorError):
    """The site, rule or list that the operator named is not there. 404."""

    code: ClassVar[str] = "not-found"


class BadRequest(OperatorError):
    """The request cannot be understood, whatever the state of the node. 400."""

    code: ClassVar[str] = "bad-request"


class ListsControl(Protocol):
    """Lists of refusals, and why something is refused."""

    async def show(self) -> list[Json]:
        """Every list and how it stands."""

    async def add(self, source: str, *, mode: ListMode, name: str, cap_sites: int, quorum: int = 1) -> Json:
        """Subscribes to a file (absolute path), https address or site."""

    async def remove(self, name: str) -> Json:
        """Ends the subscription and all effects of the list; NotFound."""

    async def preview(self, source: str) -> Json:
        """What a list would hit here; changes nothing."""

    async def change(self, name: str, action: str, line: str | None) -> Json:
        """Another mode, or a decision on its waiting version or one of its lines; NotFound."""

    async def explain(self, thing: str) -> Json:
        """The verdict on a thing for each act, and the rule that decides; BadTarget."""


class NodeControl(Protocol):
    """The daemon, as its operator steers it."""

    @property
    def lists(self) -> ListsControl: ...

    async def status(self) -> Json:
        """Node id, version, uptime_s, addresses, counts, usage, health of lists."""

    async def sites(self, *, find: str, state: str, sort: str, offset: int, limit: int) -> Json:
        """{"sites": [...], "total": n, "held_bytes": n}: a page of the sites with a known head that fit (find: in id or
        domains; state: one, or ""; sort: site, size or updated). The sums are of all that fit."""

    async def site(self, site: str) -> Json:
        """One site, hosted or known, by any text form of its id; NotFound."""

    async def peers(self) -> list[Json]:
        """Connected and remembered peers."""

    async def connect(self, address: str) -> Json:
        """Dials a multiaddr with /p2p/; PeerError when that fails."""

    async def rules(self, *, list_name: str | None, offset: int, limit: int) -> Json:
        """{"rules": [...], "total": n}: the operator's own rules (list_name None) or those of one list, a
        page."""

    async def block(
        self,
        target: str,
        *,
        verdict: str,
        ground: str,
        reason: str,
        drop: bool,
        note: str = "",
        secret: bool = False,
        now: bool = False,
        until_s: int | None = None,
    ) -> Json:
        """Adds or replaces the operator's rule on target, after a notice period unless `now`; with drop the blocks of
        the site are deleted, too, with `now` at once. note: kept for the operator; secret: the public log does not say
        what and why. until_s: when the rule ends by itself."""

    async def unblock(self, target: str) -> Json:
        """Removes the operator's rule; NotFound when there is none (the hint names the list, if one blocks
        it)."""

    async def blocklists(self) -> list[Json]:
        """Every subscribed list and how its last reading went."""

    async def blocklist_add(self, path: str) -> Json:
        """Subscribes to the list at an absolute path and reads it."""

    async def blocklist_remove(self, path: str) -> Json:
        """Ends the subscription and removes the rules of the list; NotFound."""

    async def follow(self, site: str) -> Json:
        """Adds a site to those that are hosted in mode follow."""

    async def unfollow(self, site: str) -> Json:
        """Takes it away again; what is stored stays; NotFound."""

    async def check_block(self, cid: str) -> Json:
        """Reads a block of the store: {"cid", "damaged"}; damage is noted and healed; NotFound."""

    async def metrics(self) -> str:
        """The node's numbers in the text format of Prometheus."""

    async def doctor(self) -> Json:
        """Checks of the running node: {"checks": [{name, ok, message, hint}]}."""
