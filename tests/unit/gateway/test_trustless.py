"""Raw blocks, CAR files, IPNS records, and content under its CID."""

from __future__ import annotations

import pytest
import trio

from node.gateway.formats import Wanted, wanted
from node.gateway.http1 import Request
from protocol.car import CarDecoder
from protocol.cid import Cid
from protocol.ipns import IpnsRecord
from protocol.site_id import SiteId
from tests.unit.gateway.http_client import Answer
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.sites import Built, Symlink, Tree, sign, sign_end

ADDRESS = "127.0.0.1:1"
LARGE = bytes(range(256)) * 40
LAST = b"".join(number.to_bytes(4, "big") for number in range(50_000))
MANY: Tree = {f"{number:04}-{'x' * 200}": b"" for number in range(1200)}
TREE: Tree = {
    "index.html": b"<h1>hello</h1>",
    "docs": {"a.txt": b"a", "copy.txt": b"<h1>hello</h1>", "large": LARGE},
    "link": Symlink("docs/a.txt"),
    "many": MANY,
    "zz": LAST,
}


@pytest.fixture
def site(node: Node) -> tuple[SiteId, Built]:
    return node.publish(new_key(), TREE, chunk_bytes=1000)


def car(answer: Answer) -> tuple[list[Cid], list[Cid]]:
    """Roots and CIDs, every block verified."""
    assert answer.status == 200
    decoder = CarDecoder()
    sections = decoder.feed(answer.body)
    decoder.close()
    for section in sections:
        section.cid.verify(section.data)
    return list(decoder.roots or ()), [section.cid for section in sections]


async def ipfs(node: Node, target: str, method: str = "GET", **headers: str) -> Answer:
    return await node.ask(method, ADDRESS, target, **headers)


@pytest.mark.parametrize("host", [ADDRESS, "localhost:1"])
async def test_a_raw_block(node: Node, site: tuple[SiteId, Built], host: str) -> None:
    cid = site[1].cids["docs/a.txt"]
    for target, headers in ((f"/ipfs/{cid}?format=raw", {}), (f"/ipfs/{cid}", {"accept": "application/vnd.ipld.raw"})):
        answer = await node.ask("GET", host, target, **headers)
        assert (answer.status, answer.body) == (200, b"a")
        assert answer.headers["content-type"] == "application/vnd.ipld.raw"
        assert answer.headers["etag"] == f'"{cid}.raw"'
        assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
        assert answer.headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-ipfs-path"] == f"/ipfs/{cid}"
        assert answer.headers["x-ipfs-roots"] == str(cid)
        assert answer.headers["access-control-allow-origin"] == "*"
    again = await ipfs(node, f"/ipfs/{cid}?format=raw", if_none_match=f'"{cid}.raw"')
    assert (again.status, again.body) == (304, b"")
    assert again.headers["cache-control"] == answer.headers["cache-control"]


async def test_format_beats_accept_and_a_name_may_be_wished_for(node: Node, site: tuple[SiteId, Built]) -> None:
    root = site[1].root
    answer = await ipfs(node, f"/ipfs/{root}?format=raw&filename=t%C3%A4st.bin", accept="application/vnd.ipld.car")
    assert answer.body == site[1].blocks[root]
    assert answer.headers["content-disposition"] == "attachment; filename=\"t_st.bin\"; filename*=UTF-8''t%C3%A4st.bin"


async def test_part_of_a_raw_block(node: Node, site: tuple[SiteId, Built]) -> None:
    root, block = site[1].root, site[1].blocks[site[1].root]
    answer = await ipfs(node, f"/ipfs/{root}?format=raw", range="bytes=1-4")
    assert (answer.status, answer.body) == (206, block[1:5])
    assert answer.headers["content-range"] == f"bytes 1-4/{len(block)}"
    assert (await ipfs(node, f"/ipfs/{root}?format=raw", range="bytes=99999-")).status == 416


async def test_the_probe(node: Node) -> None:
    for host in (ADDRESS, "localhost:1"):
        answer = await node.ask("GET", host, "/ipfs/bafkqaaa?format=raw", accept="application/vnd.ipld.raw")
        assert (answer.status, answer.body) == (200, b"")
    assert (await ipfs(node, "/ipfs/bafkqaaa", method="HEAD")).status == 200


