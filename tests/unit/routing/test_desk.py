"""Names of others for readers: found, taken and brought to the DHT; rules are asked."""

from __future__ import annotations

import time

import pytest

from node.gateway.backend import Unavailable
from node.policy.decide import Policy
from node.policy.model import Hosting, Rule
from node.replication.driver import Replicator
from node.replication.gate import Gate
from node.routing.desk import NameDesk
from node.store.port import Origin
from protocol import ipns
from protocol.denylist import CidPath, NamePath
from tests.unit.replication.kit import TreeSite
from tests.unit.routing.test_names import ROOT, Bed, Name, bed


def desk_of(here: Bed, *rules: Rule, finds: bool = True, takes: bool = True) -> NameDesk:
    context = Replicator(here.store, here.network, Gate(Policy(rules, Hosting("none")))).context
    return NameDesk(context, here.names, finds=finds, takes=takes)


async def test_a_record_that_is_taken_is_saved_and_brought_to_the_dht() -> None:
    name = Name()
    async with bed() as here:
        await desk_of(here).put_name(name.multihash, name.record())
        row = here.store.name(name.multihash)
        assert row is not None
        assert (row.record, row.kept) == (name.record(), False)
        found = await here.other.find_ipns(name.multihash, deadline_s=5)
        assert found is not None
        assert found.raw == name.record()


async def test_what_is_not_taken() -> None:
    name = Name()
    site = TreeSite({"a": b"1"})
    by_name = Rule(NamePath(name.site, "", False), "refuse", "policy", "no", 1)
    by_root = Rule(CidPath(ROOT.multihash, "", False), "refuse", "policy", "no", 1)
    async with bed() as here:
        for desk in (desk_of(here, takes=False), desk_of(here, by_name), desk_of(here, by_root)):
            with pytest.raises(Unavailable) as caught:
                await desk.put_name(name.multihash, name.record())
            assert caught.value.kind == "refused"
        with pytest.raises(Unavailable, match="not a record of this name"):
            await desk_of(here).put_name(Name().multihash, name.record())
        hold = here.store.begin_hold(site.signed)
        here.store.put_blocks(hold, list(site.blocks.items()))
        here.store.finish_hold(hold, origin=Origin.PUBLISHED)
        own = ipns.create(site.key, value=b"/ipfs/bafkqaaa", sequence=99, validity_s=int(time.time()) + 60, ttl_s=60)
        with pytest.raises(Unavailable, match="hosted here"):
            await desk_of(here).put_name(site.signed.site.cid.multihash, own)
        assert here.store.names() == []
        assert await here.other.find_ipns(name.multihash, deadline_s=5) is None


async def test_a_record_that_is_brought_again_is_no_fresher() -> None:
    name = Name()
    async with bed() as here:
        here.store._clock = lambda: here.now_s
        desk = desk_of(here)
        await desk.put_name(name.multihash, name.record(ttl_s=300))
        known = here.store.name(name.multihash)
        assert known is not None
        newer = name.record("/ipfs/bafkqaaa", seq=2)
        await here.other.put_ipns(name.multihash, newer)
        for _ in range(4):  # by somebody who does not want the newer one to be seen
            here.now_s += 200
            await desk.put_name(name.multihash, known.record)
        assert here.store.name(name.multihash) == known
        assert (await here.names.record(name.multihash)).raw == newer


async def test_a_name_that_is_read_is_looked_for() -> None:
    name = Name()
    async with bed() as here:
        with pytest.raises(Unavailable, match="no record"):
            await desk_of(here).find_name(Name().multihash)
        await here.other.put_ipns(name.multihash, name.record())
        refused = Rule(NamePath(name.site, "", False), "refuse", "policy", "no", 1)
        for desk in (desk_of(here, finds=False), desk_of(here, refused)):
            with pytest.raises(Unavailable):
                await desk.find_name(name.multihash)
        assert here.store.name(name.multihash) is None
        await desk_of(here).find_name(name.multihash)
        assert here.store.name(name.multihash) is not None
