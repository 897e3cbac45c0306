"""NAT-PMP and PCP against gateways of one's own on loopback, honest and hostile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from btcnode.net.nat import pcp
from btcnode.net.nat.errors import NatError, UnsupportedVersion
from btcnode.net.nat.portmap import PortMapper
from btcnode.net.nat.udp import MAX_STRANGE, TRIES, UdpClient

NONCE = bytes(range(12))
EXTERNAL = bytes(10) + b"\xff\xff" + bytes((5, 5, 5, 1))


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**kwargs: Any) -> None:
        asyncio.run(test(**kwargs))

    return run


def pcp_answer(request: bytes, *, result: int = 0, lifetime: int | None = None) -> bytes:
    granted = int.from_bytes(request[4:8], "big") if lifetime is None else lifetime
    head = struct.pack(">BBBBII12x", 2, 0x81, 0, result, granted, 1)
    return head + request[24:42] + request[40:42] + EXTERNAL


class Gateway:
    """A UDP server; ``reply(request)`` gives the datagrams to send back."""

    def __init__(self, reply: Callable[[bytes], list[bytes]]) -> None:
        self.reply = reply
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Gateway:
        gateway = self

        class Server(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: object) -> None:
                gateway.requests.append(data)
                for answer in gateway.reply(data):
                    self.transport.sendto(answer, addr)  # type: ignore[attr-defined]

        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Server, local_addr=("127.0.0.1", 0)
        )
        return self

    @property
    def address(self) -> tuple[str, int]:
        address: tuple[str, int] = self.transport.get_extra_info("sockname")
        return address

    async def __aexit__(self, *exc: object) -> None:
        self.transport.close()


def test_requests_are_as_the_rfcs_draw_them() -> None:
    assert pcp.natpmp_address_request() == b"\0\0"
    assert pcp.natpmp_map_request(8333, 2400) == bytes.fromhex("00020000208d208d00000960")
    assert pcp.natpmp_map_request(8333, 0) == bytes.fromhex("00020000208d000000000000")
    request = pcp.pcp_map_request(NONCE, "192.168.1.2", 8333, 2400)
    assert len(request) == 60
    assert request[:24] == bytes.fromhex("0201000000000960" + "00" * 10 + "ffffc0a80102")
    assert request[24:44] == NONCE + bytes.fromhex("06000000208d208d")
    assert request[44:] == bytes(10) + b"\xff\xff" + bytes(4)
    assert pcp.pcp_map_request(NONCE, "2a00::1", 1, 1)[44:] == bytes(16)


def test_pcp_answers() -> None:
    good = pcp_answer(pcp.pcp_map_request(NONCE, "192.168.1.2", 8333, 2400))
    mapping = pcp.read_pcp_map(good, NONCE, 8333)
    assert mapping is not None and (str(mapping.external), mapping.lifetime) == ("5.5.5.1:8333", 2400)
    assert pcp.read_pcp_map(good, bytes(12), 8333) is None  # somebody else's nonce
    assert pcp.read_pcp_map(good, NONCE, 8334) is None
    assert pcp.read_pcp_map(good[:59], NONCE, 8333) is None
    assert pcp.read_pcp_map(good + bytes(pcp.MAX_SIZE), NONCE, 8333) is None
    with pytest.raises(NatError, match="no resources"):
        pcp.read_pcp_map(good[:3] + b"\x08" + good[4:], NONCE, 8333)
    with pytest.raises(UnsupportedVersion):
        pcp.read_pcp_map(bytes.fromhex("0081000100000000"), NONCE, 8333)


def test_natpmp_answers() -> None:
    assert pcp.read_natpmp_address(bytes.fromhex("008000000000000105050501")) == bytes((5, 5, 5, 1))
    answer = bytes.fromhex("0082000000000001208d208e00000960")
    assert pcp.read_natpmp_map(answer, 8333) == (8334, 2400)
    assert pcp.read_natpmp_map(answer, 1) is None
    with pytest.raises(NatError, match="not authorised"):
        pcp.read_natpmp_map(bytes.fromhex("0082000200000001"), 8333)
    with pytest.raises(NatError, match="of 15 bytes"):
        pcp.read_natpmp_map(answer[:15], 8333)


def test_readers_survive_noise() -> None:
    rng = random.Random(1)
    good = pcp_answer(pcp.pcp_map_request(NONCE, "192.168.1.2", 8333, 2400))
    for _ in range(20_000):
        data = bytearray(good[: rng.randrange(61)] if rng.random() < 0.5 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        for read in (
            lambda raw: pcp.read_pcp_map(raw, NONCE, 8333),
            pcp.read_natpmp_address,
            lambda raw: pcp.read_natpmp_map(raw, 8333),
        ):
            with contextlib.suppress(NatError):
                read(bytes(data))


@in_loop
async def test_maps_renews_and_removes_by_pcp() -> None:
    async with Gateway(lambda request: [pcp_answer(request)]) as gateway:
        mapper = PortMapper(gateway4=gateway.address)
        for _ in range(2):
            (mapping,) = await mapper.open(18444)
            assert str(mapping.external) == "5.5.5.1:18444"
        await mapper.close()
        await mapper.close()
    nonces = {request[24:36] for request in gateway.requests}
    lifetimes = [int.from_bytes(request[4:8], "big") for request in gateway.requests]
    assert len(nonces) == 1 and lifetimes == [2400, 2400, 0]


@in_loop
async def test_falls_back_to_natpmp() -> None:
    def reply(request: bytes) -> list[bytes]:
        if request[0] == 2:
            return [bytes.fromhex("0081000100000001")]
        if request[1] == 0:
            return [bytes.fromhex("008000000000000105050501")]
        return [struct.pack(">BBHI", 0, 0x82, 0, 1) + request[4:8] + request[8:12]]

    async with Gateway(reply) as gateway:
        mapper = PortMapper(gateway4=gateway.address)
        (mapping,) = await mapper.open(18444)
        assert (str(mapping.external), mapping.lifetime) == ("5.5.5.1:18444", 2400)
        await mapper.close()
    assert gateway.requests[-1] == pcp.natpmp_map_request(18444, 0)


@in_loop
async def test_a_silent_gateway_is_asked_three_times() -> None:
    async with Gateway(lambda request: []) as gateway:
        with pytest.raises(NatError, match="does not answer"):
            await PortMapper(gateway4=gateway.address, timeout=0.05).open(18444)
        assert len(gateway.requests) == TRIES


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x02", b"\x02\x81" + bytes(40), bytes(65_000), b"\x02\x81\x00\x00" + bytes(56)],
    ids=["empty", "short", "truncated", "oversized", "wrong-nonce"],
)
@in_loop
async def test_endless_wrong_answers_end(garbage: bytes) -> None:
    """Each try reads a bounded number of datagrams, and the right answer behind them still counts."""
    async with Gateway(lambda request: [garbage] * 4) as gateway:
        with pytest.raises(NatError):
            await PortMapper(gateway4=gateway.address, timeout=0.05).open(18444)
    async with Gateway(lambda request: [garbage, pcp_answer(request)]) as gateway:
        (mapping,) = await PortMapper(gateway4=gateway.address).open(18444)
        assert str(mapping.external) == "5.5.5.1:18444"


@in_loop
async def test_a_flood_is_given_up() -> None:
    async def flood(target: tuple[str, int]) -> None:
        while True:
            gateway.transport.sendto(b"noise", target)
            await asyncio.sleep(0)

    async with Gateway(lambda request: []) as gateway:
        client = await UdpClient.connect(gateway.address, seconds=30)
        task = asyncio.create_task(flood(client._transport.get_extra_info("sockname")))
        seen = 0

        def read(data: bytes) -> bytes | None:
            nonlocal seen
            seen += 1
            return None

        with pytest.raises(NatError, match="something else"):
            await client.ask(b"?", read)
        task.cancel()
        client.close()
        assert seen == MAX_STRANGE + 1


@in_loop
async def test_answers_from_elsewhere_are_not_read() -> None:
    """The right content from the wrong port: the kernel drops it, as the socket is connected."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client_ports: list[tuple[str, int]] = []
    async with Gateway(lambda request: []) as gateway:
        client = await UdpClient.connect(gateway.address, seconds=0.05)
        client_ports.append(client._transport.get_extra_info("sockname"))
        request = pcp.pcp_map_request(NONCE, "127.0.0.1", 8333, 2400)
        stranger.sendto(pcp_answer(request), client_ports[0])
        with pytest.raises(NatError, match="does not answer"):
            await client.ask(request, lambda data: pcp.read_pcp_map(data, NONCE, 8333))
        client.close()
    stranger.close()