async def test_a_car_of_everything(node: Node, site: tuple[SiteId, Built]) -> None:
    built = site[1]
    for target in (f"/ipfs/{built.root}?format=car", f"/ipns/{site[0]}?format=car"):
        answer = await ipfs(node, target)
        roots, cids = car(answer)
        assert roots == [built.root] == cids[:1]
        assert len(cids) == len(set(cids))
        assert set(cids) == set(built.blocks)
        assert answer.headers["content-type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
        assert answer.headers["etag"].startswith('W/"')
        assert "content-length" not in answer.headers
    assert (await ipfs(node, target, if_none_match=answer.headers["etag"])).status == 304
    assert "immutable" not in answer.headers["cache-control"]


async def test_a_car_by_scope(node: Node, site: tuple[SiteId, Built]) -> None:
    built = site[1]
    root, docs, large, many = (built.cids[path] for path in ("", "docs", "docs/large", "many"))
    target = f"/ipfs/{root}/docs/large?format=car"
    assert car(await ipfs(node, f"{target}&dag-scope=block")) == ([large], [root, docs, large])
    _, cids = car(await ipfs(node, f"{target}&dag-scope=entity"))
    assert cids[:3] == [root, docs, large]
    chunks = [Cid.of(0x55, LARGE[at : at + 1000]) for at in range(0, len(LARGE), 1000)]
    assert cids[3:] == list(dict.fromkeys(chunks))
    assert car(await ipfs(node, target))[1] == cids
    assert car(await ipfs(node, f"{target}&entity-bytes=1000:2000"))[1][3:] == chunks[1:3]
    assert car(await ipfs(node, f"{target}&entity-bytes=-1:*"))[1][3:] == chunks[-1:]
    assert car(await ipfs(node, f"{target}&entity-bytes=999999:*"))[1][3:] == []
    _, cids = car(await ipfs(node, f"/ipfs/{root}/docs?format=car&dag-scope=entity"))
    assert cids == [root, docs]
    _, cids = car(await ipfs(node, f"/ipfs/{root}/many?format=car&dag-scope=entity"))
    assert cids[:2] == [root, many]
    assert len(cids) > 10
    assert all(cid.codec == 0x70 for cid in cids)


async def test_a_car_without_chunks_ends_with_the_connection(node: Node, site: tuple[SiteId, Built]) -> None:
    client = await node.connect()
    with client.sock:
        await client.send(f"GET /ipfs/{site[1].root}?format=car HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await client.ends()).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert set(car(Answer(200, {}, body))[1]) == set(site[1].blocks)


async def test_head_has_no_body_and_the_connection_goes_on(node: Node, site: tuple[SiteId, Built]) -> None:
    client = await node.connect()
    with client.sock:
        for method in ("HEAD", "GET", "GET"):
            answer = await client.ask(f"/ipfs/{site[1].root}?format=car", ADDRESS, method=method)
            assert (answer.status, bool(answer.body)) == (200, method == "GET")


async def test_the_ipns_record(node: Node, site: tuple[SiteId, Built]) -> None:
    name = str(site[0])
    for host, target, headers in (
        (ADDRESS, f"/ipns/{name}?format=ipns-record", {}),
        ("localhost:1", f"/ipns/{name}", {"accept": "application/vnd.ipfs.ipns-record"}),
        (node.origin(site[0]), "/?format=ipns-record", {}),
    ):
        answer = await node.ask("GET", host, target, **headers)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/vnd.ipfs.ipns-record"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}.ipns-record"'
        record = IpnsRecord.decode(answer.body)
        record.verify(site[0].cid.multihash)
        assert (record.value, record.sequence) == (f"/ipfs/{site[1].root}".encode(), 1)
    for target in (f"/ipns/{name}/docs?format=ipns-record", f"/ipfs/{site[1].root}?format=ipns-record"):
        assert (await ipfs(node, target)).status == 400


async def test_pages_under_a_cid(node: Node, site: tuple[SiteId, Built]) -> None:
    root = site[1].root
    on_domain = await node.ask("GET", "localhost:7", f"/ipfs/{root}/docs/?x")
    assert on_domain.headers["location"] == f"http://{root}.ipfs.localhost:7/docs/?x"
    answer = await node.ask("GET", f"{root}.ipfs.localhost:7", "/")
    assert (answer.status, answer.body) == (200, b"<h1>hello</h1>")
    assert "content-security-policy" not in answer.headers
    assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
    assert answer.headers["x-ipfs-path"] == f"/ipfs/{root}/"
    assert (await ipfs(node, f"/ipfs/{root}?q")).headers["location"] == f"/ipfs/{root}/?q"
    answer = await ipfs(node, f"/ipfs/{root}/link")
    assert answer.body == b"a"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert (await ipfs(node, f"/ipfs/{site[1].cids['docs/a.txt']}")).body == b"a"
    version_0 = Cid(site[1].cids["docs"][2:])
    assert (await ipfs(node, f"/ipfs/{version_0}/a.txt")).body == b"a"
    assert (await node.ask("GET", "localhost:7", f"/ipfs/{version_0}/")).headers["location"].startswith("http://bafy")


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("format=tar", "", 200),
        ("format=json", "", 406),
        ("format=dag-json", "", 406),
        ("format=nonsense", "", 200),
        ("format=", "", 200),
        ("", "application/vnd.ipld.dag-cbor", 406),
        ("", "application/vnd.ipld.dag-cbor, */*", 200),
        ("", "application/json", 200),
        ("format=car&dag-scope=x", "", 400),
        ("format=car&entity-bytes=5:1", "", 400),
        ("format=car&entity-bytes=x", "", 400),
        ("format=car&car-version=2", "", 400),
        ("format=car", "application/vnd.ipld.car; version=2", 400),
        ("format=car&car-order=x", "", 400),
        ("format=car&car-dups=x", "", 400),
        ("", "application/vnd.ipld.car;version=1;order=dfs;dups=y", 200),
        ("&".join(f"format={number}" for number in range(40)), "", 400),
    ],
)
async def test_forms(node: Node, site: tuple[SiteId, Built], query: str, accept: str, status: int) -> None:
    answer = await ipfs(node, f"/ipfs/{site[1].root}/?{query}", accept=accept)
    assert answer.status == status


