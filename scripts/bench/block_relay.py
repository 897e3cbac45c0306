#!/usr/bin/env python3
"""Relay of blocks between real node processes: from receipt to connected, bytes, and along a chain of nodes.

    python scripts/bench/block_relay.py [--transactions 2500] [--blocks 5] [--missing 0.1] [--hops 4]

A block's transactions are sent to the first node, which passes them on; then the block is given to it by submitblock.
What the second node does is read from its debug.log (microseconds): the block's first message comes in, it is put
together, checked and stored, connected (scripts are cached), and the tip moves. Every form is measured with all
transactions in the pool and with ``--missing`` of them unknown to it. The last table is a chain of nodes, ``--hops``
from the first to the last: the time between the first tip and each other one, in compact form (high bandwidth) and as
whole blocks after headers; and of as many nodes of a bitcoind's, where ``BTCNODE_BITCOIND`` names one.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.tx import Tx
from btcnode.wire.messages import Ping, Pong
from tests.lib.bitcoind import find_bitcoind
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess, wait_until
from tests.lib.tx_stream import FEE, KINDS, loose_tx

PARAMS = params_for("regtest")
STILL = 0.3  # seconds in which nobody asks the nodes: questions cost what is measured, on two cores
WARM_UP = 3  # small blocks, after which the next node has chosen whom to ask for compact ones
FIRST = {"compact": "cmpctblock", "xthin": "xthinblock", "plain": "block"}  # what brings the block in each form
QUESTIONS = ("getblocktxn", "get_xthin", "get_xblocktx", "getdata")
LINE = re.compile(r"^(\S+) (?:\(mocktime: \S+\) )?(?:\[\S+\] )*(.*)$")


class CoreProcess(NodeProcess):
    """The same with Bitcoin Core's daemon, which takes a value behind ``=`` only."""

    daemon = ""

    def command(self) -> list[str]:
        """The command line."""
        return [
            self.daemon, "-regtest", f"-datadir={self.datadir}", f"-rpcport={self.rpc_port}", "-dnsseed=0",
            "-fixedseeds=0", f"-bind={self.address}", "-maxtipage=999999999", "-checkmempool=0", "-checkblockindex=0",
            *joined(self.options),
        ]  # fmt: skip

    def start(self, *more: str) -> Self:
        """Start the process and wait for its RPC server."""
        return super().start(*joined(more))


def joined(words: Sequence[str]) -> list[str]:
    """Options with their values: ``--name value`` as ``--name=value``."""
    found: list[str] = []
    for word in words:
        if word.startswith("--"):
            found.append(word)
        else:
            found[-1] += f"={word}"
    return found


def has_connections(node: NodeProcess, count: int) -> bool:
    return bool(node.rpc("getconnectioncount") >= count)


@dataclass
class Passage:
    """One block at one node; times in ms since its first message was read."""

    size: int
    round_trips: int
    assembled: float
    stored: float
    connected: float
    steps: dict[str, float]


def moment(text: str) -> float:
    """Unix time of a log line's first word."""
    return datetime.fromisoformat(text).timestamp()


def lines_of(path: Path, start: int) -> list[tuple[float, str]]:
    """The log from byte ``start``: times and texts."""
    with path.open("rb") as file:
        file.seek(start)
        matches = [LINE.match(line) for line in file.read().decode().splitlines()]
    return [(moment(m[1]), m[2]) for m in matches if m is not None and m[1].endswith("Z")]


def first(lines: list[tuple[float, str]], words: str) -> float:
    """When the first line came that begins with these words; nan when none did."""
    return next((at for at, text in lines if text.startswith(words)), math.nan)


