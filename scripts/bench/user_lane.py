#!/usr/bin/env python3
"""The user's own transactions while strangers flood the node: how long RPC takes, and what the flood still gets.

    python scripts/bench/user_lane.py [--txs 20000] [--peers 8] [--par 0]
    BTCNODE_BITCOIND=path/to/bitcoind python scripts/bench/user_lane.py      # the same bytes to a bitcoind, too

``--peers`` connections send loose transactions of various feerates as fast as the node takes them. Meanwhile one client
calls sendrawtransaction, testmempoolaccept and submitpackage (parent and child) in turn, with ``--pause`` seconds
between two calls, until the pool has the whole flood. Printed are median, 99th percentile and worst of each method, and
the flood's rate with and without a user.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.rpc.client import RpcClient
from btcnode.rpc.errors import RpcError
from scripts.bench.mempool import bitcoind
from scripts.bench.stress import client_of
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess
from tests.lib.tx_stream import KINDS, loose_tx

PARAMS = params_for("regtest")
METHODS = ("sendrawtransaction", "testmempoolaccept", "sendrawtransaction", "submitpackage")
FLOOD_TIMEOUT = 300.0  # seconds
POLL = 0.05

Call = tuple[str, list[object]]


class Load:
    """Blocks to sync, the flood's transactions by peer, and the user's calls."""

    def __init__(self, txs: int, peers: int, calls: int, seed: int) -> None:
        rng = random.Random(seed)
        generator = ChainGenerator(PARAMS, seed, dict.fromkeys(KINDS, 1))
        self.blocks = list(generator.spread(int(txs * 1.9 * 1.1) + 3 * calls + 2000))
        self.flood: list[list[bytes]] = [[] for _ in range(peers)]
        for n in range(txs):
            count = rng.choices((1, 2, 3, 4), (46, 30, 14, 10))[0]
            fee = int(300 * math.exp(rng.uniform(0, 4)))
            self.flood[n % peers].append(loose_tx([generator.take() for _ in range(count)], fee)[0].raw)
        self.calls: list[Call] = []
        for n in range(calls):
            method = METHODS[n % len(METHODS)]
            tx, made = loose_tx([generator.take(), generator.take()])
            if method == "submitpackage":
                self.calls.append((method, [[tx.raw.hex(), loose_tx(made)[0].raw.hex()]]))
            else:
                self.calls.append((method, [tx.raw.hex() if method == "sendrawtransaction" else [tx.raw.hex()]]))

    @property
    def size(self) -> int:
        """Transactions of the flood."""
        return sum(map(len, self.flood))


class Flood:
    """Peers that wait, then send everything that they have; connections stay open until ``close``."""

    def __init__(self, port: int, lanes: list[list[bytes]]) -> None:
        self._start = threading.Event()
        self._peers: list[ScriptedPeer] = []
        self._threads: list[threading.Thread] = []
        for txs in lanes:
            peer = ScriptedPeer.connect("127.0.0.1", port, PARAMS)
            peer.handshake()
            peer.sock.settimeout(FLOOD_TIMEOUT)
            frames = b"".join(peer.wire.encode("tx", raw) for raw in txs)
            self._peers.append(peer)
            self._threads.append(threading.Thread(target=self._send, args=(peer, frames), daemon=True))
            self._threads[-1].start()

    def _send(self, peer: ScriptedPeer, frames: bytes) -> None:
        self._start.wait()
        peer.sock.sendall(frames)

    def start(self) -> None:
        """Let them go."""
        self._start.set()

    def close(self) -> None:
        """End the connections."""
        for thread in self._threads:
            thread.join()
        for peer in self._peers:
            peer.close()


class User:
    """Makes calls one after the other until it is told to stop, and remembers how long each took."""

    def __init__(self, client: RpcClient, calls: list[Call], pause: float) -> None:
        self.took: dict[str, list[float]] = {method: [] for method in METHODS}
        self.wrong: list[str] = []
        self.accepted = 0  # transactions that are in the pool by these calls
        self._client = client
        self._calls = calls
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the call that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for method, params in self._calls:
            if self._stop.wait(self._pause):
                return
            begun = time.perf_counter()
            try:
                answer = self._client.call(method, *params)
            except RpcError as error:
                self.wrong.append(f"{method}: {error}")
                continue
            if not self._stop.is_set():
                self.took[method].append(time.perf_counter() - begun)
            self._judge(method, answer)

    def _judge(self, method: str, answer: Any) -> None:
        if method == "testmempoolaccept":
            if not answer[0].get("allowed"):
                self.wrong.append(f"{method}: {answer}")
        elif method == "submitpackage":
            self.accepted += 2
            if answer["package_msg"] != "success":
                self.wrong.append(f"{method}: {answer}")
        else:
            self.accepted += 1


def measure(load: Load, port: int, connect: Callable[[], RpcClient], pause: float | None) -> tuple[float, User]:
    """Seconds until the pool has the whole flood, and the user; ``pause`` None for a flood without a user."""
    user, watch = User(connect(), load.calls, pause or 0.0), connect()
    flood = Flood(port, load.flood)
    begun = time.perf_counter()
    flood.start()
    if pause is not None:
        user.start()
    while int(watch.call("getmempoolinfo")["size"]) - user.accepted < load.size:
        time.sleep(POLL)
        if time.perf_counter() - begun > FLOOD_TIMEOUT:
            raise TimeoutError("the flood did not come in")
    took = time.perf_counter() - begun
    if pause is not None:
        user.stop()
    flood.close()
    return took, user


def btcnode(load: Load, par: int, pause: float | None) -> tuple[float, User]:
    """In a fresh node."""
    server = ChainServer.of_blocks(PARAMS, load.blocks)
    options = ("--connect", server.address, "--par", str(par), "--maxtipage", str(10**9), "--assumevalid", "0")
    with tempfile.TemporaryDirectory() as directory, NodeProcess(Path(directory), "regtest", *options) as node:
        node.start()
        node.wait_height(len(load.blocks), 300)
        return measure(load, node.port, lambda: client_of(node), pause)


def reference(daemon: str, load: Load, pause: float | None) -> tuple[float, User]:
    """In a fresh bitcoind."""
    with bitcoind(daemon) as (connect, port):
        client = connect()
        for raw in load.blocks:
            client.call("submitblock", raw.hex())
        return measure(load, port, connect, pause)


def report(name: str, load: Load, run: Callable[[float | None], tuple[float, User]], pause: float) -> None:
    """Run without and with a user, print."""
    alone, _ = run(None)
    took, user = run(pause)
    print(f"{name}: the flood {load.size / took:,.0f} tx/s, without a user {load.size / alone:,.0f} tx/s", flush=True)
    for method, values in user.took.items():
        each = sorted(values) or [math.nan]
        p50, p99, worst = (each[min(len(each) - 1, int(share * len(each)))] * 1e3 for share in (0.5, 0.99, 1.0))
        print(f"    {method:<20}{len(values):5} calls: median {p50:6.1f} ms, p99 {p99:6.1f} ms, worst {worst:6.1f} ms")
    for line in user.wrong[:5]:
        print(f"    NOT as asked: {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--txs", type=int, default=20_000)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--pause", type=float, default=0.01)
    parser.add_argument("--par", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("building chain and transactions ...", flush=True)
    load = Load(options.txs, options.peers, options.calls, options.seed)
    report("btcnode", load, lambda pause: btcnode(load, options.par, pause), options.pause)
    daemon = os.environ.get("BTCNODE_BITCOIND")
    if daemon:
        report("bitcoind", load, lambda pause: reference(daemon, load, pause), options.pause)


if __name__ == "__main__":
    main()
