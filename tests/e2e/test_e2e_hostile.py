"""Malformed bytes and broken rules over real TCP: the peer is dealt with as Core does, the node goes on."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.testing.blocks import BlockTemplate, grind
from btcnode.wire.framing import encode_frame
from btcnode.wire.messages import Headers, Ping, Pong
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess, wait_until

PARAMS = params_for("regtest")
MAINNET_MAGIC = params_for("mainnet").magic


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("node"), "regtest") as process:
        process.start("--debug", "net")
        yield process
        assert process.stop() == 0
        assert "Traceback" not in process.output()


@pytest.fixture(scope="module")
def plain_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Without the encrypted transport, for which any bytes are a good beginning."""
    with NodeProcess(tmp_path_factory.mktemp("plain"), "regtest", "--no-v2transport") as process:
        process.start()
        yield process
        assert process.stop() == 0
        assert "Traceback" not in process.output()


def connect(node: NodeProcess, *, handshake: bool = True, timeout: float = 10.0) -> ScriptedPeer:
    peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, timeout)
    if handshake:
        peer.handshake()
    return peer


def still_talks(peer: ScriptedPeer, nonce: int = 7) -> bool:
    peer.send(Ping(nonce))
    while True:
        pong = peer.expect(Pong)
        assert isinstance(pong, Pong)
        if pong.nonce == nonce:
            return True


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(MAINNET_MAGIC, "version", b"x" * 90),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        os.urandom(64),
        PARAMS.magic + b"block".ljust(12, b"\0") + struct.pack("<I", 5_000_000) + bytes(4),
        PARAMS.magic + b"verack".ljust(12, b"\0") + struct.pack("<I", 0xFFFFFFFF) + bytes(4),
    ],
    ids=["other-network", "http", "noise", "oversized", "huge"],
)
def test_lost_framing_ends_the_connection(node: NodeProcess, plain_node: NodeProcess, data: bytes) -> None:
    for target, handshake in ((plain_node, False), (plain_node, True), (node, True)):
        peer = connect(target, handshake=handshake)
        peer.sock.sendall(data)
        assert peer.is_closed()
        assert still_talks(connect(target))


def test_wrong_checksum_costs_the_message_only(node: NodeProcess) -> None:
    peer = connect(node)
    frame = bytearray(encode_frame(PARAMS.magic, "ping", bytes(8)))
    frame[20] ^= 1
    peer.sock.sendall(frame)
    assert still_talks(peer)


def test_unknown_and_impossible_commands_are_ignored(node: NodeProcess) -> None:
    peer = connect(node)
    peer.send_raw("nonsense", b"some bytes")
    good = bytearray(encode_frame(PARAMS.magic, "ping", bytes(8)))
    good[6] = 0xFF
    peer.sock.sendall(good)
    assert still_talks(peer)


@pytest.mark.parametrize("command", ["inv", "getdata", "headers", "addr", "getheaders", "tx", "block", "cmpctblock"])
def test_truncated_payloads_do_not_harm(node: NodeProcess, command: str) -> None:
    peer = connect(node)
    peer.send_raw(command, b"\xfe\xff")
    peer.send(Ping(1))
    assert still_talks(connect(node))


def test_message_before_version_is_ignored(node: NodeProcess, plain_node: NodeProcess) -> None:
    for peer in (connect(plain_node, handshake=False), ScriptedPeer.connect("127.0.0.1", node.port, PARAMS, v2=True)):
        peer.send(Ping(1))
        peer.handshake()
        assert still_talks(peer)


def test_one_byte_at_a_time(node: NodeProcess) -> None:
    peer = connect(node)
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in encode_frame(PARAMS.magic, "ping", (99).to_bytes(8, "little")):
        peer.sock.sendall(bytes([byte]))
    pong = peer.expect(Pong)
    assert isinstance(pong, Pong)
    assert pong.nonce == 99


def test_too_many_headers_or_inventory(node: NodeProcess) -> None:
    too_many = {"headers": b"\xfd\xd1\x07" + bytes(81 * 2001), "inv": b"\xfd\x51\xc3" + bytes(36 * 50001)}
    for command, payload in too_many.items():
        peer = connect(node)
        with contextlib.suppress(OSError):  # the frame's size is enough for the node to hang up on us
            peer.send_raw(command, payload)
        assert peer.is_closed()


