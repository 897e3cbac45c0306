#!/usr/bin/env python3
"""Initial block download, measured on real processes: btcnode over TCP and from block files, against py-bitcoinkernel.

    python scripts/bench/ibd.py [--blocks 40] [--txs 2500] [--small 2100] [--par 2] [--only kernel,scripts,...]
                                [--plot memory.png]

The chain is built once and kept (``--cache``): coins are spread over the templates first, then come the large blocks
with a realistic mix of signed spends, then small ones. Another process serves it. The clock of the large blocks runs
from the moment when the node has all blocks before them and the server lets the first large one go, until the node
reports the height of the last one.

Measurements: ``kernel`` (py-bitcoinkernel with two worker threads, blocks decoded before its clock runs, large blocks
only), ``scripts`` (with script checks), ``par1`` (the same without worker processes), ``assumed`` (scripts assumed
valid), ``load`` (``--loadblock`` from a file), ``peers`` (eight peers, good ones against a bad mix: see peers.py).
The memory of node and workers over the whole of each sync is drawn into ``--plot`` (needs matplotlib, extra "bench").
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.block_import import iter_blocks
from scripts.bench import peers
from tests.lib.chain_generator import benchmark_chain
from tests.lib.node_loads import processor_seconds
from tests.lib.peer import ChainServer
from tests.lib.plots import NO_PLOT, quiet_pyplot
from tests.lib.process import NodeProcess
from tests.lib.settings import settings_of

PARAMS = params_for("regtest")
POLL = 0.05  # seconds between two calls of getblockcount
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Chain:
    """The chain's file and its figures: blocks before the large ones, up to the last large one, in all."""

    path: Path
    before: int
    large_end: int
    total: int
    inputs: int
    txs: int
    size: int
    all_inputs: int
    tip: str


@dataclass
class Result:
    """One run: seconds for the large blocks and for the rest, latencies of getblockcount, memory in bytes over time.

    ``cpu`` and ``worker_cpu``: seconds that the node's own process and its workers computed for the large blocks.
    """

    large: float = 0.0
    rest: float = 0.0
    cpu: float = 0.0
    worker_cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


# -- the chain -------------------------------------------------------------------------------------------------------


def prepare(options: argparse.Namespace) -> Chain:
    """Build the chain, unless it is there."""
    name = f"ibd-{options.blocks}-{options.txs}-{options.small}-{options.seed}"
    path, figures = options.cache / f"{name}.dat", options.cache / f"{name}.json"
    if not figures.exists():
        print("building the chain ...", flush=True)
        options.cache.mkdir(parents=True, exist_ok=True)
        blocks = list(
            benchmark_chain(
                PARAMS,
                big_blocks=options.blocks,
                big_txs=options.txs,
                small_blocks=options.small,
                seed=options.seed,
            )
        )
        with path.open("wb") as file:
            for raw in blocks:
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
        before = len(blocks) - options.small - options.blocks
        parsed = [parse_block(raw) for raw in blocks]
        large = parsed[before : before + options.blocks]
        data = {
            "before": before,
            "large_end": before + options.blocks,
            "total": len(blocks),
            "inputs": sum(len(block.in_pos) - 1 for block in large),
            "txs": sum(block.n_tx for block in large),
            "size": sum(block.size for block in large),
            "all_inputs": sum(len(block.in_pos) - 1 for block in parsed),
            "tip": header_hash(blocks[-1][:HEADER_SIZE])[::-1].hex(),
        }
        figures.write_text(json.dumps(data))
    return Chain(path, **json.loads(figures.read_text()))


def read_chain(path: Path) -> list[bytes]:
    """The blocks of the file."""
    return [raw for _, raw in iter_blocks(path, PARAMS.magic)]


# -- serving processes -----------------------------------------------------------------------------------------------