def test_what_is_wanted_from_nonsense() -> None:
    def of(target: str, accept: str) -> Wanted | None:
        return wanted(Request("GET", target, "a", {"accept": accept}, True))

    assert of("/?format", "application/;=;,,;") is None
    assert of("/", "APPLICATION/VND.IPLD.RAW;q=0.1") == Wanted("raw")
    assert of("/?format=%ff", "") is None
    assert of("/?format=cbor", "application/vnd.ipld.raw") == Wanted("cbor")


async def test_what_no_hosted_site_has(node: Node, site: tuple[SiteId, Built]) -> None:
    other = Cid.of(0x55, b"other")
    node.store.cache_blocks([(other, b"other")])
    for query in ("", "?format=raw", "?format=car"):
        assert (await ipfs(node, f"/ipfs/{other}{query}")).status == 404
    assert (await ipfs(node, f"/ipfs/{other}?format=raw", cache_control="only-if-cached")).status == 412
    assert (await ipfs(node, "/ipfs/bafkqablimvwgy3y?format=raw")).body == b"hello"  # the CID has it itself
    assert (await ipfs(node, f"/ipfs/{site[1].root}/none?format=car")).status == 404
    assert node.backend.fetched == []


@pytest.mark.parametrize("verdict", ["quarantine", "refuse"])
async def test_blocks_of_a_refused_site_do_not_leak(node: Node, site: tuple[SiteId, Built], verdict: str) -> None:
    """Unless another site has them, too."""
    other, _ = node.publish(new_key(), {"a.txt": b"a"})
    node.block(site[0], verdict=verdict, ground="legal")  # type: ignore[arg-type]
    built = site[1]
    for query in ("?format=raw", "?format=car", ""):
        for path in ("", "docs", "docs/large", "index.html"):
            answer = await ipfs(node, f"/ipfs/{built.cids[path]}{query}")
            assert answer.status == 451, (query, path)
            assert 'rel="blocked-by"' in answer.headers["link"]
    assert (await ipfs(node, f"/ipns/{site[0]}?format=ipns-record")).status == 451
    assert (await ipfs(node, f"/ipfs/{built.cids['docs/a.txt']}?format=raw")).body == b"a"
    node.block(other)
    assert (await ipfs(node, f"/ipfs/{built.cids['docs/a.txt']}?format=raw")).status == 451


async def test_a_refused_block_is_in_no_answer(node: Node, site: tuple[SiteId, Built]) -> None:
    built = site[1]
    chunk = Cid.of(0x55, LAST[-1000:])
    node.block(chunk)
    assert (await ipfs(node, f"/ipfs/{chunk}?format=raw")).status == 410
    with pytest.raises((EOFError, trio.BrokenResourceError, OSError)):  # its turn comes after the head was sent
        await ipfs(node, f"/ipfs/{built.root}?format=car")
    node.block(built.cids["index.html"])
    assert (await ipfs(node, f"/ipfs/{built.root}?format=car")).status == 410
    node.block(built.root)
    for path in ("docs/a.txt", "docs"):
        assert (await ipfs(node, f"/ipfs/{built.cids[path]}?format=raw")).status == 410


async def test_a_refused_path(node: Node, site: tuple[SiteId, Built]) -> None:
    root = site[1].root
    node.block(root, path="docs/*")
    assert (await ipfs(node, f"/ipfs/{root}/docs/a.txt?format=car")).status == 410
    assert (await ipfs(node, f"/ipfs/{root}/index.html?format=raw")).status == 200


async def test_an_ended_site_has_no_blocks_and_no_record(node: Node) -> None:
    key = new_key()
    site, built = node.publish(key, TREE)
    node.store.end_site(sign_end(key))
    assert (await ipfs(node, f"/ipfs/{built.root}?format=raw")).status == 404
    assert (await ipfs(node, f"/ipns/{site}?format=ipns-record")).status == 410


async def test_the_record_of_a_site_that_is_elsewhere(node: Node) -> None:
    key = new_key()
    _, built = node.publish(new_key(), TREE)
    node.backend.heads[SiteId.of(key)] = sign(key, built, seq=4)
    answer = await ipfs(node, f"/ipns/{SiteId.of(key)}?format=ipns-record")
    assert IpnsRecord.decode(answer.body).sequence == 4
