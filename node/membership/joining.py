"""Makes a running node a member: states what it holds, and looks after the hosts of its sites."""

from __future__ import annotations

from hashlib import sha256
from shutil import disk_usage

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config
from config.paths import Paths
from node.core.keeping import RESERVE_SHARE
from node.membership.audits import Auditor
from node.membership.care import Care
from node.membership.membership import Facts, Membership
from node.membership.resilience import MembersView
from node.replication.driver import Replicator
from node.store.port import Store
from protocol.limits import STATEMENT_LIST_BYTES, STATEMENT_LISTS_MAX
from protocol.member_messages import AUDIT_PROTOCOL, MEMBERS_PROTOCOL
from protocol.site_id import SiteId
from protocol.statement import Takes

_TAKES = {
    "open": Takes.OPEN,
    "follow": Takes.FOLLOWED,
    "invite": Takes.FOLLOWED,
    "none": Takes.NONE,
    "leaving": Takes.LEAVING,
}
# Room is stated in steps, or every stored block would make a new statement.
_ROOM_STEP_BYTES = 1024**3


async def join(
    nursery: trio.Nursery,
    config: Config,
    paths: Paths,
    replicator: Replicator,
    store: Store,
    key: Ed25519PrivateKey,
) -> MembersView:
    """To be called before the replicator runs. Goes on in the nursery."""
    context = replicator.context

    def read_facts() -> Facts:
        usage, disk = store.usage(), disk_usage(config.data_dir)
        free_bytes = min(usage.free_bytes, disk.free)
        lists = sorted({sha256(row.name.encode()).digest()[:STATEMENT_LIST_BYTES] for row in store.lists()})
        return Facts(
            takes=_TAKES[config.hosting.mode],
            room_bytes=free_bytes // _ROOM_STEP_BYTES * _ROOM_STEP_BYTES,
            operator=config.node.operator,
            region=config.node.region,
            lists=tuple(lists[:STATEMENT_LISTS_MAX]),
            reserve_bytes=RESERVE_SHARE * min(usage.quota_bytes, disk.total),
            free_bytes=free_bytes,
        )

    membership = Membership(context, key, read_facts, paths.members)
    auditor = Auditor(context, SiteId.of(key))
    replicator.care = Care(context, membership, auditor, replicator.drop)
    await nursery.start(membership.run)
    context.network.serve(MEMBERS_PROTOCOL, membership.serve)
    context.network.serve(AUDIT_PROTOCOL, auditor.serve)
    return MembersView(context, SiteId.of(key))
