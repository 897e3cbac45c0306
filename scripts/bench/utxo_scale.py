#!/usr/bin/env python3
"""What a UTXO set costs that outgrows the cache: btcnode, and bitcoind on the same file in the same run.

    python scripts/bench/utxo_scale.py [--coins 1,5,20] [--dbcache 100,450] [--bitcoind PATH] [--limit third|MiB]
                                       [--blocks 40] [--plot cost.png]

A chain for each number of coins (millions, kept in ``--cache``; tests/lib/coin_chain.py says what it has): full blocks
that make coins until there are so many, then ``--blocks`` full blocks that spend from all of them. It is imported with
``-loadblock`` into an empty directory. Printed for each node and ``-dbcache``: seconds and inputs per second of both
phases, processor seconds, what was written (``write_bytes`` of /proc/<pid>/io, all processes of the node, the end
included; and ``wchar``), the chainstate on disk after the end, the highest anonymous memory of all its processes, and
the longest pause of getblockcount. ``--limit`` puts the node into a memory cgroup (version 1 or 2, needs the right to
make one): a third of the set's bytes in memory, or so many MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from scripts.bench.rpc import Rpc
from tests.lib.coin_chain import FULL_BLOCK, CoinChain
from tests.lib.process import environment, free_port

PARAMS = params_for("regtest")
POLL_S = 0.02
TIMEOUT_S = 7200.0
MIB = 1 << 20
MILLION = 1_000_000
SET_BYTES = 75  # of a coin, as memory counts it for the limit of a third: key and value
OPTIONS = (
    "-regtest",
    "-listen=0",
    "-dnsseed=0",
    "-connect=0",
    "-printtoconsole=0",
    "-debuglogfile=0",
    "-checkblockindex=0",
)
GROUPS_1, GROUPS_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass
class Chain:
    """The file and its figures: height and inputs at the end of each phase."""

    path: Path
    coins: int
    grown: int
    height: int
    grown_inputs: int
    inputs: int


@dataclass
class Figures:
    """One node's run; bytes, seconds, inputs per second."""

    name: str
    dbcache: int
    growth: float = 0.0
    spending: float = 0.0
    cpu: float = 0.0
    written: int = 0
    wchar: int = 0
    disk: int = 0
    memory: int = 0
    pause: float = 0.0
    failure: str = ""
    inputs: tuple[int, int] = (0, 0)

    def row(self) -> str:
        """A line of the table."""
        if self.failure:
            return f"{self.name:<9} {self.dbcache:>4}  {self.failure}"
        rates = [count / max(seconds, 1e-9) for count, seconds in zip(self.inputs, self.times, strict=True)]
        return (
            f"{self.name:<9} {self.dbcache:>4} {self.growth:>8.1f} {rates[0]:>8,.0f} {self.spending:>8.1f}"
            f" {rates[1]:>8,.0f} {self.cpu:>7.1f} {self.written / MIB:>9,.0f} {self.wchar / MIB:>9,.0f}"
            f" {self.disk / MIB:>8,.0f} {self.memory / MIB:>8,.0f} {self.pause:>7.2f}"
        )

    @property
    def times(self) -> tuple[float, float]:
        """Seconds of both phases."""
        return self.growth, self.spending


HEAD = (
    f"{'node':<9} {'dbc':>4} {'growth s':>8} {'inp/s':>8} {'spend s':>8} {'inp/s':>8} {'cpu s':>7} {'write MB':>9}"
    f" {'wchar MB':>9} {'disk MB':>8} {'anon MB':>8} {'pause s':>7}"
)


# -- the chain -------------------------------------------------------------------------------------------------------


def prepare(cache: Path, coins: int, blocks: int, block_bytes: int) -> Chain:
    """Make the chain, unless it is there."""
    path = cache / f"coins-{coins}-{blocks}-{block_bytes}.dat"
    figures = path.with_suffix(".json")
    if not figures.exists():
        cache.mkdir(parents=True, exist_ok=True)
        chain = CoinChain(PARAMS, block_bytes=block_bytes)
        with path.open("wb") as file:
            for raw in chain.growth(coins):
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
            grown = {"grown": chain.height, "grown_inputs": chain.inputs}
            for raw in chain.spending(blocks):
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
        spent = {"height": chain.height, "inputs": chain.inputs - grown["grown_inputs"]}
        figures.write_text(json.dumps({**grown, **spent, "coins": coins}))
    return Chain(path, **json.loads(figures.read_text()))


