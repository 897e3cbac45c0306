"""HTTP/1.x as Core's server (libevent) reads and writes it: framing, refusals, response heads."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from btcnode.rpc import http1
from btcnode.rpc.http1 import Head, HttpFault, RequestReader, error_page, response

BODY = b'{"id":1}'
GET = b"GET /x HTTP/1.1\r\n\r\n"


def read_all(data: bytes, cuts: list[int] | None = None) -> list[tuple[bytes, bytes, bytes] | int]:
    """``(method, target, body)`` of every request that is complete, and at the end the status of a fault."""
    reader, found, head = RequestReader(), [], None
    edges = [0, *(cuts or []), len(data)]
    for start, end in itertools.pairwise(edges):
        reader.feed(data[start:end])
        try:
            while True:
                head = head or reader.read_head()
                body = reader.read_body() if head else None
                if head is None or body is None:
                    break
                found.append((head.method, head.target, body))
                head = None
        except HttpFault as fault:
            return [*found, fault.status]
    return found  # type: ignore[return-value]


def post(*lines: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", *lines, b"", body))


SIZED = post(b"Content-Length: 8") + GET
CHUNKED = post(b"Transfer-Encoding: chunked", body=b'3\r\n{"i\r\n5 x\r\nd":1}\r\n\r\n0\r\nA: b\r\n\r\n') + GET
WHOLE = [(b"POST", b"/", BODY), (b"GET", b"/x", b"")]


@pytest.mark.parametrize(
    "data",
    [
        SIZED,
        SIZED.replace(b"\r\n", b"\n"),
        CHUNKED,
        CHUNKED.replace(b"\r\n", b"\n"),
        post(b"content-LENGTH:    +08  \t") + GET,
        post(b"Content-Length: 8", b"Content-Length: 9") + GET,
        post(b"X : \x01\xff", b": y", b"X(: z", b"Y: a", b"\tb", b" c", b"Content-Length: 8") + GET,
        post(b"Content-Length: 8\0 9", b"Transfer-Encodin: chunked") + GET,
        post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: , CHUNKED;q=1", body=CHUNKED.split(b"\r\n\r\n", 1)[1]),
        post(b"Transfer-Encoding: chunked", body=b"0X8\r\n" + BODY + b"-0\r\n\r\n") + GET,
    ],
)
def test_bodies_end_where_they_end(data: bytes) -> None:
    assert read_all(data) == WHOLE
    rng = random.Random(len(data))
    for _ in range(50):
        cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(1, 40))))
        assert read_all(data, cuts) == WHOLE
    assert read_all(data, list(range(1, len(data)))) == WHOLE


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"HEAD", b"TRACE", b"FOOO"]
)
def test_methods_with_a_body(method: bytes) -> None:
    found = read_all(method + b" /1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(GET) + GET)
    if method in (b"HEAD", b"TRACE", b"FOOO"):
        assert found == [(method, b"/1", b""), (b"GET", b"/x", b"")]
    else:
        assert found == [(method, b"/1", GET)]


def test_a_post_without_length_has_no_body() -> None:
    assert read_all(post(body=GET)) == [(b"POST", b"/", b""), (b"GET", b"/x", b"")]
    assert read_all(post(b"Transfer-Encoding: identity", body=b"")) == [(b"POST", b"/", b"")]


@pytest.mark.parametrize(
    "length",
    [
        b"",
        b"-1",
        b"abc",
        b"0x8",
        b"8,8",
        b"4_0",
        b"1e1",
        b"8.",
        b"++8",
        b"\xd9\xa8",
        b"\xef\xbc\x98",
        b"8 8",
        b"+",
        b"-",
    ],
)
def test_lengths_that_are_none(length: bytes) -> None:
    assert read_all(post(b"Content-Length: " + length)) == [400]


@pytest.mark.parametrize("length", [b"33554433", b"99999999999999999999999999", b"9" * 5000])
def test_lengths_that_are_too_large(length: bytes) -> None:
    assert read_all(post(b"Content-Length: " + length, body=b"")) == [413]


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"-5\r\n",
        b"5;x=y\r\nabcde",
        b"2000001\r\n",
        b"f" * 5000 + b"\r\n",
        b"0x\r\n",
        b"5_\r\n",
        b"1" * 9000,
        b"0\r\nbad\r\n\r\n",
        b"\xd9\xa5\r\n",
    ],
)
def test_chunks_that_are_none(chunks: bytes) -> None:
    assert read_all(post(b"Transfer-Encoding: chunked", body=chunks)) == [413]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Transfer-Encoding: chunked", b"Content-Length: 8"),
        (b"Transfer-Encoding: chunked, gzip",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked,",),
        (b"no colon",),
        (b" folded",),
        (b"X: a\rb",),
        (b"X\r: a",),
        (b"X: " + b"a" * 8200,),
        tuple(b"X: a" for _ in range(3000)),
    ],
)
def test_heads_that_are_refused(lines: tuple[bytes, ...]) -> None:
    assert read_all(post(*lines)) == [400]


@pytest.mark.parametrize("value", [b"x", b"", b"100-continu", b"100-continue, x"])
def test_expectations(value: bytes) -> None:
    data = post(b"Expect: " + value, b"Content-Length: 8")
    assert read_all(data) == [417]
    assert read_all(data.replace(b"1.1", b"1.0")) == [(b"POST", b"/", BODY)]
    assert read_all(post(b"Expect: " + value, body=b"")) == [(b"POST", b"/", b"")]  # nothing is expected without a body


def test_a_client_that_waits_is_told_to_go_on() -> None:
    for lines in ((b"Content-Length: 8",), (b"Transfer-Encoding: chunked",)):
        reader = RequestReader()
        reader.feed(post(b"Expect: 100-Continue", *lines, body=b""))
        assert reader.read_head() is not None and reader.wants_continue()
    for data in (post(b"Expect: 100-continue", b"Content-Length: 8"), post(b"Content-Length: 8", body=b"")):
        reader = RequestReader()
        reader.feed(data)
        assert reader.read_head() is not None and not reader.wants_continue()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\r\n",
        b"GET /",
        b"GET / HTTP/1",
        b"GET / HTTX/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.1x",
        b"GET\t/\tHTTP/1.1",
        b"G / HTTP/1.1",
        b"POST /\0 HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefg",
        b"GET :b HTTP/1.1",
        b"GET 1a:b HTTP/1.1",
        b"GET //a b HTTP/1.1",
        b"GET //a:65536 HTTP/1.1",
        b"GET //[zz]/ HTTP/1.1",
        b"GET //[::1 HTTP/1.1",
        b"GET http://u@@h/ HTTP/1.1",
        b"GET //%zz/ HTTP/1.1",
        b"GET /" + b"a" * 8200 + b" HTTP/1.1",
        b"GET //[a:b]:1/ HTTP/1.1",
        b"GET //[1:2:3:4:5:6:7:8:9]/ HTTP/1.1",
    ],
)
def test_request_lines_that_are_refused_at_once(line: bytes) -> None:
    assert read_all(line + b"\r\n") == [400]


def test_an_endless_request_line_is_refused() -> None:
    assert read_all(b"GET /" + b"a" * 9000) == [400]
    assert read_all(b"GET / HTTP/1.1\r\nX: " + b"a" * 9000) == [400]
    assert read_all(b"GET / HTTP/1.1\r\nX: " + b"a" * 8000) == []


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"x:1",
        b"/a b",
        b"/\xff",
        b"//",
        b"///",
        b"//a:/",
        b"//[::1]:8",
        b"//[v1.a]/",
        b"//u:p@h:1/",
        b"//%41/",
        b"a/b:c",
    ],
)
def test_other_targets(target: bytes) -> None:
    assert read_all(b"GET %s HTTP/1.1  \r\n\r\n" % target) == [(b"GET", target, b"")]


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", None, True),
        (b"1.1", b"close", False),
        (b"1.1", b"CLOSE", False),
        (b"1.1", b"close, x", True),
        (b"1.0", None, False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, x", True),
        (b"1.0", b"close", False),
        (b"0.9", None, False),
        (b"1.2", None, True),
    ],
)
def test_connections_that_stay_open(version: bytes, connection: bytes | None, stays: bool) -> None:
    reader = RequestReader()
    lines = b"" if connection is None else b"Connection: %s\r\n" % connection
    reader.feed(b"GET / HTTP/%s\r\n%s\r\n" % (version, lines))
    head = reader.read_head()
    assert head is not None and head.stays_open == stays
    answer = response(head, 200, b"body", b"Content-Type: a\r\n")
    assert answer.startswith(b"HTTP/%s 200 OK\r\nContent-Type: a\r\n" % version) and answer.endswith(b"\r\n\r\nbody")
    assert (b"Content-Length: 4\r\n" in answer) == (version >= b"1.1" or stays)
    assert (b"Date: " in answer) == (version >= b"1.1")
    assert (b"Connection: keep-alive\r\n" in answer) == (version == b"1.0" and stays)
    assert (b"Connection: close\r\n" in answer) == (connection is not None and connection.lower() == b"close")


def test_a_client_that_takes_this_for_a_proxy() -> None:
    for more, stays in (
        (b"", False),
        (b"Proxy-Connection: keep-alive\r\n", True),
        (b"Connection: keep-alive\r\n", False),
    ):
        reader = RequestReader()
        reader.feed(b"GET http://x/ HTTP/1.1\r\n" + more + b"\r\n")
        head = reader.read_head()
        assert head is not None and head.proxied and head.stays_open == stays
        assert b"Connection:" not in response(head, 404, b"")


def test_answers_without_a_body() -> None:
    head = Head(b"HEAD", b"/", 1, 1)
    assert re.fullmatch(rb"HTTP/1.1 405 Method Not Allowed\r\nDate: [^\r]*GMT\r\n\r\n", response(head, 405, b"text"))
    head = Head(b"POST", b"/", 1, 1)
    assert re.fullmatch(rb"HTTP/1.1 204 No Content\r\nDate: [^\r]*GMT\r\n\r\n", response(head, 204, b""))
    html = rb"Content-Length: 0\r\nContent-Type: text/html; charset=ISO-8859-1\r\n\r\n"
    assert re.fullmatch(rb"HTTP/1.1 404 Not Found\r\nDate: [^\r]*GMT\r\n" + html, response(head, 404, b""))


def test_error_pages() -> None:
    page = error_page(Head(b"POST", b"/", 1, 0), 413)
    assert page.startswith(
        b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\nConnection: close\r\nDate: "
    )
    assert page.endswith(b"<H1>Request Entity Too Large</H1>\n</BODY></HTML>\n") and b"Content-Length: 120\r\n" in page


def test_the_date_is_of_this_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for second, text in (
        (784111777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (784111778.9, b"Sun, 06 Nov 1994 08:49:38 GMT"),
    ):
        monkeypatch.setattr("btcnode.rpc.http1.time.time", lambda now=second: now)
        assert http1.date_line() == b"Date: %s\r\n" % text


def test_a_body_nobody_wants_is_not_kept() -> None:
    for head_line, data in (
        (b"Content-Length: 200000", b"a" * 1000),
        (b"Transfer-Encoding: chunked", b"3e8\r\n" + b"a" * 1000),
    ):
        reader = RequestReader()
        reader.feed(post(head_line, body=b""))
        assert reader.read_head() is not None
        reader.keeps_body = False
        for _ in range(100):
            reader.feed(data)
            assert reader.read_body() is None
            assert reader.buffered == 0


def test_a_body_in_tiny_pieces_costs_what_it_weighs() -> None:
    reader = RequestReader()
    reader.feed(post(b"Content-Length: 300000", body=b""))
    assert reader.read_head() is not None
    for _ in range(299_999):
        reader.feed(b"a")
        assert reader.read_body() is None
    assert reader.buffered == 299_999
    reader.feed(b"a" + GET)
    assert reader.read_body() == b"a" * 300_000
    assert reader.read_head() is not None


def test_a_body_of_many_chunks_is_read_some_at_a_time() -> None:
    """Else a stranger who sends a byte in each of them has the loop for as long as he likes."""
    reader, looks = RequestReader(), 0
    count = 3 * http1.CHUNK_LINES_AT_ONCE // 2
    reader.feed(post(b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * count + b"0\r\n\r\n") + GET)
    assert reader.read_head() is not None
    while (body := reader.read_body()) is None:
        assert reader.has_more_body
        looks += 1
    assert (body, looks, reader.has_more_body) == (b"x" * count, 3, False)
    assert reader.read_head() is not None and reader.read_body() == b""
    reader.feed(post(b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n"))
    assert reader.read_head() is not None and reader.read_body() is None and not reader.has_more_body


def test_requests_are_read_alike_whatever_came_before() -> None:
    """A head that has come before is not read again: only one that is the same to its last byte."""
    forms = [
        SIZED,
        GET,
        GET.replace(b"/x", b"/xy"),
        post(b"Content-Length: 8", b"X: y"),
        post(b"Content-Length: 9", b"X: y", body=b'{"id":12}'),
        CHUNKED,
        post(b"Content-Length: 8", b"Expect: 100-continue"),
        b"GET /x HTTP/1.0\r\n\r\n",
    ]
    rng = random.Random(5)
    for _ in range(300):
        chosen = rng.choices(forms, k=6)
        data = b"".join(chosen)
        expected = [found for form in chosen for found in read_all(form)]
        assert read_all(data, sorted(rng.sample(range(1, len(data)), 3))) == expected == read_all(data)


def test_a_long_head_is_not_kept() -> None:
    reader = RequestReader()
    long = GET.replace(b"/x", b"/" + b"x" * 2000)
    for data in (long, GET, long):
        reader.feed(data)
        head = reader.read_head()
        assert head is not None and head.target == data.split(b" ")[1]
        assert reader.read_body() == b""
        assert len(reader._usual) < 2000