def test_headers_without_work_or_connection_between_them(node: NodeProcess) -> None:
    genesis = PARAMS.genesis_block[:HEADER_SIZE]
    peer = connect(node)
    bad = grind(genesis[:4] + header_hash(genesis) + genesis[36:], valid=False)
    peer.send(Headers((bad,)))
    assert peer.is_closed()
    peer = connect(node)
    one = grind(genesis[:4] + header_hash(genesis) + genesis[36:68] + struct.pack("<I", 1296688602 + 1) + genesis[72:])
    peer.send(Headers((one, one)))
    assert peer.is_closed()


def test_invalid_block_ends_the_connection_and_the_node_finds_the_good_chain(tmp_path: Path) -> None:
    """A peer whose chain breaks a rule is dropped; the chain of another peer is taken."""
    generator = ChainGenerator(PARAMS)
    generator.time = int(time.time()) - 45 * 600  # so recent that every peer is asked for headers
    good = [generator.block() for _ in range(40)]
    tip = good[-1]
    greedy = BlockTemplate(
        PARAMS,
        header_hash(tip[:HEADER_SIZE]),
        41,
        int.from_bytes(tip[68:72], "little") + 600,
        PARAMS.pow_limit_bits,
        coinbase_value=51 * 10**8,
    ).build()
    with (
        ChainServer.of_blocks(PARAMS, [*good, greedy]) as liar,
        ChainServer.of_blocks(PARAMS, good[:38]) as honest,
        NodeProcess(tmp_path, "regtest", listen=False) as node,
    ):
        node.start("--connect", liar.address, "--connect", honest.address)
        node.wait_height(40)
        wait_until(lambda: "bad-cb-amount" in node.output(), 30, "the rejection in the log")
        assert node.height() == 40
        wait_until(lambda: "invalid" in {tip["status"] for tip in node.rpc("getchaintips")}, 10, "the invalid tip")
        assert node.stop() == 0
        assert "Traceback" not in node.output()


def test_a_lying_peer_is_replaced(tmp_path: Path) -> None:
    """It answers getdata with blocks whose transactions were changed: they are asked for elsewhere."""
    blocks = list(ChainGenerator(PARAMS).spread(10))

    def spoil(_: bytes, raw: bytes) -> bytes:
        return raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:]

    headers = [PARAMS.genesis_block[:HEADER_SIZE], *(raw[:HEADER_SIZE] for raw in blocks)]
    by_hash = {header_hash(raw[:HEADER_SIZE]): raw for raw in blocks}
    with (
        ChainServer(PARAMS, headers, by_hash, on_block=spoil) as liar,
        ChainServer.of_blocks(PARAMS, blocks) as honest,
        NodeProcess(tmp_path, "regtest", listen=False) as node,
    ):
        node.start("--connect", liar.address, "--connect", honest.address)
        node.wait_height(len(blocks), 60)
        assert node.stop() == 0
        assert "Traceback" not in node.output()


def test_a_stalling_peer_does_not_stop_the_sync(tmp_path: Path) -> None:
    asked = threading.Event()

    def after_the_other(_: bytes, raw: bytes) -> bytes:
        asked.wait(20)  # or the honest one would have given everything before
        return raw

    blocks = list(ChainGenerator(PARAMS).spread(10))
    headers = [PARAMS.genesis_block[:HEADER_SIZE], *(raw[:HEADER_SIZE] for raw in blocks)]
    by_hash = {header_hash(raw[:HEADER_SIZE]): raw for raw in blocks}
    with (
        ChainServer(PARAMS, headers, by_hash, on_block=lambda *_: asked.set()) as stalling,
        ChainServer(PARAMS, headers, by_hash, on_block=after_the_other) as honest,
        NodeProcess(tmp_path, "regtest", listen=False) as node,
    ):
        node.start("--connect", stalling.address, "--connect", honest.address)
        node.wait_height(len(blocks), 90)
        assert stalling.requests, "it was asked, and did not answer"