def passage_of(lines: list[tuple[float, str]], form: str) -> Passage | None:
    """Read what became of the block; None when it did not come in this form, as to a node that was asleep."""
    begun, tip = first(lines, f"received: {FIRST[form]} "), first(lines, "UpdateTip")
    if math.isnan(begun + tip):
        return None
    received = [m for _, text in lines if (m := re.match(r"received: (\w+) \((\d+) bytes\)", text))]
    kinds = ("cmpctblock", "blocktxn", "xthinblock", "xblocktx", "block", "headers")
    asked = [text.split()[1] for _, text in lines if text.startswith("sending ")]
    sizes = sum(int(m[2]) for m in received if m[1] in kinds)
    sizes += sum(int(m[1]) for _, text in lines if (m := re.match(r"sending get_xthin \((\d+) bytes\)", text)))
    steps: dict[str, float] = {}
    stored = 0.0
    for at, text in lines:
        if step := re.match(r"(\w+Step): ([\d.]+)ms", text):
            steps[step[1]] = steps.get(step[1], 0.0) + float(step[2])
            if step[1] == "StoreStep":
                stored = at
    together = [at for at, text in lines if re.search(r"(compact|thin) block of \d+ transactions", text)]
    last_part = [at for at, text in lines if re.match(r"received: (blocktxn|xblocktx) ", text)]
    assembled = max([begun, *together, *last_part])
    return Passage(
        sizes, sum(kind in QUESTIONS for kind in asked),
        1000 * (assembled - begun), 1000 * (stored - begun), 1000 * (tip - begun), steps,
    )  # fmt: skip


class Source:
    """The generated chain, and its transactions."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.generator = ChainGenerator(PARAMS, options.seed, dict.fromkeys(KINDS, 1))
        self.rng = random.Random(options.seed)
        per_form = options.blocks * options.transactions * 19 // 10 * 12 // 10
        self.blocks = list(self.generator.spread(per_form * 8))

    def transactions(self) -> list[Tx]:
        """As many as a block takes, with 1.9 inputs each on average."""
        wanted = self.rng.choices((1, 2, 3, 4), (46, 30, 14, 10), k=self.options.transactions)
        return [loose_tx([self.generator.take() for _ in range(n)])[0] for n in wanted]


@contextlib.contextmanager
def chain_of(
    count: int, source: Source, *more: str, kind: type[NodeProcess] = NodeProcess
) -> Iterator[list[NodeProcess]]:
    """Nodes of which each is connected to the one before; all have the source's chain and its time."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        archive = Path(directory) / "chain.dat"
        archive.write_bytes(b"".join(PARAMS.magic + len(b).to_bytes(4, "little") + b for b in source.blocks))
        nodes: list[NodeProcess] = []
        for n in range(count):
            home = Path(directory) / f"node{n}"
            home.mkdir()
            node = kind(
                home, "regtest", "--loadblock", str(archive), "--debug", "net", "--debug", "cmpctblock", "--debug",
                "bench", "--logtimemicros", "--whitelist", "in,out,noban@127.0.0.1", "--par", "1",
                "--mocktime", str(source.generator.time + 60), *more,
            )  # fmt: skip
            stack.enter_context(node).start("--connect", nodes[-1].address if nodes else "0")
            node.wait_height(len(source.blocks), 600)
            nodes.append(node)
        for node in nodes[1:]:
            wait_until(partial(has_connections, node, 1), 60, "the connection")
        yield nodes


def give(nodes: list[NodeProcess], raw: bytes, mocktime: int) -> list[tuple[NodeProcess, int]]:
    """Submit a block to the first node, wait until the last has it; returns where each log began."""
    starts = []
    for node in nodes:
        node.rpc("setmocktime", mocktime)
        starts.append((node, (node.net_dir / "debug.log").stat().st_size))
    want = nodes[0].rpc("getblockcount") + 1
    answer = nodes[0].rpc("submitblock", raw.hex())
    if answer is not None:
        raise RuntimeError(f"the block was refused: {answer}")
    time.sleep(STILL)
    for node in nodes:
        node.wait_height(want, 60)
    return starts


def fill(nodes: list[NodeProcess], txs: list[Tx], mocktime: int) -> None:
    """Send transactions to the first node; wait until all nodes have them.

    Relay follows the clock that ``setmocktime`` holds (now at ``mocktime``): it is moved on meanwhile.
    """
    have = [node.rpc("getmempoolinfo")["size"] for node in nodes]
    peer = ScriptedPeer.connect("127.0.0.1", nodes[0].port, PARAMS, timeout=120)
    peer.handshake()
    peer.sock.sendall(b"".join(peer.wire.encode("tx", tx.raw) for tx in txs))
    peer.send(Ping(7))
    while peer.expect(Pong) != Pong(7):
        pass

    def filled() -> bool:
        nonlocal mocktime
        mocktime += 1
        for node in nodes:
            node.rpc("setmocktime", mocktime)
        return all(
            node.rpc("getmempoolinfo")["size"] >= before + len(txs) for node, before in zip(nodes, have, strict=True)
        )

    wait_until(filled, 120, "the pools")
    peer.close()