# -- memory limits ---------------------------------------------------------------------------------------------------


class MemoryGroup:
    """A control group with a memory limit in bytes, inside the one that this process is in."""

    def __init__(self, limit: int) -> None:
        """Make it; raises OSError where that is not allowed."""
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        first = next((path for _, controllers, path in lines if "memory" in controllers.split(",")), None)
        if first is not None:
            base, name = GROUPS_1, "memory.limit_in_bytes"
        else:
            first = next(path for _, controllers, path in lines if not controllers)
            base, name = GROUPS_2, "memory.max"
        parent = base / first.lstrip("/")
        self.path = (parent if parent.is_dir() else base) / f"utxo-scale-{os.getpid()}"
        self.path.mkdir()
        (self.path / name).write_text(str(limit))

    def enter(self, command: list[str]) -> list[str]:
        """The command, run inside."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *command]

    def close(self) -> None:
        """Remove it; everything in it has ended."""
        self.path.rmdir()


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Family:
    """What a process and its descendants took; those that have ended count with what was seen of them last."""

    pid: int
    io: dict[int, tuple[int, int]] = field(default_factory=dict)
    ticks: dict[int, int] = field(default_factory=dict)
    memory: int = 0

    def look(self) -> None:
        """Read /proc."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = path.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(path.parent.name)] = int(words[1])
            ticks[int(path.parent.name)] = int(words[11]) + int(words[12])
        members = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in members} - members:
            members |= more
        memory = 0
        for pid in members:
            try:
                io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
                status = Path(f"/proc/{pid}/status").read_text()
            except (OSError, ValueError):
                continue
            if "write_bytes" in io:
                self.io[pid] = int(io["write_bytes"]), int(io["wchar"])
            self.ticks[pid] = ticks.get(pid, 0)
            memory += next((int(x.split()[1]) << 10 for x in status.splitlines() if x.startswith("RssAnon")), 0)
        self.memory = max(self.memory, memory)


