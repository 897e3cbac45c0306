"""The encrypted transport (BIP324) between real processes: on by default, with fallback, under attack."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from btcnode.wire.constants import MSG_WITNESS_BLOCK, NODE_P2P_V2
from btcnode.wire.framing import encode_frame
from btcnode.wire.messages import BlockMessage, GetData, InvItem, Ping, Pong, Version
from btcnode.wire.v2_cipher import TERMINATOR_SIZE
from btcnode.wire.v2_transport import MAX_GARBAGE, V2Transport
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer, decoy
from tests.lib.process import NodeProcess, RpcFailure, wait_until

PARAMS = params_for("regtest")
KEY_SIZE = 64
HANDSHAKE_TIMEOUT = 3  # seconds


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), "regtest", "--debug", "net") as process:
        process.start()
        yield process
        assert process.stop() == 0
        assert "Traceback" not in process.output()


@pytest.fixture
def datadirs(tmp_path: Path) -> Iterator[Path]:
    def make() -> Iterator[Path]:
        for i in range(10):
            (tmp_path / f"node{i}").mkdir()
            yield tmp_path / f"node{i}"

    return make()


def raw_connection(node: NodeProcess, timeout: float = 20.0) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", node.port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the node closes; raises TimeoutError when it does not."""
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def still_talks(node: NodeProcess) -> bool:
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=True)
    peer.handshake()
    peer.send(Ping(5))
    answer = peer.expect(Pong)
    peer.close()
    return isinstance(answer, Pong) and answer.nonce == 5


def only_peer(node: NodeProcess) -> dict[str, Any]:
    infos = node.rpc("getpeerinfo")
    assert len(infos) == 1
    return dict(infos[0])


def established(node: NodeProcess, transport: str) -> bool:
    infos = node.rpc("getpeerinfo")
    return len(infos) == 1 and infos[0]["version"] != 0 and infos[0]["transport_protocol_type"] == transport


# -- between two nodes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server_options", "client_options", "transport"),
    [
        ((), (), "v2"),
        (("--no-v2transport",), (), "v1"),
        ((), ("--no-v2transport",), "v1"),
        (("--no-v2transport",), ("--no-v2transport",), "v1"),
    ],
    ids=["both", "server-v1", "client-v1", "neither"],
)
def test_bip324_two_nodes(
    datadirs: Iterator[Path], server_options: tuple[str, ...], client_options: tuple[str, ...], transport: str
) -> None:
    with (
        NodeProcess(next(datadirs), "regtest", *server_options) as server,
        NodeProcess(next(datadirs), "regtest", *client_options, listen=False) as client,
    ):
        server.start()
        server.rpc("generatetodescriptor", 20, "raw(51)")
        client.start("--connect", server.address)
        client.wait_height(20)
        wait_until(lambda: established(client, transport) and established(server, transport))
        ours, theirs = only_peer(client), only_peer(server)
        assert ours["session_id"] == theirs["session_id"]
        assert len(ours["session_id"]) == (64 if transport == "v2" else 0)
        for process, options in ((server, server_options), (client, client_options)):
            offered = int(process.rpc("getnetworkinfo")["localservices"], 16) & NODE_P2P_V2
            assert bool(offered) is not bool(options)
            assert ("P2P_V2" in process.rpc("getnetworkinfo")["localservicesnames"]) is not bool(options)
        assert client.stop() == server.stop() == 0
        assert "Traceback" not in client.output() + server.output()


def test_bip324_addnode_chooses_the_transport(node: NodeProcess, datadirs: Iterator[Path]) -> None:
    with NodeProcess(next(datadirs), "regtest", "--connect", "0", listen=False) as client:
        client.start()
        for v2, transport in ((False, "v1"), (True, "v2"), (None, "v2")):
            client.rpc("addnode", node.address, "onetry", *([] if v2 is None else [v2]))
            wait_until(lambda expected=transport: established(client, expected))  # type: ignore[misc]
            client.rpc("disconnectnode", node.address)
            wait_until(lambda: not client.rpc("getpeerinfo"))
        client.rpc("addnode", node.address, "add", False)
        wait_until(lambda: established(client, "v1"))
        assert client.rpc("getaddednodeinfo")[0]["connected"] is True
    with NodeProcess(next(datadirs), "regtest", "--connect", "0", "--no-v2transport", listen=False) as client:
        client.start()
        with pytest.raises(RpcFailure, match="v2transport requested but not enabled"):
            client.rpc("addnode", node.address, "onetry", True)