def measure(source: Source, form: str, share: float) -> tuple[list[Passage], int]:
    """Blocks through two nodes; returns what happened at the second, and the last block's size."""
    passages: list[Passage] = []
    generator, size = source.generator, 0
    more = ["--block-relay", form, *(["--xthin"] if form == "xthin" else [])]
    with chain_of(2, source, *more) as nodes:
        for _ in range(WARM_UP):
            raw = generator.block()
            source.blocks.append(raw)
            give(nodes, raw, generator.time + 60)
        for _ in range(source.options.blocks):
            txs = source.transactions()
            fill(nodes, txs[int(len(txs) * share) :], generator.time + 60)
            raw = generator.block(txs, FEE * len(txs))
            source.blocks.append(raw)
            starts = give(nodes, raw, generator.time + 60)
            node, start = starts[1]
            passage = passage_of(lines_of(node.net_dir / "debug.log", start), form)
            passages += [] if passage is None else [passage]
            size = len(raw)
    return passages, size


def show(form: str, share: float, passages: list[Passage], size: int) -> None:
    """Print the medians."""
    if not passages:
        print(f"{form:<8}{share:>4.0%} missing: 0 blocks came in this form", flush=True)
        return

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    steps = ", ".join(
        f"{name} {middle([p.steps.get(name, 0.0) for p in passages]):.0f}" for name in sorted(passages[-1].steps)
    )
    trips = [p.round_trips for p in passages]
    sent = middle([float(p.size) for p in passages])
    print(
        f"{form:<8}{share:>4.0%} missing: connected {middle([p.connected for p in passages]):6.1f} ms after the first "
        f"message (worst {max(p.connected for p in passages):.1f});"
        f" together {middle([p.assembled for p in passages]):.1f},"
        f" stored {middle([p.stored for p in passages]):.1f}; chain thread, ms: {steps}; {sent / 1000:.1f} kB of"
        f" {size / 1000:.0f} ({1 - sent / size:.1%} saved); questions per block {min(trips)} to {max(trips)}",
        flush=True,
    )


def along(source: Source, form: str, hops: int, kind: type[NodeProcess] = NodeProcess) -> None:
    """A chain of nodes: print when each has the block."""
    generator = source.generator
    delays: list[list[float]] = []
    more = ["--block-relay", form] if kind is NodeProcess else []
    with chain_of(hops + 1, source, *more, kind=kind) as nodes:
        for _ in range(WARM_UP):
            raw = generator.block()
            source.blocks.append(raw)
            give(nodes, raw, generator.time + 60)
        for _ in range(source.options.blocks):
            txs = source.transactions()
            fill(nodes, txs, generator.time + 60)
            raw = generator.block(txs, FEE * len(txs))
            source.blocks.append(raw)
            starts = give(nodes, raw, generator.time + 60)
            tips = [first(lines_of(node.net_dir / "debug.log", start), "UpdateTip") for node, start in starts]
            delays.append([1000 * (tip - tips[0]) for tip in tips])
    medians = [statistics.median(column) for column in zip(*delays, strict=True)]
    name = form if kind is NodeProcess else "bitcoind"
    print(f"{name:<8} ms after the first node: " + " ".join(f"{value:7.1f}" for value in medians), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=2500)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--missing", type=float, default=0.1)
    parser.add_argument("--hops", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("building the chain ...", flush=True)
    source = Source(options)
    for share in (0.0, options.missing):
        for form in ("compact", "xthin", "plain"):
            show(form, share, *measure(source, form, share))
    print(f"a chain of {options.hops + 1} nodes:")
    for form in ("compact", "plain"):
        along(source, form, options.hops)
    if daemon := find_bitcoind():
        CoreProcess.daemon = daemon
        along(source, "compact", options.hops, CoreProcess)


if __name__ == "__main__":
    main()
