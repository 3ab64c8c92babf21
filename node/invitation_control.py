"""The operator's hands on invitations (routes /v1/invitations), and where publishers bring them."""

from __future__ import annotations

import time
from functools import partial

import trio

from node.admin.control import BadRequest, Json, NotFound
from node.policy.invitations import Invitations, Issued
from node.policy_loader import PolicyLoader
from node.replication.context import Context
from protocol.invitation import Invitation
from protocol.site_id import SiteId


class InvitationDesk:
    """What it acknowledges is durable and in force."""

    def __init__(self, invitations: Invitations, policies: PolicyLoader, context: Context, node: SiteId) -> None:
        self._invitations = invitations
        self._policies = policies
        self._context = context
        self._node = node

    async def show(self) -> list[Json]:
        return [self._as_json(each) for each in await trio.to_thread.run_sync(self._invitations.show)]

    async def issue(self, *, note: str, until_s: int, sites: int, quota_bytes: int | None) -> Json:
        if until_s <= time.time():
            raise BadRequest("the invitation would have ended already", hint="--until takes a time to come")
        issue = partial(self._invitations.issue, note=note, until_s=until_s, sites_max=sites, quota_bytes=quota_bytes)
        issued, secret = await trio.to_thread.run_sync(issue)
        return self._as_json(issued) | {"invitation": str(Invitation.to(self._node, secret))}

    async def revoke(self, number: int) -> Json:
        issued = await trio.to_thread.run_sync(self._invitations.revoke, number)
        if issued is None:
            raise NotFound(f"there is no invitation {number}", hint="fednode invite list")
        await self._policies.reload()
        return self._as_json(issued)

    async def redeem(self, secret: bytes, site: SiteId) -> bool:
        """A publisher brings one with its site; False when it did before. BadInvitation."""
        is_new = await trio.to_thread.run_sync(self._invitations.redeem, secret, site)
        if is_new:
            await self._policies.reload()
        return is_new

    async def withdraw(self, site: SiteId) -> None:
        """The site was refused for another reason: the invitation is there for another one."""
        await trio.to_thread.run_sync(self._invitations.withdraw, site)
        await self._policies.reload()

    def _as_json(self, issued: Issued) -> Json:
        return {
            "number": issued.number,
            "note": issued.note,
            "created_s": issued.created_s,
            "until_s": issued.until_s,
            "revoked_s": issued.revoked_s,
            "sites_max": issued.sites_max,
            "quota_bytes": issued.quota_bytes,
            "sites": [str(site) for site in issued.sites],
            "used_bytes": sum(map(self._context.size_bytes, issued.sites)),
        }