# -- with scripted peers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v2", [True, False])
def test_bip324_sync_from_a_peer(datadirs: Iterator[Path], v2: bool) -> None:
    """A server that speaks version 1 only closes at the key, and is connected to again in version 1, at once."""
    generator = ChainGenerator(PARAMS, 3)
    blocks = [*generator.spread(300), *(generator.busy(40) for _ in range(5))]
    with (
        ChainServer.of_blocks(PARAMS, blocks) as server,
        NodeProcess(next(datadirs), "regtest", "--debug", "net", listen=False) as client,
    ):
        server.v2 = v2
        client.start("--connect", server.address)
        client.wait_height(len(blocks))
        assert only_peer(client)["transport_protocol_type"] == ("v2" if v2 else "v1")
        assert ("retrying with v1" in client.output()) is not v2


def test_bip324_fallback_when_the_peer_closes_or_is_silent(datadirs: Iterator[Path]) -> None:
    """What follows a key that is answered with nothing is a connection in version 1: after a close, or a time-out."""
    firsts: list[bytes] = []
    for close_at_once in (True, False):
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        options = ("--connect", address, "--peertimeout", str(HANDSHAKE_TIMEOUT))
        with NodeProcess(next(datadirs), "regtest", *options, listen=False) as client:
            client.start()
            first, _ = listener.accept()
            first.settimeout(20)
            assert not first.recv(16).startswith(PARAMS.magic)
            assert only_peer(client)["transport_protocol_type"] == "detecting"
            if close_at_once:
                first.close()
            listener.settimeout(20)
            second, _ = listener.accept()
            second.settimeout(20)
            firsts.append(second.recv(16))
            first.close()
            second.close()
        listener.close()
    assert firsts == [PARAMS.magic + b"version".ljust(12, b"\0")] * 2


def test_bip324_no_fallback_after_the_peer_has_answered(datadirs: Iterator[Path]) -> None:
    """One byte back is enough to know that the node is not one that speaks version 1 only."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    with NodeProcess(
        next(datadirs), "regtest", "--connect", f"127.0.0.1:{listener.getsockname()[1]}", listen=False
    ) as client:
        client.start()
        for _ in range(2):
            sock, _ = listener.accept()
            sock.settimeout(20)
            assert not sock.recv(16).startswith(PARAMS.magic)
            sock.sendall(b"\x01")
            time.sleep(0.2)
            sock.close()
    listener.close()


def test_bip324_eager_version_1_server(datadirs: Iterator[Path]) -> None:
    """A peer that sends its version message before it reads anything."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        first, _ = listener.accept()
        first.sendall(
            encode_frame(PARAMS.magic, "version", Version(services=9, time=int(time.time()), nonce=1).encode())
        )
        second, _ = listener.accept()
        seen.append(second.recv(4))
        second.close()
        first.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with NodeProcess(
        next(datadirs), "regtest", "--connect", f"127.0.0.1:{listener.getsockname()[1]}", listen=False
    ) as client:
        client.start()
        thread.join(20)
    listener.close()
    assert seen == [PARAMS.magic]


@pytest.mark.parametrize("v2", [True, False])
def test_bip324_peers_that_connect(node: NodeProcess, v2: bool) -> None:
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=v2)
    if not v2:
        wait_until(lambda: only_peer(node)["transport_protocol_type"] == "detecting")
    peer.handshake()
    wait_until(lambda: established(node, "v2" if v2 else "v1"))
    assert only_peer(node)["session_id"] == peer.wire.session_id.hex()
    peer.send(GetData((InvItem(MSG_WITNESS_BLOCK, PARAMS.genesis_hash),)))
    block = peer.expect(BlockMessage)
    assert block.encode() == PARAMS.genesis_block
    peer.close()
    wait_until(lambda: not node.rpc("getpeerinfo"))


def test_bip324_bytes_are_counted(node: NodeProcess) -> None:
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=True)
    peer.handshake()
    peer.send(Ping(1))
    peer.expect(Pong)
    info = only_peer(node)
    assert info["bytesrecv_per_msg"]["ping"] == 20 + 1 + 8
    assert info["bytesrecv_per_msg"]["verack"] == 20 + 13
    assert info["bytessent_per_msg"]["pong"] == 20 + 1 + 8
    assert info["bytesrecv"] >= KEY_SIZE + TERMINATOR_SIZE + 20 + 29 + 33
    peer.close()
    wait_until(lambda: not node.rpc("getpeerinfo"))


