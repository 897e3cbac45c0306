#!/usr/bin/env python3
"""btcnode beside a bitcoind: sync, admission, blocks at the tip, answers, start; in turn, in one run.

    BTCNODE_BITCOIND=path/to/bitcoind python scripts/bench/beside.py [--runs 3] [--only sync,pool,...]
                                                                     [--json results.json] [--page docs/performance.md]
    python scripts/bench/beside.py --page docs/performance.md results.json
    python scripts/bench/beside.py --plot ratios.svg results.json ...

Every part is done to both nodes in turn, ``--runs`` times; printed are the medians of each, as a Markdown table, and
the ratio: above 1 btcnode is faster, whatever the unit. Parts:

- ``sync``: the chain of ibd.py, served by its serving process; the large blocks with all scripts verified, and assumed
  valid.
- ``pool``: one peer sends loose transactions, from the first byte until all are in the pool; then compact blocks of
  them, each from the first byte until ``waitforblock`` answers.
- ``rpc``: the requests of rpc.py, over one connection and over 16.
- ``start``: to the first answer on an empty directory, and one call of the command line client.

``--json`` keeps medians and ratios, in the repository under ``docs/beside/``. ``--page`` puts the table, of this run or
of a file, between the two marks of a page; ``--plot`` draws the ratios of files over their dates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.protocol.serving.compact_serving import compact_payload
from btcnode.wire.messages import Ping, Pong, SendCmpct
from scripts.bench import ibd, rpc, start
from tests.lib.bitcoind import find_bitcoind
from tests.lib.chain_generator import ChainGenerator
from tests.lib.daemons import LIMIT_S, Daemon
from tests.lib.peer import ScriptedPeer
from tests.lib.plots import NO_PLOT, quiet_pyplot
from tests.lib.tx_stream import FEE, KINDS, loose_tx

PARAMS = params_for("regtest")
PYTHON = [sys.executable, "-m"]
CLIENTS = 16
SMALL = 2100  # blocks above the large ones: two weeks of work, below which scripts are assumed valid
BEGIN, END = "<!-- beside.py: begin -->", "<!-- beside.py: end -->"
COUNTED = "/s"  # of this unit more is better; of all others less

Values = dict[tuple[str, str], float]  # by name and unit


@contextmanager
def running(program: list[str], *options: str) -> Iterator[Daemon]:
    """A node in a directory of its own that is stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        node = Daemon(program, Path(folder), *options)
        try:
            yield node
        finally:
            node.close()


# -- parts -----------------------------------------------------------------------------------------------------------


class Sync:
    """The large blocks of ibd.py's chain, over TCP."""

    def __init__(self, options: argparse.Namespace) -> None:
        shape = argparse.Namespace(blocks=options.blocks, txs=options.txs, small=SMALL, seed=1, cache=options.cache)
        self._chain = ibd.prepare(shape)

    def measure(self, program: list[str]) -> Values:
        """Inputs per second with scripts, and with scripts assumed valid."""
        ways = {"sync, all scripts": "0", "sync, scripts assumed valid": self._chain.tip}
        return {(name, "inputs/s"): self._rate(program, assumed) for name, assumed in ways.items()}

    def _rate(self, program: list[str], assumed: str) -> float:
        chain, server = self._chain, ibd.Server(self._chain)
        try:
            words = (f"-connect={server.address}", "-listen=0", f"-assumevalid={assumed}")
            with running(program, *words) as node:
                node.wait("getblockcount", "", chain.before)
                node.wait("getblockchaininfo", "headers", chain.total)
                begun = time.perf_counter()
                server.go()
                return chain.inputs / (node.wait("getblockcount", "", chain.large_end) - begun)
        finally:
            server.close()


