"""The SOCKS5 client against servers that keep to the protocol, lie, stall and hang up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from btcnode.net.proxy import socks5
from btcnode.net.proxy.dialer import Dialer
from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.reach import reach
from btcnode.net.proxy.socks5 import Credentials, CredentialsGenerator
from btcnode.settings.addresses import ProxyAddress, ProxyPlan
from btcnode.wire.netaddr import NetAddress

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def through(server: Server, credentials: Credentials | None, seconds: float = 5.0) -> bytes:
    """What the connection delivers first after a negotiation with ``server``."""
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    sock = await reach(ProxyAddress("127.0.0.1", port), 5.0)
    try:
        await socks5.negotiate(sock, ONION, 8333, credentials, seconds)
        return await asyncio.get_running_loop().sock_recv(sock, 100)
    finally:
        sock.close()
        listener.close()


def scripted(*answers: bytes, said: list[bytes] | None = None) -> Server:
    """A server that takes one message and gives one answer after the other."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            data = await reader.read(1000)
            if said is not None:
                said.append(data)
            writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


GRANTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x20\x8d"


def test_without_credentials() -> None:
    said: list[bytes] = []
    assert asyncio.run(through(scripted(b"\x05\x00", GRANTED + b"hello", said=said), None)) == b"hello"
    assert said[0] == b"\x05\x01\x00"
    assert said[1] == b"\x05\x01\x00\x03" + bytes((len(ONION),)) + ONION.encode() + b"\x20\x8d"


def test_with_credentials() -> None:
    said: list[bytes] = []
    server = scripted(b"\x05\x02", b"\x01\x00", GRANTED, said=said)
    assert asyncio.run(through(server, Credentials("me", "secret"))) == b""
    assert said[:2] == [b"\x05\x02\x00\x02", b"\x01\x02me\x06secret"]


@pytest.mark.parametrize(
    "address", [b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x03abc", b"\x03\x00", b"\x03\xff" + bytes(255)]
)
def test_any_kind_of_address_in_the_answer(address: bytes) -> None:
    answer = b"\x05\x00\x00" + address + b"\x00\x01" + b"then"
    assert asyncio.run(through(scripted(b"\x05\x00", answer), None)) == b"then"


@pytest.mark.parametrize(
    ("answers", "text", "proxy_failed"),
    [
        ((b"\x04\x00",), "does not speak SOCKS5", True),
        ((b"\x05\xff",), "unknown authentication 0xff", True),
        ((b"\x05\x02",), "unknown authentication 0x02", True),  # we offered none
        ((b"\x05",), "closed the connection", True),
        ((b"\x05\x00", b"\x05\x05\x00\x01"), "connection refused", False),
        ((b"\x05\x00", b"\x05\xf0\x00\x01"), "onion service descriptor can not be found", False),
        ((b"\x05\x00", b"\x05\x99\x00\x01"), "unknown (0x99)", False),
        ((b"\x05\x00", b"\x04\x00\x00\x01"), "does not accept the request", True),
        ((b"\x05\x00", b"\x05\x00\x01\x01"), "malformed", True),
        ((b"\x05\x00", b"\x05\x00\x00\x09" + bytes(300)), "malformed", True),
        # CVE-2017-18350: a length that is larger than what follows, and one that a signed byte would make negative
        ((b"\x05\x00", b"\x05\x00\x00\x03\xff" + bytes(20)), "closed the connection", True),
        ((b"\x05\x00", b"\x05\x00\x00\x03\x80"), "closed the connection", True),
    ],
)
def test_cve_2017_18350_and_other_lies(answers: tuple[bytes, ...], text: str, proxy_failed: bool) -> None:
    with pytest.raises(DialError) as refused:
        asyncio.run(through(scripted(*answers), None))
    assert text in str(refused.value)
    assert refused.value.proxy_failed == proxy_failed


def test_refused_credentials() -> None:
    with pytest.raises(DialError, match="refuses the credentials"):
        asyncio.run(through(scripted(b"\x05\x02", b"\x01\x01"), Credentials("me", "secret")))


def test_a_proxy_that_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    with pytest.raises(DialError, match="does not answer in time"):
        asyncio.run(through(silent, None, seconds=0.05))


def test_texts_that_do_not_fit() -> None:
    with pytest.raises(DialError, match="hostname too long"):
        socks5.request("a" * 256, 1)
    with pytest.raises(DialError, match="too long"):
        socks5.authentication(Credentials("a" * 256, "b"))
    assert socks5.request("a" * 255, 1)[4] == 255


def test_credentials_are_never_the_same() -> None:
    first, second = CredentialsGenerator(bytes(8)), CredentialsGenerator(b"\xff" * 8)
    seen = [generator.next() for generator in (first, second) for _ in range(3)]
    assert seen[0] == ("0000000000000000-0", "0000000000000000-0")
    assert seen[4] == ("ffffffffffffffff-1", "ffffffffffffffff-1")
    assert len(set(seen)) == 6


PROXY, TOR, SAM = ProxyAddress("127.0.0.1", 1), ProxyAddress("127.0.0.1", 2), ProxyAddress("127.0.0.1", 3)
V4, LOCAL = NetAddress.from_host("20.0.0.1", 8333), NetAddress.from_host("127.0.0.1", 8333)
TOR_PEER = NetAddress.from_host(ONION, 8333)


def test_which_proxy_leads_where() -> None:
    dialer = Dialer(ProxyPlan(ipv4=PROXY, name=PROXY), connect_timeout=1)
    assert dialer.proxy_for(V4) is PROXY
    assert dialer.proxy_for(LOCAL) is None  # what only this host reaches is reached straight
    assert dialer.proxy_for(NetAddress.from_host("2600::1", 8333)) is None
    assert dialer.proxy_for(TOR_PEER) is None
    dialer.set_onion_proxy(TOR)
    assert dialer.proxy_for(TOR_PEER) is TOR
    assert dialer.private_proxy(V4) is TOR  # never the clear net, nor a proxy that is not Tor's
    assert Dialer(ProxyPlan(ipv4=PROXY), connect_timeout=1).private_proxy(V4) is None


def test_no_way_is_an_error_and_never_the_clear_net() -> None:
    dialer = Dialer(ProxyPlan(), connect_timeout=1)
    with pytest.raises(DialError, match="no proxy leads to"):
        asyncio.run(dialer.open(TOR_PEER))
    with pytest.raises(DialError, match="no proxy leads to"):
        asyncio.run(dialer.open(V4, private=True))
    with pytest.raises(DialError, match="no proxy for names"):
        asyncio.run(dialer.open_name("example.org", 1))
    assert asyncio.run(dialer.open(V4)) is None


def test_a_proxy_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = ProxyAddress("127.0.0.1", unused.getsockname()[1])
        with pytest.raises(DialError, match=r"Cannot connect to 127\.0\.0\.1") as refused:
            asyncio.run(Dialer(ProxyPlan(ipv4=proxy), connect_timeout=1).open(V4))
    assert refused.value.proxy_failed
