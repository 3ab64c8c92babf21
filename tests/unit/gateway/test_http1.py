"""Request heads: each good one whole, byte by byte and with others behind it; each bad one with its status."""

from __future__ import annotations

import pytest

from node.gateway.http1 import BadRequest, HeadReader, Request
from node.gateway.limits import Limits

LIMITS = Limits(request_line_max_bytes=200, head_max_bytes=400, headers_max=5)


def read_all(raw: bytes, step: int | None = None) -> list[Request]:
    reader = HeadReader(LIMITS)
    requests = []
    for at in range(0, len(raw), step or len(raw)):
        reader.feed(raw[at : at + (step or len(raw))])
        while (request := reader.next_request()) is not None:
            requests.append(request)
    return requests


def head(line: str = "GET / HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([line, *(headers or ("Host: a",)), "", ""]).encode("latin-1")


GOOD = {
    "plain": (head(), Request("GET", "/", "a", {"host": "a"}, True)),
    "head": (head("HEAD /x?y=z HTTP/1.1"), Request("HEAD", "/x?y=z", "a", {"host": "a"}, True)),
    "1.0": (head("GET / HTTP/1.0"), Request("GET", "/", "a", {"host": "a"}, False, chunks=False)),
    "1.0 without host": (head("GET / HTTP/1.0", "A: b"), Request("GET", "/", None, {"a": "b"}, False, chunks=False)),
    "close": (
        head("GET / HTTP/1.1", "Host: a", "Connection: x, Close"),
        Request("GET", "/", "a", {"host": "a", "connection": "x, Close"}, False),
    ),
    "repeated header": (
        head("GET / HTTP/1.1", "Host: a", "If-None-Match: 1", "IF-NONE-MATCH:2"),
        Request("GET", "/", "a", {"host": "a", "if-none-match": "1, 2"}, True),
    ),
    "empty line before": (b"\r\n" + head(), Request("GET", "/", "a", {"host": "a"}, True)),
    "absolute target": (head("GET http://b:1/x?y HTTP/1.1"), Request("GET", "/x?y", "b:1", {"host": "a"}, True)),
    "absolute target without path": (head("GET HTTP://b HTTP/1.1"), Request("GET", "/", "b", {"host": "a"}, True)),
    "absolute target with query": (head("GET http://b?q HTTP/1.1"), Request("GET", "/?q", "b", {"host": "a"}, True)),
    "no body": (
        head("GET / HTTP/1.1", "Host: a", "Content-Length: 0"),
        Request("GET", "/", "a", {"host": "a", "content-length": "0"}, True),
    ),
    "upgrade is ignored": (
        head("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket"),
        Request("GET", "/", "a", {"host": "a", "connection": "Upgrade", "upgrade": "websocket"}, True),
    ),
    "byte over 127 in a value": (
        head("GET / HTTP/1.1", "Host: a", "X: \xff"),
        Request("GET", "/", "a", {"host": "a", "x": "\xff"}, True),
    ),
}

BAD = {
    "lower-case method": (head("get / HTTP/1.1"), 405),
    "post": (head("POST / HTTP/1.1"), 405),
    "options": (head("OPTIONS * HTTP/1.1"), 405),
    "connect": (head("CONNECT a:80 HTTP/1.1"), 405),
    "unknown method": (head("BREW / HTTP/1.1"), 405),
    "not a method": (head("G@T / HTTP/1.1"), 400),
    "two spaces": (head("GET  / HTTP/1.1"), 400),
    "space in path": (head("GET /a b HTTP/1.1"), 400),
    "tab": (head("GET\t/ HTTP/1.1"), 400),
    "0.9": (head("GET /"), 400),
    "2.0": (head("GET / HTTP/2.0"), 505),
    "1.2": (head("GET / HTTP/1.2"), 505),
    "1.10": (head("GET / HTTP/1.10"), 400),
    "lower-case version": (head("GET / http/1.1"), 400),
    "rtsp": (head("GET / RTSP/1.0"), 400),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400),
    "asterisk": (head("GET * HTTP/1.1"), 400),
    "relative": (head("GET a HTTP/1.1"), 400),
    "fragment": (head("GET /#a HTTP/1.1"), 400),
    "unescaped path": (head("GET /\xe4 HTTP/1.1"), 400),
    "control in path": (head("GET /\x01 HTTP/1.1"), 400),
    "delete in path": (head("GET /\x7f HTTP/1.1"), 400),
    "no host": (head("GET / HTTP/1.1", "A: b"), 400),
    "two hosts": (head("GET / HTTP/1.1", "Host: a", "Host: a"), 400),
    "host with comma": (head("GET / HTTP/1.1", "host: a", "HOST: b"), 400),
    "space before colon": (head("GET / HTTP/1.1", "Host : a"), 400),
    "folded header": (head("GET / HTTP/1.1", "Host: a", "X: a", " b"), 400),
    "header without colon": (head("GET / HTTP/1.1", "Host: a", "X"), 400),
    "header without name": (head("GET / HTTP/1.1", "Host: a", ": b"), 400),
    "control in value": (head("GET / HTTP/1.1", "Host: a", "X: \x01"), 400),
    "control in name": (head("GET / HTTP/1.1", "Host: a", "X\x01: a"), 400),
    "bare CR": (head("GET / HTTP/1.1", "Host: a", "X: a\rY: b"), 400),
    "bare LF": (head("GET / HTTP/1.1", "Host: a", "X: a\nY: b"), 400),
    "only LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "LF first": (b"\n" + head(), 400),
    "NUL in value": (head("GET / HTTP/1.1", "Host: a\0b"), 400),
    "NUL in path": (head("GET /\0 HTTP/1.1"), 400),
    "body": (head("GET / HTTP/1.1", "Host: a", "Content-Length: 5"), 413),
    "chunked": (head("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"), 413),
    "chunked and length": (head("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Content-Length: 0"), 400),
    "length and chunked": (head("GET / HTTP/1.1", "Host: a", "Content-Length: 0", "Transfer-Encoding: chunked"), 400),
    "two lengths": (head("GET / HTTP/1.1", "Host: a", "Content-Length: 0", "Content-Length: 0"), 400),
    "negative length": (head("GET / HTTP/1.1", "Host: a", "Content-Length: -1"), 400),
    "odd transfer encoding": (head("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: xchunked"), 400),
    "three empty lines": (b"\r\n\r\n\r\n" + head(), 400),
    "long request line": (head("GET /" + "a" * 200 + " HTTP/1.1"), 414),
    "long request line that does not end": (b"GET /" + b"a" * 300, 414),
    "long head": (head("GET / HTTP/1.1", "Host: a", "X: " + "a" * 400), 431),
    "long head that does not end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 400, 431),
    "many headers": (head("GET / HTTP/1.1", "Host: a", *["X: a"] * 5), 431),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("step", [None, 1, 7])
def test_good_heads(name: str, step: int | None) -> None:
    raw, expected = GOOD[name]
    assert read_all(raw, step) == [expected]


@pytest.mark.parametrize("step", [None, 1, 3])
def test_pipelined_requests_come_out_in_order(step: int | None) -> None:
    raw = b"".join(raw for raw, _ in GOOD.values())
    assert read_all(raw, step) == [request for _, request in GOOD.values()]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [None, 1])
def test_bad_heads(name: str, step: int | None) -> None:
    raw, status = BAD[name]
    with pytest.raises(BadRequest) as caught:
        read_all(raw, step)
    assert caught.value.status == status


def test_a_good_request_is_answered_before_the_bad_one_behind_it() -> None:
    reader = HeadReader(LIMITS)
    reader.feed(head() + b"GET /\0")
    assert reader.next_request() is not None
    with pytest.raises(BadRequest):
        reader.next_request()


def test_hopeless_bytes_are_refused_before_the_head_is_complete() -> None:
    for hopeless in (b"GET / HTTP/1.1\r\nX: a\n", b"GET / HTTP/1.1\r\nX: \0", b"\n"):
        with pytest.raises(BadRequest):
            read_all(hopeless)


def test_limits_must_fit_together() -> None:
    with pytest.raises(ValueError, match="fit"):
        Limits(request_line_max_bytes=10, head_max_bytes=10)
    with pytest.raises(ValueError, match="address"):
        Limits(connections_max=1, address_connections_max=2)
