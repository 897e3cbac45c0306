"""Floods of HTTP clients against a real node: it answers, its memory and its descriptors stay bounded."""

from __future__ import annotations

import base64
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.testing.blocks import BlockTemplate, coinbase_tx
from tests.lib.process import NodeProcess, free_port, wait_until

PARAMS = params_for("regtest")
ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
MIB = 1 << 20


def resident(node: NodeProcess) -> int:
    """Bytes of memory that the node's process has."""
    assert node.process is not None
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{node.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def block_with(outputs: list[bytes]) -> tuple[str, bytes]:
    """``(hash, block)`` of height 1 with these outputs behind the coinbase's first."""
    start = int.from_bytes(PARAMS.genesis_block[68:72], "little")
    template = BlockTemplate(PARAMS, PARAMS.genesis_hash, 1, start + 600, PARAMS.pow_limit_bits)
    template.coinbase = coinbase_tx(1, 0, extra_outputs=outputs)
    raw = template.build()
    return to_display(header_hash(raw[:HEADER_SIZE])), raw


@contextmanager
def running(tmp_path: Path, *options: str) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path, "regtest", *options) as node:
        yield node.start()
        assert node.rpc("getblockcount") >= 0
        assert node.stop() == 0
        assert "Traceback" not in node.output()


def health(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as reply:
        return bytes(reply.read())


def scrape(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
        return bytes(reply.read())


def dial(port: int, *, small_window: bool = False) -> socket.socket:
    sock = socket.socket()
    if small_window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", port))
    return sock


def push(sock: socket.socket, data: bytes) -> None:
    """Send as much as goes without waiting."""
    sock.setblocking(False)
    try:
        while data:
            data = data[sock.send(data) :]
    except BlockingIOError:
        pass


def authorization(node: NodeProcess) -> bytes:
    return b"Basic " + base64.b64encode((node.net_dir / ".cookie").read_bytes())


def post(node: NodeProcess, body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        authorization(node), len(body), body,
    )  # fmt: skip


def test_answers_that_nobody_reads_are_made_once(tmp_path: Path) -> None:
    with running(tmp_path, "--rest") as node:
        name, raw = block_with([make_txout(0, bytes(9_000)) for _ in range(100)])
        assert node.rpc("submitblock", raw.hex()) is None
        before = resident(node)
        get = b"GET /rest/block/%s.hex HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode()
        with ExitStack() as stack:
            readers = [stack.enter_context(dial(node.rpc_port, small_window=True)) for _ in range(8)]
            for sock in readers:
                push(sock, get * 3000)
            users = [stack.enter_context(dial(node.rpc_port, small_window=True)) for _ in range(4)]
            call = json.dumps({"method": "getblock", "params": [name, 2]}).encode()
            for sock in users:
                push(sock, post(node, call) * 300)
            for _ in range(20):
                assert node.rpc("getblockcount") == 1
                assert b"ok" in health(node.rpc_port)
            assert node.rpc("getblock", name, 0) == raw.hex()
            assert resident(node) < before + 150 * MIB
            sock = readers[0]
            sock.setblocking(True)
            sock.settimeout(60)
            with sock.makefile("rb") as file:  # who reads after all gets all that he asked for, in order
                for _ in range(5):
                    length = 0
                    while (line := file.readline()) != b"\r\n":
                        if line.startswith(b"Content-Length: "):
                            length = int(line[16:])
                    assert file.read(length) == raw.hex().encode() + b"\n"


def test_a_batch_whose_answer_is_larger_than_all_room(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        name, raw = block_with([make_txout(0, bytes(9_000)) for _ in range(100)])
        assert node.rpc("submitblock", raw.hex()) is None
        before = resident(node)
        call = {"jsonrpc": "2.0", "id": 1, "method": "getblock", "params": [name, 0]}
        total, most = 0, 0
        with dial(node.rpc_port) as sock:
            sock.sendall(post(node, json.dumps([call] * 155).encode()))
            with sock.makefile("rb") as file:
                head = b"".join(iter(file.readline, b"\r\n"))
                assert b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head
                start = end = b""
                while size := int(file.readline(), 16):
                    piece = file.read(size + 2)[:-2]
                    start, end = start or piece[:100], (end + piece)[-10:]
                    total += size
                    most = max(most, resident(node))
                assert file.readline() == b"\r\n"
            sock.sendall(post(node, b'{"method":"getblockcount"}'))  # and the connection goes on
            assert b'"result":1' in sock.recv(10_000)
        assert total > 155 * 2 * len(raw) > 256 * MIB
        assert start.startswith(b'[{"jsonrpc":"2.0","result":"') and end.endswith(b"}]\n")
        assert most < before + 120 * MIB


def test_batches_of_verbose_blocks_that_nobody_reads(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        name, raw = block_with([make_txout(0, b"") for _ in range(20_000)])
        assert node.rpc("submitblock", raw.hex()) is None
        before = resident(node)
        call = {"id": 1, "method": "getblock", "params": [name, 2]}
        with ExitStack() as stack:
            for _ in range(6):
                sock = stack.enter_context(dial(node.rpc_port, small_window=True))
                push(sock, post(node, json.dumps([call] * 1000).encode()))
            for _ in range(30):
                assert node.rpc("getblockcount") == 1
                assert b"ok" in health(node.rpc_port)
            assert node.rpc("getblock", name, 2)["nTx"] == 1
            assert resident(node) < before + 350 * MIB


@pytest.mark.slow
def test_idle_clients_everywhere_and_few_descriptors(tmp_path: Path) -> None:
    metrics = free_port()
    node = NodeProcess(tmp_path, "regtest", "--rest", "--metrics-port", str(metrics), "--fastprune")
    node.prefix = ("prlimit", "--nofile=400:400")
    with node, ExitStack() as stack:
        node.start()
        user = stack.enter_context(dial(node.rpc_port))
        user.sendall(post(node, b'{"method":"getblockcount"}'))
        assert b'"result":0' in user.recv(10_000)
        for n in range(300):
            for port in (node.rpc_port, metrics, node.port):
                sock = stack.enter_context(dial(port))
                if n % 3 == 1 and port != node.port:
                    sock.sendall(b"GET /health HTTP/1.1\r\nX: ")  # slow in asking
                elif n % 3 == 2:
                    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # a TLS client's hello
        for height in range(5, 401, 5):
            node.rpc("generatetoaddress", 5, ADDRESS)
            assert node.rpc("getblockcount") == height
        assert len(list((node.net_dir / "blocks").glob("blk*.dat"))) > 1
        assert b"ok" in health(node.rpc_port)
        wait_until(lambda: b"node_height 400\n" in scrape(metrics), 20, "the figures")
        user.sendall(post(node, b'{"method":"getblockcount"}'))
        assert b'"result":400' in user.recv(10_000)  # the first of all connections, and a user's
        assert node.process is not None
        assert len(list(Path(f"/proc/{node.process.pid}/fd").iterdir())) < 400
        assert "Too many open files" not in node.output() and "Traceback" not in node.output()
        assert node.stop() == 0


def test_connections_that_come_and_go(tmp_path: Path) -> None:
    metrics = free_port()
    with running(tmp_path, "--metrics-port", str(metrics)) as node:
        assert node.process is not None
        descriptors = Path(f"/proc/{node.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        for n in range(600):
            for port in (node.rpc_port, metrics):
                with dial(port) as sock:
                    if n % 2:
                        sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n"[: n % 28])
        assert node.rpc("getblockcount") == 0
        wait_until(lambda: len(list(descriptors.iterdir())) <= before + 4, 20, "the end of the connections")