def serve(path: Path, before: int) -> None:
    """Serve the chain; blocks from index ``before`` on only after a line on stdin."""
    blocks = read_chain(path)
    held = {header_hash(raw[:HEADER_SIZE]) for raw in blocks[before:]}
    go = threading.Event()

    def gate(name: bytes, raw: bytes) -> bytes:
        if name in held:
            go.wait()
        return raw

    with ChainServer.of_blocks(PARAMS, blocks) as server:
        server.on_block = gate
        print(server.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "go":
                go.set()


class Server:
    """A serving process."""

    def __init__(self, chain: Chain) -> None:
        command = [sys.executable, __file__, "--serve", str(chain.path), str(chain.before)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


# -- measuring -------------------------------------------------------------------------------------------------------


def family_memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(path.parent.name) == pid or int(words[1]) == pid:
            total += int(words[21]) * PAGE
    return total


def family_cpu(pid: int) -> tuple[float, float]:
    """CPU seconds of a process, and of its children together: the living ones, and those that it has waited for.

    The latter in ticks of 10 ms; all others to the nanosecond, lest figures of small runs divide by nothing.
    """
    own = children = 0.0
    tick = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        number = int(path.parent.name)
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if number == pid:
                own += processor_seconds(pid)
                children += (int(words[13]) + int(words[14])) / tick
            elif int(words[1]) == pid:
                children += processor_seconds(number)
    return own, children


def watch(node: NodeProcess, height: int, result: Result, start: float, limit: float = 600.0) -> float:
    """Poll until the node has ``height``; returns the time when it had."""
    assert node.process is not None
    while True:
        before = time.perf_counter()
        reached = node.height()
        now = time.perf_counter()
        result.latencies.append(now - before)
        if not result.memory or now - start - result.memory[-1][0] > 0.25:
            result.memory.append((now - start, family_memory(node.process.pid)))
        if reached >= height:
            return now
        if now - start > limit:
            raise TimeoutError(f"height {reached} of {height} after {limit} s:\n{node.output()[-3000:]}")
        time.sleep(POLL)


class Profile:
    """py-spy over a node and its workers, if ``path`` is given: folded stacks of the time on the processor."""

    def __init__(self, pid: int, path: Path | None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if path is not None:
            spy = Path(sys.executable).parent / "py-spy"
            command = [str(spy), "record", "--pid", str(pid), "--subprocesses", "--threads", "--gil", "--rate", "250"]
            command = command if path.suffix == ".gil" else [word for word in command if word != "--gil"]
            self._process = subprocess.Popen(
                [*command, "--duration", "600", "--format", "raw", "--output", str(path)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(1.5)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)


def over_tcp(chain: Chain, *options: str, profile: Path | None = None) -> Result:
    """A fresh node syncs from a serving process."""
    server = Server(chain)
    result = Result()
    try:
        with tempfile.TemporaryDirectory() as directory:
            connect = ("--connect", server.address)
            with NodeProcess(Path(directory), "regtest", *connect, *options, listen=False) as node:
                node.start()
                assert node.process is not None
                watch(node, chain.before, Result(), time.perf_counter())
                while node.rpc("getblockchaininfo")["headers"] < chain.total:
                    time.sleep(POLL)
                spy = Profile(node.process.pid, profile)
                cpu = family_cpu(node.process.pid)
                start = time.perf_counter()
                server.go()
                middle = watch(node, chain.large_end, result, start)
                spy.stop()
                later = family_cpu(node.process.pid)
                result.cpu, result.worker_cpu = later[0] - cpu[0], later[1] - cpu[1]
                end = watch(node, chain.total, result, start)
                result.large, result.rest = middle - start, end - middle
                assert node.stop() == 0
    finally:
        server.close()
    return result


def from_files(chain: Chain, *options: str) -> Result:
    """A fresh node imports the chain's file."""
    result = Result()
    with tempfile.TemporaryDirectory() as directory:
        load = ("--connect", "0", "--loadblock", str(chain.path))
        with NodeProcess(Path(directory), "regtest", *load, *options, listen=False) as node:
            node.start()
            start = watch(node, chain.before, result, time.perf_counter())
            middle = watch(node, chain.large_end, result, start)
            end = watch(node, chain.total, result, start)
            result.large, result.rest = middle - start, end - middle
            assert node.stop() == 0
    return result


def run_kernel(path: Path, before: int, end: int, threads: int) -> tuple[float, float]:
    """Seconds, and CPU seconds, that the library needs for the large blocks."""
    import pbk

    blocks = read_chain(path)[:end]
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        context = pbk.make_context(pbk.ChainType.REGTEST)
        options = pbk.ChainstateManagerOptions(context, str(where), str(where / "blocks"))
        options.set_worker_threads_num(threads)
        manager = pbk.ChainstateManager(options)
        for raw in blocks[:before]:
            manager.process_block(pbk.Block(raw))
        ready = [pbk.Block(raw) for raw in blocks[before:]]
        start, cpu = time.perf_counter(), time.process_time()
        for block in ready:
            manager.process_block(block)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        assert manager.get_active_chain().height == end
    return seconds, cpu


def kernel(chain: Chain, threads: int) -> Result:
    """The library in a process of its own."""
    command = [sys.executable, __file__, "--kernel", str(chain.path), str(chain.before), str(chain.large_end)]
    output = subprocess.run([*command, str(threads)], check=True, capture_output=True, text=True).stdout
    seconds, cpu = map(float, output.split()[-2:])
    return Result(large=seconds, cpu=cpu)


def line(name: str, chain: Chain, result: Result, reference: float | None) -> str:
    """A row of the table."""
    parts = [f"{name:14s} {result.large:7.2f} s {chain.inputs / result.large:10,.0f} inputs/s"]
    if reference is not None:
        parts.append(f"{reference / result.large:5.2f} of the kernel's rate")
    if result.cpu:
        parts.append(f"CPU {result.cpu:.1f} s + workers {result.worker_cpu:.1f} s")
    if result.rest:
        parts.append(f"rest {(chain.total - chain.large_end) / result.rest:6,.0f} blocks/s")
    if result.latencies:
        ordered = sorted(result.latencies)
        parts.append(
            f"getblockcount median {statistics.median(ordered) * 1000:.1f} ms,"
            f" 99th {ordered[int(len(ordered) * 0.99)] * 1000:.0f} ms, worst {ordered[-1] * 1000:.0f} ms"
        )
    if result.memory:
        parts.append(f"memory at most {max(size for _, size in result.memory) / 1e6:.0f} MB")
    return ", ".join(parts)


def plot(results: dict[str, Result], budget_mib: int, path: Path) -> str:
    """Draw memory over time into a PNG; returns a line about it."""
    pyplot = quiet_pyplot()
    if pyplot is None:
        return NO_PLOT
    figure, axes = pyplot.subplots(figsize=(9, 5))
    peak = 0.0
    for name, result in results.items():
        if result.memory:
            begun = result.memory[0][0]
            values = [size / 2**20 for _, size in result.memory]
            peak = max(peak, *values)
            axes.plot([steady - begun for steady, _ in result.memory], values, label=name)
    axes.axhline(budget_mib, linestyle="--", color="black", label="--maxmemory")
    axes.set_xlabel("seconds")
    axes.set_ylabel("resident memory, node and workers, MiB")
    axes.set_ylim(0, budget_mib * 1.1)
    axes.legend()
    figure.savefig(path, dpi=120)
    return f"memory over time: {path}, at most {peak:.0f} MiB of {budget_mib}"


def from_peers(chain: Chain, options: tuple[str, ...]) -> str:
    """Eight peers, good ones against the bad mix of peers.py."""
    good, _, _ = peers.sync(chain.path, peers.GOOD, chain.total, list(options))
    bad, log, _ = peers.sync(chain.path, peers.MIX, chain.total, list(options))
    lines = [f"peers    8 good {good:.2f} s, bad mix {bad:.2f} s: ratio {bad / good:.2f} (at most {peers.TARGET})"]
    return "\n".join([*lines, *peers.dealt_with(log)])


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
        return
    if sys.argv[1:2] == ["--kernel"]:
        print(*run_kernel(Path(sys.argv[2]), *map(int, sys.argv[3:6])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=40, help="large blocks")
    parser.add_argument("--txs", type=int, default=2500, help="transactions in each of them")
    parser.add_argument("--small", type=int, default=2100, help="small blocks behind them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--par", type=int, default=0, help="--par of the node (0: all cores)")
    parser.add_argument("--threads", type=int, default=2, help="worker threads of py-bitcoinkernel")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="kernel,scripts,par1,assumed,load,peers")
    parser.add_argument("--profile", type=Path, help="write py-spy's folded stacks of scripts or assumed to this file")
    parser.add_argument("--plot", type=Path, default=Path("ibd-memory.png"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    options = parser.parse_args()
    budget = settings_of(network="regtest").storage.maxmemory_bytes >> 20
    chain = prepare(options)
    print(
        f"{chain.total} blocks; large ones: {chain.large_end - chain.before} with {chain.txs:,} transactions,"
        f" {chain.inputs:,} inputs, {chain.size / 1e6:.1f} MB"
    )
    par, assumed = ("--par", str(options.par)), ("--assumevalid", chain.tip)
    measurements: dict[str, Callable[[], Result]] = {
        "kernel": lambda: kernel(chain, options.threads),
        "scripts": lambda: over_tcp(chain, *par, "--assumevalid", "0", profile=options.profile),
        "par1": lambda: over_tcp(chain, "--par", "1", "--assumevalid", "0"),
        "assumed": lambda: over_tcp(chain, *par, *assumed, profile=options.profile),
        "load": lambda: from_files(chain, *par, "--assumevalid", "0"),
    }
    reference: float | None = None
    results: dict[str, Result] = {}
    for _ in range(options.runs):
        for name in options.only.split(","):
            if name == "peers":
                print(from_peers(chain, (*par, "--assumevalid", "0")), flush=True)
                continue
            results[name] = result = measurements[name]()
            if name == "kernel":
                reference = result.large
            print(line(name, chain, result, None if name == "kernel" else reference), flush=True)
    print(plot(results, budget, options.plot))


if __name__ == "__main__":
    main()
