#!/usr/bin/env python3
"""Initial block download from eight peers, good ones against a bad mix, on real processes.

    python scripts/bench/peers.py [--blocks 40] [--txs 1000] [--small 2000] [--repeat 1] [--option=--par=2 ...]

A fresh ``btcnode start`` synchronises from eight servers over TCP: once all are good, once three are slow (half a
second for each block), two never send a block, one changes every block and one closes the connection at random. Each
good server can feed the node alone, so what differs is what the bad ones cost. Printed are the seconds of both, their
ratio, and what the node did about each bad peer.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.block_import import iter_blocks
from tests.lib.chain_generator import benchmark_chain
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess

PARAMS = params_for("regtest")
GOOD = ("good",) * 8
MIX = ("slow", "slow", "slow", "stalling", "stalling", "lying", "fleeting", "good")
SLOW = 0.5  # seconds for each block
FLEETING = 0.01  # chance that a block ends the connection
POLL = 0.02
TARGET = 1.3


def prepare(options: argparse.Namespace) -> Path:
    """The chain's file; built unless it is there."""
    path: Path = options.cache / f"peers-{options.blocks}-{options.txs}-{options.small}.dat"
    if not path.exists():
        print("building the chain ...", flush=True)
        options.cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for raw in benchmark_chain(
                PARAMS, big_blocks=options.blocks, big_txs=options.txs, small_blocks=options.small
            ):
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
        partial.rename(path)
    return path


# -- serving ---------------------------------------------------------------------------------------------------------


class FleetingServer(ChainServer):
    """Closes all connections at random when it is asked for a block, and can be connected to again."""

    def drop(self) -> None:
        """Close every connection."""
        peers, self._peers[:] = list(self._peers), []
        for peer in peers:
            peer.close()


def behave(kind: str, server: FleetingServer) -> Callable[[bytes, bytes], bytes | None] | None:
    """What the kind of peer does to a block that it is asked for."""
    lock, dice = threading.Lock(), random.Random(1)

    def slow(_: bytes, raw: bytes) -> bytes:
        with lock:
            time.sleep(SLOW)
        return raw

    def fleeting(_: bytes, raw: bytes) -> bytes | None:
        if dice.random() < FLEETING:
            server.drop()
            return None
        return raw

    return {
        "good": None,
        "slow": slow,
        "stalling": lambda *_: None,
        "lying": lambda _, raw: raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:],
        "fleeting": fleeting,
    }[kind]


def serve(path: Path, kind: str) -> None:
    """Serve the chain until stdin ends; the address goes to stdout first, the number of requests last."""
    blocks = [raw for _, raw in iter_blocks(path, PARAMS.magic)]
    headers = [PARAMS.genesis_block[:HEADER_SIZE], *(raw[:HEADER_SIZE] for raw in blocks)]
    by_hash = {header_hash(raw[:HEADER_SIZE]): raw for raw in blocks}
    with FleetingServer(PARAMS, headers, by_hash) as server:
        server.on_block = behave(kind, server)
        print(server.address, flush=True)
        sys.stdin.read()
        print(len(server.requests), flush=True)


class Server:
    """A serving process."""

    def __init__(self, path: Path, kind: str) -> None:
        command = [sys.executable, __file__, "--serve", str(path), kind]
        self.kind = kind
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def address(self) -> str:
        """Where it listens, once it does."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> int:
        """End it; returns how many blocks it was asked for."""
        out, _ = self.process.communicate(timeout=10)
        return int(out.split()[-1]) if out.split() else 0


# -- measuring -------------------------------------------------------------------------------------------------------


def sync(path: Path, kinds: tuple[str, ...], height: int, options: list[str]) -> tuple[float, str, list[int]]:
    """Seconds from the first connection to the whole chain, the node's log, and how many blocks each was asked for."""
    servers = [Server(path, kind) for kind in kinds]
    asked: list[int] = []
    try:
        addresses = [server.address() for server in servers]
        connect = [word for address in addresses for word in ("--connect", address)]
        with (
            tempfile.TemporaryDirectory() as directory,
            NodeProcess(Path(directory), "regtest", *connect, *options, listen=False) as node,
        ):
            node.start("--debug", "net")
            start = time.perf_counter()
            while node.height() < height:
                time.sleep(POLL)
                if time.perf_counter() - start > 600:
                    raise TimeoutError(f"height {node.height()} of {height}:\n{node.output()[-3000:]}")
            took = time.perf_counter() - start
            assert node.stop() == 0
            log = node.output()
    finally:
        for server in servers:
            asked.append(server.close())
    return took, log, asked


def dealt_with(log: str) -> list[str]:
    """What the node did about bad peers, one line for each kind of measure."""
    patterns = {
        "late blocks asked of another peer": r"(\d+) late blocks at",
        "disconnected as stalling": r"stalling block download[^\n]*, disconnecting",
        "disconnected for a mutated block": r"mutated[^\n]*, disconnecting",
        "broken blocks": r"mutated",
        "peers left alone for a time": r"is not asked for blocks for",
        "connections that the other side closed": r"disconnected: ",
        "stall timers started": r"stall started",
    }
    result = []
    for label, pattern in patterns.items():
        found = re.findall(pattern, log)
        count = sum(int(text) for text in found) if pattern.startswith("(") else len(found)
        result.append(f"  {label}: {count}")
    changes = re.findall(r"block requests: [^\n]*", log)
    result += [f"  {line}" for line in (*changes[:3], *(["..."] if len(changes) > 4 else []), *changes[3:][-1:])]
    return result


def main() -> int:
    """Measure and print; exit status 1 when the ratio is above the target."""
    parser = argparse.ArgumentParser(description="IBD from eight peers, good against bad")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--txs", type=int, default=1000)
    parser.add_argument("--small", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    parser.add_argument("--option", action="append", default=[], help="for the node, as --option=--par=2")
    parser.add_argument("--serve", nargs=2, metavar=("FILE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), options.serve[1])
        return 0
    path = prepare(options)
    height = sum(1 for _ in iter_blocks(path, PARAMS.magic))
    print(f"{height} blocks, {path.stat().st_size / 1e6:.1f} MB")
    good, bad = [], []
    for _ in range(options.repeat):
        took, _, asked = sync(path, GOOD, height, options.option)
        good.append(took)
        print(f"8 good peers: {took:6.2f} s, blocks asked of each: {asked}", flush=True)
        took, log, asked = sync(path, MIX, height, options.option)
        bad.append(took)
        shares = Counter[str]()
        for kind, count in zip(MIX, asked, strict=True):
            shares[kind] += count
        print(f"bad mix:      {took:6.2f} s, blocks asked of each: {dict(shares)}")
        print("\n".join(dealt_with(log)), flush=True)
    ratio = statistics.median(bad) / statistics.median(good)
    print(f"ratio of the medians: {ratio:.2f} (at most {TARGET})")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
