"""Request smuggling: framing that two servers could read in two ways ends the connection, with one answer at most.

The ways to write a header that is and is not Transfer-Encoding are those that public scanners try (smuggler's
exhaustive list, PortSwigger's HTTP Request Smuggler).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.gateway.http1 import BadRequest, HeadReader
from node.gateway.limits import Limits

ODD_BYTES = [bytes([n]) for n in (*range(1, 0x20), *range(0x7F, 0x100))]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def encodings() -> Iterator[bytes]:
    """Lines that some server takes for `Transfer-Encoding: chunked`."""
    yield from (
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding:chunked",
        b"TRANSFER-ENCODING: CHUNKED",
        b"tRANSFER-eNCODING: cHuNkEd",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t:\tchunked",
        b" Transfer-Encoding: chunked",
        b"Transfer-Encoding:  chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer Encoding: chunked",
        b"Transfer_Encoding: chunked",
        b"Transfer.Encoding: chunked",
        b"Transfer\\Encoding: chunked",
        b"Transfer-%45ncoding: chunked",
        b"TransferEncoding: chunked",
        b"Transfer-Encoding x: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: identity, chunked, identity",
        b"Transfer-Encoding: cow chunked bar",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding:",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: chunk",
        b"Transfer-Encoding: ch\x96nked",
        b"Transf\x82r-Encoding: chunked",
        b"Transfer-Encoding: chunked\r",
        b"Transfer\r-Encoding: chunked",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding:\r\n\tchunked",
        b"Transfer-Encoding:\n chunked",
        b"Transfer-Encoding\n : chunked",
        b"Transfer-Encoding: \n\x0bchunked",
        b"Foo: bar\r\n Transfer-Encoding: chunked",
        b"Foo: bar\r\n\tTransfer-Encoding: chunked",
        b"Foo: bar\r\n\rTransfer-Encoding: chunked",
        b"Foo: bar\rTransfer-Encoding: chunked",
        b"Foo: bar\nTransfer-Encoding: chunked",
        b"Foo: bar\n\nTransfer-Encoding: chunked",
    )
    for odd in ODD_BYTES:
        yield b"Transfer-Encoding:%cchunked" % odd
        yield b"Transfer-Encoding: %cchunked" % odd
        yield b"Transfer-Encoding%c: chunked" % odd
        yield b"%cTransfer-Encoding: chunked" % odd
        yield b"Transfer-Encoding: chunked%c" % odd


LENGTHS = (
    *(b"Content-Length: " + value for value in (b"5", b"+0", b"-0", b"-1", b"0x0", b"0x5", b"5 5", b"5, 5", b"0, 0")),
    *(b"Content-Length: " + value for value in (b"0,5", b"5;", b"0.0", b"1e1", b"", b"\xb2", b"0\x0b", b"9" * 30)),
    *(b"Content-Length: " + value for value in (b"0_0", b"(0)", b"'0'", b"\xef\xbc\x90", b"18446744073709551616")),
    b"Content-Length : 5",
    b"Content_Length: 5",
    b"Content Length: 5",
    b"ContentLength: 5",
    b"Content-Length: 0\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 0",
    b"Content-Length: 0\r\nContent-Length: 0",
    b"Content-Length:\r\n 5",
    b"Content-Length: 0\r\n 5",
    b"Foo: bar\r\n Content-Length: 5",
    b"Foo: bar\rContent-Length: 5",
)


def answers(raw: bytes, step: int) -> list[str]:
    """What the requests in it ask for, up to where the connection would be closed."""
    reader, targets = HeadReader(Limits()), []
    try:
        for at in range(0, len(raw), step):
            reader.feed(raw[at : at + step])
            while (request := reader.next_request()) is not None:
                targets.append(request.target)
    except BadRequest as error:
        return [*targets, "closed" if error.status in (400, 413) else str(error.status)]
    return targets


@pytest.mark.parametrize("step", [10_000, 11])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_nothing_that_could_be_framing_is_overlooked(method: bytes, step: int) -> None:
    lines = [*encodings(), *LENGTHS]
    lines += [b"Content-Length: 0\r\n" + line for line in encodings()]
    lines += [line + b"\r\nContent-Length: 0" for line in encodings()]
    for line in lines:
        raw = method + b" / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
        assert answers(raw, step) == ["closed"], line


@pytest.mark.parametrize(
    "line", [b"Content-Length: 0", b"Content-Length:0", b"Content-Length: 00", b"Content-Encoding: chunked"]
)
def test_what_can_be_read_in_one_way_only_is_no_reason_to_close(line: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n" + SMUGGLED
    assert answers(raw, 10_000) == ["/", "/smuggled"]


def test_a_post_elsewhere_is_refused_before_its_body_is_looked_at() -> None:
    for line in encodings():
        reader = HeadReader(Limits())
        reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
        with pytest.raises(BadRequest):
            reader.next_request()