# -- attacks ---------------------------------------------------------------------------------------------------------


def test_bip324_attack_garbage_without_end(node: NodeProcess) -> None:
    """4,096 bytes of garbage and no terminator: closed at byte 4,111, not at a time-out."""
    sock = raw_connection(node)
    sock.sendall(os.urandom(KEY_SIZE))
    assert len(sock.recv(65536)) >= KEY_SIZE
    sock.sendall(bytes(MAX_GARBAGE + TERMINATOR_SIZE - 1))
    time.sleep(0.3)
    assert only_peer(node)["transport_protocol_type"] == "detecting"
    sock.sendall(b"\0")
    read_to_end(sock)
    assert still_talks(node)


def test_bip324_attack_bad_tag(node: NodeProcess) -> None:
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=True)
    peer.handshake()
    packet = bytearray(peer.wire.encode("ping", bytes(8)))
    packet[-1] ^= 0x80
    peer.sock.sendall(packet)
    assert peer.is_closed()
    assert "packet decryption failure" in node.output()
    assert still_talks(node)


def test_bip324_attack_one_byte_a_second(datadirs: Iterator[Path]) -> None:
    """Bytes that keep coming do not keep a handshake alive, be they of a key, of garbage or of version 1."""
    with NodeProcess(next(datadirs), "regtest", "--peertimeout", str(HANDSHAKE_TIMEOUT), "--debug", "net") as node:
        node.start()
        send_slowly(node)
        assert "V2 handshake timeout" in node.output()
        assert still_talks(node)


def send_slowly(node: NodeProcess) -> None:
    """Handshakes of one byte a second each, until the node has ended them all."""
    key = os.urandom(KEY_SIZE)
    streams = [key, key + bytes(100), encode_frame(PARAMS.magic, "version", bytes(86))]
    socks = [raw_connection(node) for _ in streams]
    socks[1].sendall(key)
    began = time.monotonic()
    closed: set[int] = set()
    for i in range(3 * HANDSHAKE_TIMEOUT):
        for number, (sock, stream) in enumerate(zip(socks, streams, strict=True)):
            try:
                sock.sendall(stream[KEY_SIZE * (number == 1) + i :][:1])
            except OSError:
                closed.add(number)
        if len(closed) == len(socks):
            break
        time.sleep(1)
    for sock in socks:
        read_to_end(sock)
    assert time.monotonic() - began >= HANDSHAKE_TIMEOUT - 1
    wait_until(lambda: not node.rpc("getpeerinfo"))


def test_bip324_attack_decoys(node: NodeProcess) -> None:
    """Decoys of every size between messages are dropped; a flood of them does not starve others."""
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=True)
    peer.handshake()
    wire = peer.wire
    assert isinstance(wire, V2Transport)
    for size in (0, 1, 13, 100_000, 4_000_000):
        peer.sock.sendall(decoy(wire, bytes(size)))
    flood = b"".join(decoy(wire) for _ in range(50_000))
    thread = threading.Thread(target=peer.sock.sendall, args=(flood,))
    thread.start()
    assert still_talks(node)
    thread.join()
    peer.send(Ping(8))
    answer = peer.expect(Pong)
    assert isinstance(answer, Pong)
    assert answer.nonce == 8
    peer.close()


def test_bip324_attack_huge_packet(node: NodeProcess) -> None:
    """A length beyond any message ends the connection before its bytes come."""
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=True)
    peer.handshake()
    wire = peer.wire
    assert isinstance(wire, V2Transport)
    peer.sock.sendall(decoy(wire, bytes(4_000_014))[:3])
    assert peer.is_closed()


@pytest.mark.parametrize("magic", ["mainnet", "signet"])
def test_bip324_version_1_peer_of_another_network(node: NodeProcess, magic: str) -> None:
    sock = raw_connection(node)
    sock.sendall(encode_frame(params_for(magic).magic, "version", bytes(86))[:20])
    read_to_end(sock)
    wait_until(lambda: f"V1 peer with wrong MessageStart {params_for(magic).magic.hex()}" in node.output())


def test_bip324_noise_of_any_size_does_no_harm(node: NodeProcess) -> None:
    """Closed by the peer at any point of the handshake."""
    for size in (0, 1, 4, 16, 63, 64, 65, 80, 4174):
        sock = raw_connection(node)
        sock.sendall(os.urandom(size))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", size % 2, 0))
        sock.close()
    wait_until(lambda: not node.rpc("getpeerinfo"))
    assert still_talks(node)