def folder_size(folder: Path) -> int:
    """Bytes on disk of a folder's files."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def connect(process: subprocess.Popen[bytes], folder: Path, port: int) -> Rpc:
    """A connection, once the node answers; raises RuntimeError when it ends before that."""
    while True:
        try:
            rpc = Rpc(port, (folder / "regtest/.cookie").read_text())
            rpc.exchange(rpc.prepare({"jsonrpc": "1.0", "id": 1, "method": "getblockcount", "params": []}))
            return rpc
        except (OSError, RuntimeError):
            if process.poll() is not None:
                raise RuntimeError(f"the node ended with {process.returncode}") from None
            time.sleep(0.01)


def watch(process: subprocess.Popen[bytes], rpc: Rpc, chain: Chain, found: Figures, family: Family) -> None:
    """Ask for the height until all blocks are there; raises RuntimeError when the node ends."""
    begun = grown = time.perf_counter()
    looked, phase = 0.0, 0
    while True:
        before = time.perf_counter()
        try:
            height = int(rpc.call("getblockcount"))
        except (OSError, ValueError, ConnectionError):
            raise RuntimeError(f"the node ended with {process.wait(60)}") from None
        now = time.perf_counter()
        found.pause = max(found.pause, now - before)
        if not phase and height >= chain.grown:
            found.growth, grown, phase = now - begun, now, 1
        if height >= chain.height:
            found.spending = now - grown
            return
        if now - begun > TIMEOUT_S:
            raise RuntimeError(f"the node is at {height} of {chain.height} after {TIMEOUT_S:.0f} s")
        if now - looked > 5 * POLL_S:
            family.look()
            looked = now
        time.sleep(POLL_S)


def measure(name: str, command: list[str], chain: Chain, dbcache: int, options: argparse.Namespace) -> Figures:
    """One node on one chain."""
    found = Figures(name, dbcache, inputs=(chain.grown_inputs, chain.inputs))
    group = None
    with tempfile.TemporaryDirectory(dir=options.cache) as directory:
        folder, port = Path(directory), free_port()
        mine = [f"-datadir={folder}", f"-rpcport={port}", f"-dbcache={dbcache}", f"-loadblock={chain.path}"]
        full = [*command, *OPTIONS, *mine]
        if options.limit:
            group = MemoryGroup(chain.coins * SET_BYTES // 3 if options.limit == "third" else int(options.limit) * MIB)
            full = group.enter(full)
        process = subprocess.Popen(full, stdout=subprocess.DEVNULL, env=environment())
        family = Family(process.pid)
        try:
            watch(process, connect(process, folder, port), chain, found, family)
            process.terminate()
            while process.poll() is None:
                family.look()
                time.sleep(POLL_S)
            found.disk = folder_size(folder / "regtest/chainstate")
        except RuntimeError as error:
            found.failure = str(error)
        finally:
            process.kill()
            process.wait()
            if group is not None:
                time.sleep(0.5)
                group.close()
    found.memory, found.cpu = family.memory, sum(family.ticks.values()) / os.sysconf("SC_CLK_TCK")
    found.written, found.wchar = (sum(pair[at] for pair in family.io.values()) for at in (0, 1))
    return found


def plot(path: Path, results: list[tuple[Chain, Figures]]) -> None:
    """Microseconds for each input of both phases, and bytes written for each coin, against the number of coins."""
    from matplotlib import pyplot

    _, axes = pyplot.subplots(1, 3, figsize=(15, 4.5))
    for key in sorted({(found.name, found.dbcache) for _, found in results}):
        rows = [(c, f) for c, f in results if (f.name, f.dbcache) == key and not f.failure]
        sizes, label = [c.coins / MILLION for c, _ in rows], f"{key[0]}, dbcache {key[1]}"
        axes[0].plot(sizes, [f.growth * 1e6 / c.grown_inputs for c, f in rows], marker="o", label=label)
        axes[1].plot(sizes, [f.spending * 1e6 / c.inputs for c, f in rows], marker="o", label=label)
        axes[2].plot(sizes, [f.written / c.coins for c, f in rows], marker="o", label=label)
    for axis, title in zip(axes, ("growth: us/input", "spending: us/input", "bytes written/coin"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("million coins")
        axis.set_ylim(bottom=0)
        axis.legend()
    pyplot.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", default="1,5,20", help="numbers of coins in millions, with commas (1,5,20)")
    parser.add_argument("--dbcache", default="100,450", help="MiB, with commas (100,450)")
    parser.add_argument("--bitcoind", default=os.environ.get("BTCNODE_BITCOIND"), help="a bitcoind to compare with")
    parser.add_argument("--only", choices=("btcnode", "bitcoind"), help="one of the two")
    parser.add_argument("--limit", help="memory of the node's cgroup: third (of the set), or MiB")
    parser.add_argument("--blocks", type=int, default=40, help="blocks that spend (40)")
    parser.add_argument("--block-bytes", type=int, default=FULL_BLOCK, help="bytes of a block, for a quick try")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench", help="for chains")
    parser.add_argument("--plot", type=Path, help="picture of cost against coins (needs matplotlib)")
    options = parser.parse_args()
    nodes = {"btcnode": [sys.executable, "-m", "btcnode.cli.daemon"]}
    if options.bitcoind:
        nodes["bitcoind"] = [shutil.which(options.bitcoind) or options.bitcoind]
    results = []
    for millions in options.coins.split(","):
        chain = prepare(options.cache, int(float(millions) * MILLION), options.blocks, options.block_bytes)
        print(f"{chain.coins:,} coins, {chain.height} blocks", flush=True)
        print(HEAD)
        for dbcache in map(int, options.dbcache.split(",")):
            for name, command in nodes.items():
                if options.only in (None, name):
                    found = measure(name, command, chain, dbcache, options)
                    results.append((chain, found))
                    print(found.row(), flush=True)
    if options.plot:
        plot(options.plot, results)


if __name__ == "__main__":
    main()
