"""I2P's SAM bridge: sessions, connections and accepted peers, with a server that plays the bridge."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from btcnode.net.proxy import sam
from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.i2p import MAX_UNUSED_SESSIONS, I2pListener, I2pRouter
from btcnode.net.proxy.sam import SamError, SamSession, address_of, decode_base64, destination_of, encode_base64
from btcnode.settings.addresses import ProxyAddress
from btcnode.wire.netaddr import NetAddress

T = TypeVar("T")
PEER = bytes(range(256)) + bytes(131)  # a destination without certificate: 387 bytes
KEY = bytes(384) + b"\x05\x00\x04" + b"cert" + b"private" * 40
PEER_ADDRESS = address_of(PEER)


class Bridge:
    """Plays the router. ``answers`` by the beginning of a request override the usual ones."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.heard: list[str] = []
        self.incoming = b""  # what an accepted stream delivers
        self.controls: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode().rstrip():
            self.heard.append(line)
            writer.write(f"{self.answer(line)}\n".encode())
            if line.startswith("SESSION CREATE"):
                self.controls.append(writer)
            elif line.startswith("STREAM CONNECT"):
                writer.write(b"hello from the peer")
            elif line.startswith("STREAM ACCEPT"):
                writer.write(self.incoming)
        writer.close()

    def answer(self, line: str) -> str:
        for start, answer in self.answers.items():
            if line.startswith(start):
                return answer
        key = encode_base64(KEY)
        if line.startswith("HELLO"):
            return "HELLO REPLY RESULT=OK VERSION=3.1"
        if line.startswith("DEST GENERATE"):
            return f"DEST REPLY PUB=x PRIV={key}"
        if line.startswith("SESSION CREATE"):
            return f"SESSION STATUS RESULT=OK DESTINATION={key}"
        if line.startswith("NAMING LOOKUP"):
            return f"NAMING REPLY RESULT=OK NAME=x VALUE={encode_base64(PEER)}"
        return "STREAM STATUS RESULT=OK"

    def run(self, use: Callable[[ProxyAddress], Awaitable[T]]) -> T:
        """Serve while ``use`` runs."""

        async def both() -> T:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            try:
                async with asyncio.timeout(20):
                    return await use(ProxyAddress("127.0.0.1", server.sockets[0].getsockname()[1]))
            finally:
                server.close()

        return asyncio.run(both())

    def requests(self, start: str) -> list[str]:
        return [line for line in self.heard if line.startswith(start)]


async def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(sock, size - len(data))
    return data


def test_keys_and_addresses() -> None:
    assert encode_base64(b"\xfb\xff\xfe") == "-~~-"
    assert decode_base64("-~~-") == b"\xfb\xff\xfe"
    assert destination_of(KEY) == KEY[:391]
    assert address_of(PEER).host.endswith(".b32.i2p")
    assert address_of(PEER).port == 0
    with pytest.raises(SamError, match="Cannot decode"):
        decode_base64("+/+/")
    with pytest.raises(SamError, match="too short"):
        destination_of(KEY[:300])
    with pytest.raises(SamError, match="its certificate wants 65922"):
        destination_of(bytes(384) + b"\x05\xff\xff" + bytes(100))


def test_a_lasting_address(tmp_path: Path) -> None:
    bridge, key_file = Bridge(), tmp_path / "i2p_private_key"

    async def connect(place: ProxyAddress) -> bytes:
        session = SamSession(place, key_file)
        first, second = await session.connect(PEER_ADDRESS), await session.connect(PEER_ADDRESS)
        data = await received(first, 19)
        for sock in (first, second):
            sock.close()
        assert session.address == address_of(KEY[:391])
        session.close()
        return data

    assert bridge.run(connect) == b"hello from the peer"
    assert key_file.read_bytes() == KEY
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert len(bridge.requests("SESSION CREATE")) == 1  # one session for all connections
    assert f"DESTINATION={encode_base64(KEY)} i2cp.leaseSetEncType=4,0" in bridge.requests("SESSION CREATE")[0]
    assert bridge.requests("NAMING LOOKUP")[0] == f"NAMING LOOKUP NAME={PEER_ADDRESS.host}"
    assert bridge.requests("STREAM CONNECT")[0].endswith(f" DESTINATION={encode_base64(PEER)} SILENT=false")

    again = Bridge()
    again.run(connect)
    assert again.requests("DEST GENERATE") == []  # the key is the stored one


def test_addresses_for_one_connection_each() -> None:
    bridge = Bridge()

    async def connect(place: ProxyAddress) -> None:
        router = I2pRouter(place, None)
        for _ in range(2):
            sock, local, session = await router.connect(PEER_ADDRESS, private=False)
            assert local == address_of(KEY[:391])
            assert session is not None
            sock.close()
            session.close()

    bridge.run(connect)
    created = bridge.requests("SESSION CREATE")
    assert len(created) == 2
    assert all(" DESTINATION=TRANSIENT SIGNATURE_TYPE=7 " in line for line in created)
    assert created[0] != created[1]


