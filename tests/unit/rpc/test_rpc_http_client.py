"""The client's HTTP against given bytes: forms of a body, broken answers, hosts that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from btcnode.rpc.client import RpcClient, RpcConnectionError
from btcnode.rpc.http_client import HttpConnection, HttpError, RemoteClosed


@contextmanager
def serving(*answers: bytes, piece: int = 1 << 20) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives each connection one of the answers, whatever it says; port, and what was said."""
    listener = socket.create_server(("127.0.0.1", 0))
    said: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                said.append(connection.recv(1 << 20))
                for at in range(0, len(answer), piece):
                    connection.sendall(answer[at : at + piece])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], said
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def post(answer: bytes, piece: int = 1 << 20) -> tuple[int, bytes]:
    with serving(answer, piece=piece) as (port, _):
        connection = HttpConnection("127.0.0.1", port, 10)
        try:
            return connection.post("/", b"{}", {})
        finally:
            connection.close()


GOOD = (
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n", 404, b""),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.0 500 Internal\n\nto the end", 500, b"to the end"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x=1\r\nhello\r\nA\r\n, world!!!\r\n0\r\nTrailer: 1\r\n\r\n",
        200,
        b"hello, world!!!",
    ),
)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(("answer", "status", "body"), GOOD)
def test_forms_of_a_body(answer: bytes, status: int, body: bytes, piece: int) -> None:
    assert post(answer, piece) == (status, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000000000\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
def test_broken_answers(answer: bytes) -> None:
    with pytest.raises((HttpError, ConnectionResetError)):
        post(answer)


def test_a_connection_that_ends_without_a_word() -> None:
    with pytest.raises(RemoteClosed):
        post(b"")


def test_what_is_sent() -> None:
    with serving(GOOD[0][0]) as (port, said), RpcClient("127.0.0.1", port, "user", "pass") as client:
        assert client.post(b"[]", "/wallet/x") == (200, b"hello")
    assert said[0].startswith(b"POST /wallet/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Basic dXNlcjpwYXNz\r\n" in said[0]
    assert said[0].endswith(b"\r\n\r\n[]")


def test_a_connection_that_the_server_has_closed_is_opened_again_once() -> None:
    with serving(GOOD[0][0], GOOD[1][0]) as (port, said), RpcClient("127.0.0.1", port) as client:
        assert client.post(b"1") == (200, b"hello")
        assert client.post(b"2") == (404, b"")
        assert len(said) == 2
    with serving(b"") as (port, said), RpcClient("127.0.0.1", port) as client, pytest.raises(RpcConnectionError):
        client.post(b"1")
    assert len(said) == 1


@pytest.mark.parametrize("host", ["", "a b", "a\0b", "x" * 300, "..", "\udcff", "256.1.1.1"])
def test_hosts_that_are_none(host: str) -> None:
    with RpcClient(host, 1) as client, pytest.raises(RpcConnectionError):
        client.post(b"")
