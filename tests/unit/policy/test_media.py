"""Media types of a site's files: counted from its folders, refused before most of its files come."""

from __future__ import annotations

from node.net.channel import FrameChannel
from node.policy.decide import Policy
from node.policy.model import Hosting
from node.policy.model import Publisher as Invited
from node.replication.media import Census, media_of
from protocol import messages as msg
from protocol.builder import CHUNK_BYTES
from protocol.cid import DAG_PB, Cid
from protocol.dag_walk import DagWalk
from protocol.messages import PUBLISH_PROTOCOL
from tests.unit.gateway.sites import Symlink, Tree, build
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, ring, until

NOTHING = Hosting(media_types=("x/none",))
TEXTS = Hosting(media_types=("text/*", "application/json"))


def found_in(tree: Tree, hosting: Hosting = NOTHING, *, nodes_max: int = 1000) -> dict[str, int]:
    built = build(tree)
    return dict(media_of(built.root, hosting, built.blocks.__getitem__, nodes_max=nodes_max))


def test_a_file_has_the_type_that_the_gateway_gives_it() -> None:
    tree: Tree = {
        "index.html": b"12",
        "pic": {"a.png": b"123", "b.PNG": b"1234", "empty.gif": b"", "link.mp4": Symlink("a.png")},
        "LICENSE": b"words\n",
        "data": b'{"a": 1}',
        "blob": b"\x00\x01",
    }
    assert found_in(tree) == {
        "text/html": 2,
        "image/png": 7,
        "image/gif": 0,
        "text/plain": 6,
        "application/json": 8,
        "application/octet-stream": 2,
    }
    assert found_in(tree, TEXTS) == {"image/png": 7, "image/gif": 0, "application/octet-stream": 2}


def test_files_of_several_blocks_count_with_all_of_them() -> None:
    large, other = b"a" * (3 * CHUNK_BYTES + 5), b"\x00" * (2 * CHUNK_BYTES)
    assert found_in({"film.mp4": large, "deep": {"again.mp4": large}, "noname": other}) == {
        "video/mp4": len(large),  # the same blocks: once
        "application/octet-stream": len(other),
    }


def test_one_file_under_two_names_has_two_types_of_which_one_may_be_taken() -> None:
    large = b"a" * (2 * CHUNK_BYTES)
    for names in (("a.txt", "z.mp4"), ("a.mp4", "z.txt")):
        assert found_in({names[0]: large, names[1]: large}, TEXTS) == {"video/mp4": len(large)}
        nested: Tree = {names[0]: large, "zz": {"deeper": {names[1]: large}}}
        assert found_in(nested, TEXTS) == {"video/mp4": len(large)}


def test_a_large_folder_is_one() -> None:
    tree: Tree = {f"{number:05}.{'mp3' if number % 2 else 'txt'}": b"%05d" % number for number in range(6000)}
    assert found_in(tree, TEXTS) == {"audio/mpeg": 3000 * 5}


def test_what_is_no_unixfs_has_no_type_and_breaks_nothing() -> None:
    census = Census(TEXTS)
    census.look(Cid.of(DAG_PB, b"\x0a\x02\x08\x63"), b"\x0a\x02\x08\x63")
    census.look(Cid.of(DAG_PB, b"junk"), b"junk")
    assert census.others == {"application/octet-stream": 8}


def test_only_so_many_nodes_are_looked_at() -> None:
    tree: Tree = {f"folder {number}": {"a.mp4": b"%d" % number} for number in range(9)}
    assert sum(found_in(tree, nodes_max=4).values()) == 3


class Publisher:
    """Offers a site to the node and sends what it wants."""

    def __init__(self, one: MemoryNode, other: MemoryNode) -> None:
        self._network = one.network
        self._to = other.network.local_peer
        self.sent: list[Cid] = []

    async def publish(self, site: TreeSite) -> msg.Message | None:
        stream = await self._network.open(self._to, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S)
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            await channel.send(msg.Offer(site.signed))
            while isinstance(answer := await channel.receive(), msg.Want | msg.Progress):
                for cid in answer.cids if isinstance(answer, msg.Want) else ():
                    self.sent.append(cid)
                    await channel.send(msg.Block(cid, site.blocks[cid]))
            return answer


async def test_a_publish_is_refused_once_its_folders_are_there() -> None:
    film = TreeSite({"index.html": b"text", "film.mp4": bytes(range(256)) * 8 * 4096})
    async with ring(2, hosting=TEXTS) as (_, nodes):
        await connect(nodes[0], nodes[1])
        publisher = Publisher(*nodes)
        answer = await publisher.publish(film)
        assert isinstance(answer, msg.Refuse)
        assert answer.code == "media-type"
        assert "video/mp4" in answer.reason
        leaves = [cid for cid in publisher.sent if DagWalk.is_leaf(cid)]
        assert len(leaves) < 4, "most of the film was not sent"
        publisher.sent.clear()
        again = await publisher.publish(film)
        assert isinstance(again, msg.Refuse)
        assert (again.code, publisher.sent) == ("media-type", [])
        assert isinstance(await publisher.publish(TreeSite({"index.html": b"text", "a.json": b"{}"})), msg.Have)


async def test_a_file_without_a_telling_name_is_looked_into_at_the_end() -> None:
    blob = TreeSite({"index.html": b"text", "blob": b"\x00" * 3000})
    async with ring(2, hosting=TEXTS) as (_, nodes):
        await connect(nodes[0], nodes[1])
        answer = await Publisher(*nodes).publish(blob)
        assert isinstance(answer, msg.Refuse)
        assert "application/octet-stream" in answer.reason
        assert not nodes[1].holds(blob)
        assert isinstance(await Publisher(*nodes).publish(TreeSite({"LICENSE": b"words\n"})), msg.Have)


async def test_nodes_fetch_what_they_take_and_leave_the_rest() -> None:
    film, page = TreeSite({"film.mp4": b"film"}), TreeSite({"page.html": b"page"})
    async with ring(2) as (_, nodes):
        nodes[1].gate.policy = Policy((), TEXTS)
        nodes[0].host(film)
        await connect(nodes[0], nodes[1])
        nodes[0].host(page)
        await until(lambda: nodes[1].holds(page))
        await until(lambda: not nodes[1].gate.may_host(film.signed).allowed)
        assert nodes[1].gate.may_host(film.signed).code == "media-type"
        assert not nodes[1].holds(film)


async def test_others_of_a_publisher_count_also_while_they_come_in() -> None:
    first, second = TreeSite({"a.html": b"a" * 600}), TreeSite({"b.html": b"b" * 600})
    sites = frozenset((first.signed.site, second.signed.site))
    quota = first.signed.release.size_bytes + second.signed.release.size_bytes - 1
    async with ring(2) as (_, nodes):
        nodes[1].gate.policy = Policy((), Hosting(invited=dict.fromkeys(sites, Invited(sites, quota))))
        await connect(nodes[0], nodes[1])
        with nodes[1].replicator.context.taking(second.signed):
            assert nodes[1].gate.may_host(first.signed).code == "publisher-full"
        assert isinstance(await Publisher(*nodes).publish(first), msg.Have)
        answer = await Publisher(*nodes).publish(second)
        assert isinstance(answer, msg.Refuse)
        assert answer.code == "publisher-full"