def test_private_broadcast_does_not_show_the_lasting_address(tmp_path: Path) -> None:
    bridge = Bridge()

    async def connect(place: ProxyAddress) -> None:
        router = I2pRouter(place, tmp_path / "key")
        sock, _, session = await router.connect(PEER_ADDRESS, private=True)
        assert session is not None
        sock.close()
        session.close()
        router.close()

    bridge.run(connect)
    assert [" DESTINATION=TRANSIENT " in line for line in bridge.requests("SESSION CREATE")] == [True]
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    ("request_", "answer", "text", "proxy_failed"),
    [
        ("HELLO", "HELLO REPLY RESULT=NOVERSION", 'Unexpected reply to "HELLO', True),
        ("SESSION CREATE", "SESSION STATUS RESULT=DUPLICATED_DEST", 'Unexpected reply to "SESSION CREATE ..."', True),
        ("SESSION CREATE", "SESSION STATUS RESULT=OK", "Missing DESTINATION=", True),
        ("NAMING LOOKUP", "NAMING REPLY RESULT=KEY_NOT_FOUND", "Unexpected reply", True),
        ("NAMING LOOKUP", "NAMING REPLY RESULT=OK", "Missing VALUE=", True),
        ("STREAM CONNECT", "STREAM STATUS RESULT=CANT_REACH_PEER", "CANT_REACH_PEER", False),
        ("STREAM CONNECT", "STREAM STATUS RESULT=I2P_ERROR", "I2P_ERROR", True),
        ("STREAM CONNECT", "no pairs at all", "Missing RESULT=", True),
    ],
)
def test_refusals(request_: str, answer: str, text: str, proxy_failed: bool) -> None:
    bridge = Bridge()
    bridge.answers[request_] = answer

    async def connect(place: ProxyAddress) -> None:
        router = I2pRouter(place, None)
        for _ in range(MAX_UNUSED_SESSIONS + 2):
            with pytest.raises(DialError) as refused:
                await router.connect(PEER_ADDRESS, private=False)
            assert text in str(refused.value)
            assert refused.value.proxy_failed == proxy_failed
        router.close()

    bridge.run(connect)
    if request_ in ("NAMING LOOKUP", "STREAM CONNECT"):
        assert len(bridge.requests("SESSION CREATE")) == 1  # the session of a failed connection serves the next


def test_an_endless_line_and_no_line() -> None:
    bridge = Bridge()
    bridge.answers["HELLO"] = "x" * (sam.MAX_LINE + 10)

    async def connect(place: ProxyAddress) -> None:
        with pytest.raises(SamError, match="endless line"):
            await SamSession(place).connect(PEER_ADDRESS)

    bridge.run(connect)


def test_ports_are_unknown_to_i2p() -> None:
    with pytest.raises(DialError, match="connection refused due to arbitrary port"):
        asyncio.run(
            I2pRouter(ProxyAddress("127.0.0.1", 1), None).connect(
                NetAddress.from_host(PEER_ADDRESS.host, 1), private=False
            )
        )


def test_accepting(tmp_path: Path) -> None:
    bridge = Bridge()
    bridge.incoming = encode_base64(PEER).encode() + b"\nfirst bytes"
    events: list[tuple[str, NetAddress]] = []
    data: list[bytes] = []

    async def accept(place: ProxyAddress) -> None:
        session = SamSession(place, tmp_path / "key")
        arrived: asyncio.Queue[socket.socket] = asyncio.Queue()

        def accepted(sock: socket.socket, own: NetAddress, peer: NetAddress) -> None:
            events.append(("peer", peer))
            assert own == session.address
            arrived.put_nowait(sock)

        listener = I2pListener(
            session,
            accepted,
            lambda address: events.append(("up", address)),
            lambda address: events.append(("down", address)),
        )
        listener.start()
        for _ in range(2):
            sock = await arrived.get()
            data.append(await received(sock, 11))
            sock.close()
        await listener.close()
        session.close()

    bridge.run(accept)
    assert data == [b"first bytes"] * 2
    assert events[:3] == [("up", address_of(KEY[:391])), ("peer", PEER_ADDRESS), ("peer", PEER_ADDRESS)]


def test_a_dead_session_is_made_anew(tmp_path: Path) -> None:
    bridge = Bridge()

    async def connect(place: ProxyAddress) -> None:
        session = SamSession(place, tmp_path / "key")
        for _ in range(2):
            (await session.connect(PEER_ADDRESS)).close()
            bridge.controls[-1].close()
            await bridge.controls[-1].wait_closed()
            await asyncio.sleep(0.05)
        bridge.answers["STREAM ACCEPT"] = "STREAM STATUS RESULT=INVALID_ID"
        with pytest.raises(SamError, match="INVALID_ID"):
            await session.listen()
        del bridge.answers["STREAM ACCEPT"]
        bridge.incoming = b"STREAM STATUS RESULT=I2P_ERROR MESSAGE=closed\n"
        sock = await session.listen()
        with pytest.raises(SamError, match="session is unusable"):
            await session.accept(sock)
        sock.close()
        (await session.connect(PEER_ADDRESS)).close()
        session.close()

    bridge.run(connect)
    assert len(bridge.requests("SESSION CREATE")) == 5


def test_a_long_line_is_taken_in_pieces_and_nothing_behind_it() -> None:
    async def read() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            line = b"y" * sam.MAX_LINE
            sent = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(theirs, line + b"\nthe peer's\n"))
            turns = 0
            reading = asyncio.ensure_future(sam.read_line(ours))
            while not reading.done():
                turns += 1
                await asyncio.sleep(0)
            assert await reading == line.decode()
            assert turns >= sam.MAX_LINE // sam.GLANCE  # others had theirs
            await sent
            assert ours.recv(100) == b"the peer's\n"

    asyncio.run(read())