class Pool:
    """A flood of transactions, then compact blocks of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        rng, generator = Random(1), ChainGenerator(PARAMS, 1, dict.fromkeys(KINDS, 1))
        count = options.tip_blocks * options.txs
        before = list(generator.spread(int(count * 1.9 * 1.2) + 2000))
        self._archive = options.cache / "beside-pool.dat"
        self._archive.parent.mkdir(parents=True, exist_ok=True)
        self._archive.write_bytes(b"".join(PARAMS.magic + len(b).to_bytes(4, "little") + b for b in before))
        self._height = len(before)
        wanted = rng.choices((1, 2, 3, 4), (46, 30, 14, 10), k=count)
        txs = [loose_tx([generator.take() for _ in range(n)])[0] for n in wanted]
        self._raws = [tx.raw for tx in txs]
        self._blocks = [
            generator.block(txs[at : at + options.txs], FEE * options.txs) for at in range(0, count, options.txs)
        ]
        self._time = generator.time + 60

    def measure(self, program: list[str]) -> Values:
        """Transactions per second into the pool, and milliseconds of a block from first byte to tip."""
        words = (f"-loadblock={self._archive}", "-connect=0", "-listen=1", f"-mocktime={self._time}", "-assumevalid=0")
        with running(program, *words, "-blockmaxweight=4000000") as node:
            node.wait("getblockcount", "", self._height)
            peer = ScriptedPeer.connect("127.0.0.1", node.p2p, PARAMS, timeout=LIMIT_S)
            peer.handshake()
            peer.send(SendCmpct(True, 2))
            frames = b"".join(peer.wire.encode("tx", raw) for raw in self._raws)
            begun = time.perf_counter()
            peer.sock.sendall(frames)
            took = node.wait("getmempoolinfo", "size", len(self._raws)) - begun
            delays = [1000 * self._tip(node, peer, raw) for raw in self._blocks]
            peer.close()
        return {
            ("admission, one peer", "tx/s"): len(self._raws) / took,
            ("compact block to tip", "ms"): statistics.median(delays),
        }

    @staticmethod
    def _tip(node: Daemon, peer: ScriptedPeer, raw: bytes) -> float:
        block, ended = parse_block(raw), list[float]()
        asking = node.connect()

        def wait() -> None:
            asking.call("waitforblock", to_display(block.hash), 60_000)
            ended.append(time.perf_counter())

        waiting = threading.Thread(target=wait)
        waiting.start()
        peer.send(Ping(1))  # what came before is over
        while peer.expect(Pong) != Pong(1):
            pass
        time.sleep(0.3)
        frame = peer.wire.encode("cmpctblock", compact_payload(block, 7))
        begun = time.perf_counter()
        peer.sock.sendall(frame)
        waiting.join()
        if node.rpc("getbestblockhash") != to_display(block.hash):
            raise RuntimeError("the block is not the tip")
        return ended[0] - begun


class Answers:
    """The requests of rpc.py."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._chain, self._seconds = rpc.Chain.make(4, options.rpc_txs), options.seconds

    def measure(self, program: list[str]) -> Values:
        """Requests per second."""
        found = rpc.Figures()
        with tempfile.TemporaryDirectory() as folder, rpc.running(program, Path(folder) / "node") as server:
            rpc.measure_requests(server, self._chain, self._seconds, CLIENTS, found)
        return {(name, COUNTED): rate for name, rate in found.rates.items()}


class Start:
    """A start, and a command."""

    def __init__(self, _: argparse.Namespace) -> None:
        self._warm = set[str]()

    def measure(self, program: list[str]) -> Values:
        """Seconds."""
        client = [*PYTHON, "btcnode.cli.client"]
        if program[0] != sys.executable:
            client = [str(Path(program[0]).with_name("bitcoin-cli"))]
        if program[0] not in self._warm:  # bytecode is written, the disk cache filled, as by an installation
            start.start(program, client)
            self._warm.add(program[0])
        up, call = start.start(program, client)
        return {("start to first answer", "s"): up, ("command line call", "s"): call}


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "sync": Sync, "pool": Pool, "rpc": Answers, "start": Start,
}  # fmt: skip


# -- what comes of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Medians of one measurement, and the ratio: above 1 btcnode is faster."""

    name: str
    unit: str
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Of rates, or of times turned round."""
        return self.ours / self.theirs if self.unit.endswith(COUNTED) else self.theirs / self.ours


def rows_of(ours: list[Values], theirs: list[Values]) -> list[Row]:
    """The medians of several runs."""
    return [
        Row(name, unit, *(statistics.median(run[name, unit] for run in runs) for runs in (ours, theirs)))
        for name, unit in ours[0]
    ]


def record_of(rows: list[Row], runs: int) -> dict[str, Any]:
    """What is kept of a run: when, where, and ``rows`` of name, unit, ours, theirs, ratio."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}",
        "runs": runs,
        "rows": [[row.name, row.unit, row.ours, row.theirs, row.ratio] for row in rows],
    }


