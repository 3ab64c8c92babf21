"""What names stand for: own sites, the table, the DHT, routers; validity, sequence and circles."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.net.memory import Air, MemoryNetwork, open_memory_network
from node.net.port import NetSettings
from node.routing.names import LINKS_MAX, TTL_MAX_S, NameNotFound, Names
from node.routing.routers import Routers
from node.store.memory import MemoryStore
from node.store.port import Origin
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError
from protocol.ipns import MEDIA_TYPE, create
from protocol.site_id import SiteId
from tests.unit.replication.kit import TreeSite
from tests.unit.routing.test_routers import response, router

ROOT = Cid.of(RAW, b"what the name stands for")


class Name:
    """A key of somebody else."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.site = SiteId.of(self.key)
        self.multihash = self.site.cid.multihash
        self.made_s = int(time.time())

    def __str__(self) -> str:
        return str(self.site)

    def record(self, value: str = f"/ipfs/{ROOT}", *, seq: int = 1, valid_s: int = 3600, ttl_s: int = 300) -> bytes:
        """The same bytes whenever it is asked for."""
        return create(self.key, value=value.encode(), sequence=seq, validity_s=self.made_s + valid_s, ttl_s=ttl_s)


class Bed:
    def __init__(self, network: MemoryNetwork, other: MemoryNetwork, urls: list[str]) -> None:
        self.network, self.other = network, other
        self.store = MemoryStore(quota_bytes=10**9, cache_bytes=10**8)
        self.routers = Routers(urls)
        self.now_s = time.time()
        self.names = Names(self.store, network, self.routers, now_s=lambda: self.now_s)


@asynccontextmanager
async def bed(*urls: str) -> AsyncIterator[Bed]:
    """A node that joined an IPFS network in which another node keeps records."""
    air = Air()

    def settings(seed: bytes) -> NetSettings:
        return NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=seed * 32, join="public")

    async with open_memory_network(air, settings(b"1")) as network, open_memory_network(air, settings(b"2")) as other:
        await network.connect(other.addresses()[0], deadline_s=5)
        found = Bed(network, other, list(urls))
        yield found
        await found.routers.aclose()


async def test_the_record_of_a_hosted_site_comes_first() -> None:
    site = TreeSite({"a": b"1"})
    async with bed() as here:
        hold = here.store.begin_hold(site.signed)
        here.store.put_blocks(hold, list(site.blocks.items()))
        here.store.finish_hold(hold, origin=Origin.PUBLISHED)
        assert (await here.names.resolve(str(site.signed.site))).cid == site.signed.release.root
        assert here.store.names() == []


async def test_the_dht_is_asked_and_what_it_says_is_saved() -> None:
    name = Name()
    async with bed() as here:
        await here.other.put_ipns(name.multihash, name.record(f"/ipfs/{ROOT}/a/b/"))
        found = await here.names.resolve(str(name))
        assert (found.cid, found.path, found.fresh_s) == (ROOT, "a/b", 300)
        row = here.store.name(name.multihash)
        assert row is not None
        assert row.record == found.record.raw
        await here.other.put_ipns(name.multihash, name.record("/ipfs/bafkqaaa", seq=2))
        assert (await here.names.resolve(str(name))).cid == ROOT  # it is fresh
        here.now_s += 600
        assert str((await here.names.resolve(str(name))).cid) == "bafkqaaa"


async def test_the_newest_of_dht_routers_and_table_counts() -> None:
    name = Name()
    async with router(response(name.record("/ipfs/bafkqaaa", seq=5), MEDIA_TYPE)) as (url, _), bed(url) as here:
        await here.other.put_ipns(name.multihash, name.record(seq=4))
        here.store.save_name(name.multihash, name.record(seq=3))
        here.now_s += 600
        assert (await here.names.resolve(str(name))).record.sequence == 5
        here.store.save_name(name.multihash, name.record(seq=6))
        here.now_s += 600
        assert (await here.names.resolve(str(name))).record.sequence == 6


async def test_what_a_router_says_is_verified() -> None:
    name, other = Name(), Name()
    for wrong in (other.record(), name.record(valid_s=-1), name.record()[:-1], b"", b"garbage"):
        async with router(response(wrong, MEDIA_TYPE)) as (url, asked), bed(url) as here:
            for _ in range(2):  # the second is answered from what is known to be absent
                with pytest.raises(NameNotFound):
                    await here.names.resolve(str(name))
            assert len(asked) == 1
            assert here.store.names() == []


async def test_an_expired_record_of_the_table_is_no_answer() -> None:
    name = Name()
    async with bed() as here:
        here.store.save_name(name.multihash, name.record(valid_s=100), kept=True)
        assert (await here.names.resolve(str(name))).fresh_s <= 100
        here.now_s += 101
        with pytest.raises(NameNotFound):
            await here.names.resolve(str(name))


async def test_names_of_names_are_followed_and_circles_are_not() -> None:
    names = [Name() for _ in range(LINKS_MAX + 1)]
    async with bed() as here:
        for one, next_one in pairwise(names):
            await here.other.put_ipns(one.multihash, one.record(f"/ipns/{next_one}/x", ttl_s=10**9))
        await here.other.put_ipns(names[-1].multihash, names[-1].record(ttl_s=10**9, valid_s=10**8))
        found = await here.names.resolve(str(names[-3]))
        assert (found.cid, found.path, found.fresh_s <= 3600) == (ROOT, "x/x", True)
        assert (await here.names.resolve(str(names[-1]))).fresh_s == TTL_MAX_S
        with pytest.raises(NameNotFound, match="more than"):
            await here.names.resolve(str(names[0]))
        await here.other.put_ipns(names[-1].multihash, names[-1].record(f"/ipns/{names[-2]}", seq=2))
        here.now_s += TTL_MAX_S + 1


@pytest.mark.parametrize("value", ["/ipfs/", "/ipns/example.org", "bafkqaaa", "", "/http/x", "/ipfs/nonsense"])
async def test_values_that_lead_nowhere(value: str) -> None:
    name = Name()
    async with bed() as here:
        await here.other.put_ipns(name.multihash, name.record(value))
        with pytest.raises((NameNotFound, DecodeError)):
            await here.names.resolve(str(name))


async def test_a_name_to_be_kept_is_kept() -> None:
    name = Name()
    async with bed() as here:
        await here.other.put_ipns(name.multihash, name.record())
        await here.names.resolve(str(name))
        await here.names.resolve(str(name), keep=True)
        assert [row.kept for row in here.store.names()] == [True]
