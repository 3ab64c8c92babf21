"""What a node says of a site whose newest release does not fit."""

from __future__ import annotations

from node.core.peers import key_of
from node.membership.resilience import Host, MembersView, advice
from node.store.memory import MemoryStore
from protocol.release import Band
from protocol.site_id import SiteId
from tests.unit.replication.kit import TreeSite, connect, ring, until

FILES = {"index.html": b"<h1>hello</h1>"}


async def test_who_has_no_room_for_the_newest_release_is_no_host_of_it_and_names_who_is() -> None:
    site = TreeSite(FILES)
    update = TreeSite(FILES | {"large.bin": b"large" * 100_000}, seq=2, key=site.key)
    async with ring(2, store=MemoryStore(quota_bytes=100_000)) as (_, (small, other)):
        me = key_of(small.network.local_peer)
        assert me is not None
        view = MembersView(small.replicator.context, me)
        other.host(site)
        await connect(small, other)
        core = small.replicator.context.core
        await until(lambda: (state := core.state_of(site.signed.site)) is not None and state.held == site.signed)
        assert (await view.resilience(str(site.signed.site)))["no_room_for"] is None
        other.host(update)
        state = small.replicator.context.core.state_of(site.signed.site)
        assert state is not None
        await until(lambda: state.no_room_for == update.signed and not small.replicator.fetching())
        found = await view.resilience(str(site.signed.site))
        assert found["no_room_for"] == {"seq": 2, "size_bytes": update.signed.release.size_bytes}
        assert found["counted"] == 0
        assert [(host["peer"], host["counts"]) for host in found["hosts"]] == [
            (small.network.local_peer, False),
            (other.network.local_peer, False),
        ]
        assert "does not fit here" in found["advice"][0]


def test_how_many_hosts_are_needed_is_said_in_words() -> None:
    host = Host(SiteId(bytes([1]) * 32), True, None, True, None, 0)
    assert advice(Band(2, 3), [host])[0].startswith("1 more host needed; ")
    assert advice(Band(3, 3), [host])[0].startswith("2 more hosts needed; ")
    assert advice(Band(1, 3), [host]) == []