def table(record: dict[str, Any]) -> str:
    """The rows in Markdown."""
    lines = ["| what | unit | btcnode | bitcoind | ratio |", "|---|---|---|---|---|"]
    for name, unit, *values, ratio in record["rows"]:
        ours, theirs = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values)
        lines.append(f"| {name} | {unit} | {ours} | {theirs} | {ratio:.2f} |")
    return "\n".join(lines)


def put_into(page: Path, record: dict[str, Any]) -> None:
    """Replace what stands between the marks of a page by the table; raises ValueError for a page without them."""
    head, begin, rest = page.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has not both of {BEGIN} and {END}")
    day = datetime.fromisoformat(record["date"])
    about = f"{day.day} {day:%B %Y}, {record['machine']}, medians of {record['runs']} runs; above 1: btcnode is faster."
    page.write_text(f"{head}{BEGIN}\n{about}\n\n{table(record)}\n{END}{tail}")


def read(path: Path) -> dict[str, Any]:
    """A record of ``--json``."""
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def plot(path: Path, results: list[Path]) -> str:
    """Draw ratios over time; returns a line about it."""
    pyplot = quiet_pyplot()
    if pyplot is None:
        return NO_PLOT
    records = sorted(map(read, results), key=lambda record: record["date"])
    figure, axes = pyplot.subplots(figsize=(12, 7), constrained_layout=True)
    for name in dict.fromkeys(row[0] for record in records for row in record["rows"]):
        found = [(record["date"], row[4]) for record in records for row in record["rows"] if row[0] == name]
        axes.plot([datetime.fromisoformat(date) for date, _ in found], [r for _, r in found], marker="o", label=name)
    axes.axhline(1, color="black", linestyle="--")
    axes.set(ylabel="ratio to bitcoind, above 1 is faster", yscale="log")
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(path)
    return f"plot: {path}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitcoind", default=find_bitcoind(), help="BTCNODE_BITCOIND, or what the PATH has")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas ({','.join(PARTS)})")
    parser.add_argument("--blocks", type=int, default=24, help="large blocks of the sync (24)")
    parser.add_argument("--txs", type=int, default=2500, help="transactions in a block of sync and tip (2500)")
    parser.add_argument("--tip-blocks", type=int, default=6, help="compact blocks (6)")
    parser.add_argument("--rpc-txs", type=int, default=1000, help="transactions in a block that is asked for (1000)")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each kind of request (0.5)")
    parser.add_argument("--json", type=Path, help="keep the results there")
    parser.add_argument("--page", type=Path, help="put the table into this page")
    parser.add_argument("--plot", type=Path, help="draw the ratios of the files behind it")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    parser.add_argument("results", type=Path, nargs="*", help="files of --json, for --plot and --page")
    options = parser.parse_args()
    if options.plot:
        print(plot(options.plot, options.results))
    if options.page and options.results:
        put_into(options.page, max(map(read, options.results), key=lambda record: record["date"]))
    if options.results or options.plot:
        return
    if options.page and not {BEGIN, END} <= set(options.page.read_text().splitlines()):
        parser.error(f"{options.page} has no place for the table")  # before all that is measured
    if options.bitcoind is None:
        parser.error("no bitcoind: name one with --bitcoind or BTCNODE_BITCOIND")
    programs = [[*PYTHON, "btcnode.cli.daemon"], [options.bitcoind]]
    rows = list[Row]()
    for name in options.only.split(","):
        print(f"{name} ...", flush=True)
        part = PARTS[name](options)
        runs: tuple[list[Values], list[Values]] = ([], [])
        for number in range(options.runs):
            for program, values in zip(programs, runs, strict=True):
                values.append(part.measure(program))
                print(
                    f"  run {number + 1}, {Path(program[-1]).name}: "
                    + "; ".join(f"{what} {value:,.4g} {unit}" for (what, unit), value in values[-1].items()),
                    flush=True,
                )
        rows += rows_of(*runs)
    record = record_of(rows, options.runs)
    print("\n" + table(record))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.page:
        put_into(options.page, record)


if __name__ == "__main__":
    main()
