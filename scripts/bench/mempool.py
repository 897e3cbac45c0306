#!/usr/bin/env python3
"""The mempool, measured: admission over TCP, queries, templates, eviction, memory.

    python scripts/bench/mempool.py [--txs 6000] [--pool 50000] [--par 2]

Loose P2WPKH and P2TR transactions (1.9 inputs each on average) are sent by one peer to a node in a process of its own;
the clock runs from the first byte until getmempoolinfo counts them all. Where ``BTCNODE_BITCOIND`` names a bitcoind the
same bytes go to it, too. The other figures are of a pool of ``--pool`` transactions in this process.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.chain.header_tree import HeaderTree
from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.pool import Mempool
from btcnode.mining.templates import TemplateMaker
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcError
from btcnode.rpc.jsonvalue import encode
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess, free_port
from tests.lib.tx_stream import KINDS, loose_tx

PARAMS = params_for("regtest")
NO_LOCKS = LockPoints(-1, -1, -1)


def put_all(pool: Mempool, entries: list[MempoolEntry]) -> None:
    for entry in entries:
        put(pool, entry)


def make_chain(count: int, seed: int) -> tuple[list[bytes], list[bytes]]:
    """A chain, and ``count`` serialised loose transactions that spend coins of it."""
    rng = random.Random(seed)
    generator = ChainGenerator(PARAMS, seed, dict.fromkeys(KINDS, 1))
    blocks = list(generator.spread(int(count * 1.9 * 1.1) + 2000))
    txs: list[bytes] = []
    while len(txs) < count:
        wanted = rng.choices((1, 2, 3, 4), (46, 30, 14, 10))[0]
        txs.append(loose_tx([generator.take() for _ in range(wanted)])[0].raw)
    return blocks, txs


def flood(port: int, txs: list[bytes], size: Callable[[], int]) -> float:
    """Seconds from the first byte until the pool has everything."""
    peer = ScriptedPeer.connect("127.0.0.1", port, PARAMS)
    peer.handshake()
    frames = b"".join(peer.wire.encode("tx", raw) for raw in txs)
    begun = time.perf_counter()
    peer.sock.settimeout(300)
    peer.sock.sendall(frames)
    while size() < len(txs):
        time.sleep(0.01)
        if time.perf_counter() - begun > 300:
            raise TimeoutError(f"{size()} of {len(txs)} transactions")
    took = time.perf_counter() - begun
    peer.close()
    return took


def over_tcp(blocks: list[bytes], txs: list[bytes], par: int) -> float:
    server = ChainServer.of_blocks(PARAMS, blocks)
    options = ("--connect", server.address, "--par", str(par), "--maxtipage", str(10**9), "--assumevalid", "0")
    with tempfile.TemporaryDirectory() as directory, NodeProcess(Path(directory), "regtest", *options) as node:
        node.start()
        node.wait_height(len(blocks), 300)
        return flood(node.port, txs, lambda: int(node.rpc("getmempoolinfo")["size"]))


@contextmanager
def bitcoind(daemon: str) -> Iterator[tuple[Callable[[], RpcClient], int]]:
    """A bitcoind that runs: what makes clients of its RPC server, and its P2P port."""
    ports = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [
            daemon, "-regtest", f"-datadir={directory}", f"-rpcport={ports[0]}", f"-bind=127.0.0.1:{ports[1]}",
            "-rpcuser=u", "-rpcpassword=p", "-dnsseed=0", "-connect=0", "-listen=1", f"-maxtipage={10**9}",
            "-blockmaxweight=4000000", "-checkmempool=0", "-checkblockindex=0",  # on by default on regtest
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def connect() -> RpcClient:
            return RpcClient("127.0.0.1", ports[0], "u", "p", timeout=120)

        client = connect()
        try:
            for _ in range(300):
                try:
                    client.call("getblockcount")
                    break
                except (RpcConnectionError, RpcHttpError, RpcError):
                    time.sleep(0.1)
            yield connect, ports[1]
        finally:
            process.terminate()
            process.wait(60)


def reference(daemon: str, blocks: list[bytes], txs: list[bytes]) -> float:
    with bitcoind(daemon) as (connect, port):
        client = connect()
        for raw in blocks:
            client.call("submitblock", raw.hex())
        return flood(port, txs, lambda: int(client.call("getmempoolinfo")["size"]))


# -- in this process -------------------------------------------------------------------------------------------------


def random_raws(count: int, seed: int = 1) -> list[bytes]:
    """Transactions of the usual shape; nobody looks at their signatures here."""
    rng = random.Random(seed)
    raws = []
    for _ in range(count):
        inputs = rng.choices((1, 2, 3, 4), (46, 30, 14, 10))[0]
        txouts = [make_txout(rng.randrange(10**8), b"\x00\x14" + rng.randbytes(20)) for _ in range(2)]
        prevouts = [rng.randbytes(32) + bytes(4) for _ in range(inputs)]
        stacks = [[rng.randbytes(72), rng.randbytes(33)] for _ in range(inputs)]
        raws.append(Tx(2, prevouts, [b""] * inputs, [0xFFFFFFFD] * inputs, txouts, stacks).raw)
    return raws


def entry_of(raw: bytes, rng: random.Random) -> MempoolEntry:
    tx = Tx.parse(raw)
    return MempoolEntry(
        tx, fee=rng.randrange(100, 100_000), weight=tx.weight, sigop_cost=2, time=1, height=1, sequence=1,
        spends_coinbase=False, lock_points=NO_LOCKS,
    )  # fmt: skip


def put(pool: Mempool, entry: MempoolEntry) -> None:
    pool.stage([], [entry]).apply(RemovalReason.REPLACED, 1)


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_process(count: int) -> None:
    rng = random.Random(2)
    raws = random_raws(count)
    gc.collect()
    tracemalloc.start()
    pool = Mempool()
    for raw in raws:
        put(pool, entry_of(raw, rng))
    taken = tracemalloc.get_traced_memory()[0] + sum(map(len, raws))
    tracemalloc.stop()
    print(
        f"memory for each of {count:,} transactions: {taken / count:,.0f} bytes,"
        f" accounted {pool.memory_usage / count:,.0f}"
    )
    top = min(timed(lambda: list(islice(pool.chunks(), 1000))) for _ in range(5))
    print(f"top 1,000 by fee density: {top * 1e3:.2f} ms")
    tree = HeaderTree(PARAMS)
    cold = min(timed(lambda: TemplateMaker(PARAMS).template(pool, tree, 0, 1)) for _ in range(3))
    maker = TemplateMaker(PARAMS)
    made = maker.template(pool, tree, 0, 1)
    text = timed(lambda: encode({"transactions": made.transactions}))
    cached = timed(lambda: maker.template(pool, tree, 0, 1))
    print(
        f"template of {len(made.transactions):,} transactions: cold {cold * 1e3:.0f} ms, cached {cached * 1e3:.3f} ms,"
        f" its JSON {text * 1e3:.1f} ms"
    )
    fresh = [entry_of(raw, rng) for raw in random_raws(10_000, 7)]
    gc.collect()
    gc.disable()  # when the collector runs by itself, one of the two times has its pause in it
    free = timed(lambda: put_all(pool, fresh[:5000]))
    limit = pool.memory_usage
    pool.max_bytes = limit

    def full() -> None:
        for entry in fresh[5000:]:
            put(pool, entry)
            pool.trim(limit, 1)

    full_time = timed(full)
    gc.enable()
    print(
        f"into the pool: {free / 5000 * 1e6:.1f} us each, at a full budget {full_time / 5000 * 1e6:.1f} us:"
        f" ratio {full_time / free:.2f} (at most 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--txs", type=int, default=6000)
    parser.add_argument("--pool", type=int, default=50_000)
    parser.add_argument("--par", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("building the chain ...", flush=True)
    blocks, txs = make_chain(options.txs, options.seed)
    took = over_tcp(blocks, txs, options.par)
    print(f"admission over TCP: {len(txs) / took:,.0f} tx/s ({len(txs):,} in {took:.2f} s)", flush=True)
    daemon = os.environ.get("BTCNODE_BITCOIND")
    if daemon:
        theirs = reference(daemon, blocks, txs)
        print(f"bitcoind: {len(txs) / theirs:,.0f} tx/s; btcnode has {theirs / took:.2f} of its rate", flush=True)
    in_process(options.pool)


if __name__ == "__main__":
    main()
