"""UPnP and STUN through the helper process, against hostile servers on loopback."""

from __future__ import annotations

import asyncio
import http.server
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from btcnode.net.nat import gateway
from btcnode.net.nat.errors import Mapping, NatError
from btcnode.net.nat.helper import MAX_OUTPUT, run_bounded
from btcnode.net.nat.helper_tasks import is_binding_response
from btcnode.net.nat.helper_ways import StunWay, UpnpWay
from btcnode.net.nat.traversal import NatTraversal
from btcnode.node.nat_setup import nat_ways
from btcnode.wire.netaddr import NetAddress
from tests.lib.settings import settings_of


def stun_answer(request: bytes, attributes: bytes = b"\x00\x01\x00\x08\x00\x01\x20\x8d\x05\x05\x05\x01") -> bytes:
    return b"\x01\x01" + len(attributes).to_bytes(2, "big") + request[4:20] + attributes


@contextmanager
def stun_server(reply: Callable[[bytes], list[bytes]]) -> Iterator[str]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    stopping = threading.Event()

    def serve() -> None:
        sock.settimeout(0.05)
        while not stopping.is_set():
            try:
                data, peer = sock.recvfrom(2048)
                for answer in reply(data):
                    sock.sendto(answer, peer)
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        stopping.set()
        thread.join()
        sock.close()


def ask_stun(reply: Callable[[bytes], list[bytes]], seconds: float = 20.0) -> str:
    with stun_server(reply) as address:
        (mapping,) = asyncio.run(StunWay((address,), seconds).open(18444))
    return str(mapping.external)


def test_stun_tells_the_address_that_the_server_sees() -> None:
    assert ask_stun(lambda request: [stun_answer(request)]) == "5.5.5.1:18444"


@pytest.mark.parametrize(
    "garbage",
    [
        lambda request: b"",
        lambda request: bytes(65_000),
        lambda request: stun_answer(request)[:-4],
        lambda request: stun_answer(request, b"\x00\x01\xff\xff\x00\x01"),
        lambda request: stun_answer(bytes(20)),
        lambda request: b"\x7f\x7f" + stun_answer(request)[2:],
    ],
    ids=["empty", "oversized", "truncated", "lying-length", "wrong-transaction", "unknown-type"],
)
def test_stun_takes_the_right_answer_behind_wrong_ones(garbage: Callable[[bytes], bytes]) -> None:
    assert ask_stun(lambda request: [garbage(request), stun_answer(request)]) == "5.5.5.1:18444"


def test_endless_wrong_stun_answers_end() -> None:
    """Each wrong answer makes pystun3 ask again at once: what bounds that is the process's time."""
    with pytest.raises(NatError, match=r"no result within|no server"):
        ask_stun(lambda request: [stun_answer(bytes(20))] * 4, seconds=3.0)


def test_binding_responses() -> None:
    request = bytes(range(20))
    assert is_binding_response(stun_answer(request))
    assert is_binding_response(stun_answer(request, b""))
    assert not is_binding_response(stun_answer(request, b"\x00\x01\x00\x08\x00\x02\x20\x8d\x05\x05\x05\x01"))  # IPv6
    assert not is_binding_response(stun_answer(request, b"\x00\x01\x00\x04\x00\x01\x20\x8d"))


@pytest.mark.parametrize(
    "body",
    [b"<" * 100_000, b"<root><device><serviceType>" + b"A" * 3000 + b"</serviceType></device></root>", b""],
    ids=["oversized", "long-tag", "empty"],
)
def test_cve_2015_6031_hostile_upnp_descriptions_are_an_error(body: bytes) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        with pytest.raises(NatError):
            asyncio.run(UpnpWay(f"http://127.0.0.1:{server.server_port}/root.xml", 10.0).open(18444))
    finally:
        server.shutdown()
        server.server_close()


def test_cve_2024_52917_a_upnp_router_that_never_ends_is_cut_off() -> None:
    """A server that accepts and then stays silent keeps the library waiting; the process's time is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(NatError):
            asyncio.run(UpnpWay(url, 1.0).open(18444))


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import time; time.sleep(60)", "no result within"),
        (f"print('x' * {MAX_OUTPUT * 20})", "too long"),
        ("import os; os.abort()", "failed with status -6"),
        ("print('[]')", "nonsense"),
        ('print(\'{"error": "no"}\')', "^no$"),
    ],
)
def test_cve_2015_20111_a_helper_process_is_bounded(code: str, problem: str) -> None:
    with pytest.raises(NatError, match=problem):
        asyncio.run(run_bounded([sys.executable, "-c", code], 1.0))


class FakeWay:
    def __init__(self, name: str, answer: list[Mapping] | None) -> None:
        self.name = name
        self.answer = answer
        self.calls: list[str] = []

    async def open(self, port: int) -> list[Mapping]:
        self.calls.append("open")
        if self.answer is None:
            raise NatError("not here")
        return self.answer

    async def close(self) -> None:
        self.calls.append("close")
        raise NatError("too late")


def test_ways_are_tried_in_order_until_one_gives_a_public_address() -> None:
    async def run() -> None:
        private = [Mapping(NetAddress.from_host("192.168.0.1", 1), 2400)]
        short = [Mapping(NetAddress.from_host("5.5.5.2", 1), 3)]
        good = [Mapping(NetAddress.from_host("5.5.5.1", 1), 2400)]
        ways = [FakeWay(str(number), answer) for number, answer in enumerate([None, private, short, good, good])]
        found: list[tuple[str, str]] = []
        traversal = NatTraversal(ways, 1, lambda address, way: found.append((str(address), way)))
        assert await traversal.renew() == 2400
        await traversal.close()
        assert found == [("5.5.5.1:1", "3")]
        assert [way.calls for way in ways] == [["open", "close"]] * 4 + [[]]
        assert await NatTraversal(ways[:1], 1, lambda address, way: None).renew() is None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["UPnP", "PCP/NAT-PMP", "STUN"]),
        ({"network": "regtest"}, []),
        ({"network": "regtest", "natpmp": True}, ["PCP/NAT-PMP"]),
        ({"listen": False, "upnp": True}, []),
        ({"bind": ("127.0.0.1",)}, []),
        ({"upnp": False, "stun": False}, ["PCP/NAT-PMP"]),
    ],
)
def test_which_ways_the_options_allow(options: dict[str, Any], names: list[str]) -> None:
    assert [way.name for way in nat_ways(settings_of(**options))] == names


def test_default_gateways_are_read_from_the_routing_tables(tmp_path: Path) -> None:
    assert gateway.default_gateway4(tmp_path) is None
    assert gateway.default_gateway6(tmp_path) is None
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    (tmp_path / "route").write_text(
        head
        + "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        + "eth1\t00000000\t0101A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n"
        + "eth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    )
    assert gateway.default_gateway4(tmp_path) == "10.0.2.1"
    (tmp_path / "if_inet6").write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "2a000000000000000000000000000005 02 40 00 00     eth0\n"
        "fe800000000000000000000000000005 02 40 20 80     eth0\n"
    )
    assert gateway.public_addresses6(tmp_path) == ["2a00::5"]
    zeros = "0" * 32
    route = f"{zeros} 00 {zeros} 00 fe80{'0' * 27}1 00000400 00000001 00000000 00000003       lo\n"
    (tmp_path / "ipv6_route").write_text(route)
    found = gateway.default_gateway6(tmp_path)
    assert found is not None and found[0] == "fe80::1"
