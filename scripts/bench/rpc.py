#!/usr/bin/env python3
"""JSON-RPC of real node processes: requests per second, batches, latency while the node syncs.

    python scripts/bench/rpc.py [--seconds 2] [--clients 16] [--blocks 12] [--txs 800] [--only btcnode]

One chain of ``blocks`` blocks with ``txs`` signed transactions each is built, given to the node and asked for: the same
requests over one keep-alive connection (sequential) and over ``clients`` connections at a time, then batches of 1,000
getblockcount. For the latencies a fresh node syncs the chain from a serving process while getblockcount is called
every few milliseconds. Where ``BTCNODE_BITCOIND`` names a bitcoind all of it is done to that too, in the same run and
with the same client, and the ratios are printed. The client writes prepared bytes to plain sockets, so that it costs
the server's machine little.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import environment, free_port
from tests.lib.tx_stream import loose_tx

PARAMS = params_for("regtest")
BATCH = 1000
START_S = 60.0
PAUSE_S = 0.005  # between two calls while the node syncs
OPTIONS = (
    "-regtest", "-listen=0", "-dnsseed=0", "-printtoconsole=0", "-par=1", "-nodebuglogfile", "-rest=1", "-txindex=1",
)  # fmt: skip
POOL = 500  # transactions in the mempool


@dataclass
class Chain:
    """The blocks, and what is asked of the largest one."""

    blocks: list[bytes]
    pool: list[str]
    block_hash: str = ""
    txid: str = ""
    unspent: tuple[str, int] = ("", 0)

    def __post_init__(self) -> None:
        largest = max(self.blocks, key=len)
        block = parse_block(largest)
        self.block_hash = to_display(header_hash(largest[:HEADER_SIZE]))
        self.txid = to_display(block.txids[block.n_tx // 2])
        self.unspent = (to_display(parse_block(self.blocks[-1]).txids[0]), 0)

    @classmethod
    def make(cls, blocks: int, txs: int) -> Chain:
        """Coins spread, ``blocks`` blocks of ``txs`` transactions, small ones, and signed transactions to wait."""
        generator = ChainGenerator(PARAMS)
        made = list(generator.spread(int(txs * 3.2) + 1000))
        made += [generator.busy(txs) for _ in range(blocks)]
        made += [generator.block() for _ in range(20)]
        return cls(made, [loose_tx([generator.take()])[0].raw.hex() for _ in range(POOL)])


@dataclass
class Figures:
    """What one node reached: requests per second by name, and latencies in milliseconds by name."""

    rates: dict[str, float] = field(default_factory=dict)
    latencies: dict[str, float] = field(default_factory=dict)


class Rpc:
    """One keep-alive connection on a plain socket."""

    def __init__(self, port: int, cookie: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.authorization = base64.b64encode(cookie.encode()).decode()
        self.left = -1  # bytes of the answer that are to come, -1 before its headers are complete
        self.head = b""

    def prepare(self, body: Any) -> bytes:
        """A request as bytes."""
        text = json.dumps(body)
        head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {self.authorization}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()

    @staticmethod
    def prepare_get(path: str) -> bytes:
        """A REST request as bytes."""
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def read(self) -> bool:
        """Take what has come; whether the answer is complete."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the node closed the connection")
        if self.left >= 0:
            self.left -= len(data)
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return False
            if not self.head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(self.head[:300].decode(errors="replace"))
            at = self.head.lower().index(b"content-length:") + 15
            self.left = end + 4 + int(self.head[at : self.head.index(b"\r", at)]) - len(self.head)
        if self.left > 0:
            return False
        self.left, self.head = -1, b""
        return True

    def exchange(self, message: bytes) -> None:
        """One request and its answer."""
        self.socket.sendall(message)
        while not self.read():
            pass

    def call(self, method: str, *params: Any) -> Any:
        """The result of a method."""
        self.socket.sendall(self.prepare({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        data = b""
        while not data.endswith(b"}\n"):
            data += self.socket.recv(1 << 20)
        return json.loads(data[data.index(b"\r\n\r\n") :])["result"]


class Server:
    """A node process with a data directory of its own."""

    def __init__(self, command: list[str], folder: Path, *more: str) -> None:
        self.port = free_port()
        self.folder = folder
        folder.mkdir()
        options = [*OPTIONS, f"-datadir={folder}", f"-rpcport={self.port}", f"-port={free_port()}", *more]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, env=environment())

    def connect(self) -> Rpc:
        """A connection, once the node answers."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                rpc = Rpc(self.port, (self.folder / "regtest/.cookie").read_text())
                rpc.exchange(rpc.prepare({"jsonrpc": "1.0", "id": 1, "method": "getblockcount", "params": []}))
                return rpc
            except (OSError, RuntimeError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.01)


@contextmanager
def running(command: list[str], folder: Path, *more: str) -> Iterator[Server]:
    """A node that is stopped at the end."""
    server = Server(command, folder, *more)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait()


def sequential(rpc: Rpc, message: bytes, seconds: float) -> float:
    """Requests per second over one connection."""
    count, begun = 0, time.perf_counter()
    while not count or time.perf_counter() - begun < seconds:
        rpc.exchange(message)
        count += 1
    return count / (time.perf_counter() - begun)


def side_by_side(server: Server, clients: int, message: bytes, seconds: float) -> float:
    """Requests per second over several connections, each of which asks again when it has its answer."""
    count = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            rpc = server.connect()
            selector.register(rpc.socket, selectors.EVENT_READ, rpc)
            rpc.socket.sendall(message)
        begun = time.perf_counter()
        while not count or time.perf_counter() - begun < seconds:
            for key, _ in selector.select(1):
                if key.data.read():
                    count += 1
                    key.data.socket.sendall(message)
        took = time.perf_counter() - begun
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    return count / took


def requests_of(rpc: Rpc, chain: Chain) -> dict[str, bytes]:
    """What is asked for, by name."""
    block, txid = chain.block_hash, chain.txid
    calls: dict[str, list[Any]] = {
        "getblockcount": [],
        "getmempoolinfo": [],
        "getrawtransaction": [txid, 1, block],
        "getrawtransaction by index": [txid, 1],
        "gettxout": list(chain.unspent),
        "getblockstats": [block],
        "getrawmempool verbose": [True],
        "getblock 0": [block, 0],
        "getblock 1": [block, 1],
        "getblock 2": [block, 2],
        "getblock 3": [block, 3],
    }
    paths = {
        "REST block bin": f"/rest/block/{block}.bin",
        "REST block hex": f"/rest/block/{block}.hex",
        "REST block json": f"/rest/block/{block}.json",
        "REST tx bin": f"/rest/tx/{txid}.bin",
        "REST tx json": f"/rest/tx/{txid}.json",
    }
    found = {
        name: rpc.prepare({"jsonrpc": "2.0", "id": 1, "method": name.split()[0], "params": params})
        for name, params in calls.items()
    }
    return found | {name: rpc.prepare_get(path) for name, path in paths.items()}


def fill(rpc: Rpc, chain: Chain) -> None:
    """Give the node the chain and the pool, and wait for its index."""
    for raw in chain.blocks:
        if rpc.call("submitblock", raw.hex()) is not None:
            raise RuntimeError("the node refused a block")
    for raw_tx in chain.pool:
        rpc.call("sendrawtransaction", raw_tx)
    while not rpc.call("getindexinfo")["txindex"]["synced"]:
        time.sleep(0.05)


def measure_requests(server: Server, chain: Chain, seconds: float, clients: int, found: Figures) -> None:
    """Rates of all requests, over one connection and over several, and of batches."""
    rpc = server.connect()
    fill(rpc, chain)
    for name, message in requests_of(rpc, chain).items():
        rpc.exchange(message)
        found.rates[name] = sequential(rpc, message, seconds)
        found.rates[f"{name}, {clients} clients"] = side_by_side(server, clients, message, seconds)
    one = {"jsonrpc": "2.0", "id": 1, "method": "getblockcount", "params": []}
    found.rates[f"calls in batches of {BATCH}"] = BATCH * sequential(rpc, rpc.prepare([one] * BATCH), seconds)


def serve(blocks: list[bytes], ports: Any) -> None:
    """Serve the chain until the process is ended."""
    server = ChainServer.of_blocks(PARAMS, blocks)
    ports.put(server.port)
    while True:
        time.sleep(60)


def measure_sync(command: list[str], folder: Path, chain: Chain, found: Figures) -> None:
    """Latencies of getblockcount while the chain comes in over P2P."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    serving = context.Process(target=serve, args=(chain.blocks, ports), daemon=True)
    serving.start()
    try:
        with running(command, folder, f"-connect=127.0.0.1:{ports.get()}") as server:
            rpc = server.connect()
            latencies, deadline = [], time.monotonic() + 300
            while time.monotonic() < deadline:
                begun = time.perf_counter()
                height = rpc.call("getblockcount")
                latencies.append(1000 * (time.perf_counter() - begun))
                if height == len(chain.blocks):
                    break
                time.sleep(PAUSE_S)
    finally:
        serving.terminate()
    latencies.sort()
    found.latencies["p50 in a sync"] = statistics.median(latencies)
    found.latencies["p99 in a sync"] = latencies[int(len(latencies) * 0.99)]
    found.latencies["worst in a sync"] = latencies[-1]


def report(results: dict[str, Figures]) -> None:
    """A line per measurement, with the ratio where there are two nodes."""
    first = next(iter(results.values()))
    names = list(results)
    print(f"{'':<34}" + "".join(f"{name:>14}" for name in names) + ("         ratio" if len(names) > 1 else ""))
    for unit, table in (("/s", "rates"), (" ms", "latencies")):
        for name in getattr(first, table):
            values = [getattr(figures, table)[name] for figures in results.values()]
            shown = "".join(f"{f'{value:,.0f}' if unit == '/s' else f'{value:.2f}':>11}{unit:<3}" for value in values)
            ratio = f"{values[0] / values[1]:>14.2f}" if len(values) > 1 else ""
            print(f"{name:<34}{shown}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--txs", type=int, default=800)
    parser.add_argument("--only", choices=("btcnode", "bitcoind"))
    options = parser.parse_args()
    commands = {"btcnode": [sys.executable, "-m", "btcnode.cli.daemon"]}
    if os.environ.get("BTCNODE_BITCOIND"):
        commands["bitcoind"] = [os.environ["BTCNODE_BITCOIND"]]
    if options.only:
        commands = {options.only: commands[options.only]}
    print("building the chain ...", flush=True)
    chain = Chain.make(options.blocks, options.txs)
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands.items():
            found = results[name] = Figures()
            with running(command, Path(folder) / name) as server:
                measure_requests(server, chain, options.seconds, options.clients, found)
            measure_sync(command, Path(folder) / f"{name}-sync", chain, found)
    report(results)


if __name__ == "__main__":
    main()
