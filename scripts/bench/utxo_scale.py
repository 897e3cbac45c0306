#!/usr/bin/env python3
"""What a UTXO set costs that outgrows the cache: btcnode, and bitcoind on the same file in the same run.

    python scripts/bench/utxo_scale.py [--coins 1,5,20] [--dbcache 100,450] [--bitcoind PATH]
                                       [--memory-limit third|MiB] [--clients 4] [--blocks 40] [--plot cost.svg]

A chain for each number of coins (millions, kept in ``--cache``; tests/lib/coin_chain.py says what it has): full blocks
that make coins until there are so many, then ``--blocks`` full blocks that spend from all of them. It is imported with
``-loadblock`` into an empty directory. Printed for each node and ``-dbcache``, as a Markdown table: seconds and inputs
per second of both phases, by the times of the UpdateTip lines in its log (RPC may be silent for long), processor
seconds, what was written (``write_bytes`` of /proc/<pid>/io, all processes of the node, the end included; and
``wchar``), the chainstate on disk after the end, the highest anonymous memory of all its processes, and the longest
pause of getblockcount. ``--memory-limit`` puts the node into a memory cgroup (version 1 or 2, needs the right to make
one): a third of the set's bytes in memory, or so many MiB; memory is then what the group holds and the kernel cannot
take back, page tables and buffers included, and who is ended for lack of memory is named as such. ``--clients``: so
many RPC clients ask for what takes memory meanwhile (blocks with all transactions, in hex and by REST, statistics of
all coins, requests of 20 MB), one thing after the other.
How far everything has come is told on stderr; 20 million coins take a quarter of an hour with a bitcoind, 4 GB of disk.
``--plot``: cost against coins as an SVG.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.simulate.svg_plot import Chart, charts_as_svg
from scripts.bench.rpc import Rpc
from tests.lib.coin_chain import FULL_BLOCK, CoinChain
from tests.lib.memory_group import LimitedGroup
from tests.lib.process import environment, free_port

PARAMS = params_for("regtest")
POLL_S = 0.02
TELL_S = 15.0  # from one line about the progress to the next
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
    "-logtimemicros",
    "-checkblockindex=0",
    "-rest",
)
TIP = re.compile(r"^(\S+)Z UpdateTip: .* height=(\d+) ", re.MULTILINE)


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
        rates = [count / seconds if seconds else 0 for count, seconds in zip(self.inputs, self.times, strict=True)]
        cells = [
            self.name, str(self.dbcache), f"{self.growth:,.1f}", f"{rates[0]:,.0f}", f"{self.spending:,.1f}",
            f"{rates[1]:,.0f}", f"{self.cpu:,.1f}", f"{self.written / MIB:,.0f}", f"{self.wchar / MIB:,.0f}",
            f"{self.disk / MIB:,.0f}", f"{self.memory / MIB:,.0f}", f"{self.pause:.2f}", self.failure,
        ]  # fmt: skip
        return "| " + " | ".join(cell.rjust(len(title)) for cell, title in zip(cells, TITLES, strict=True)) + " |"

    @property
    def times(self) -> tuple[float, float]:
        """Seconds of both phases; 0 for one that did not come to its end."""
        return self.growth, self.spending


TITLES = (
    "node     ", "dbcache", "growth s", "inputs/s", "spending s", "inputs/s", "cpu s", "written MB", "wchar MB",
    "disk MB", "memory MB", "RPC pause s", "",
)  # fmt: skip
HEAD = f"| {' | '.join(TITLES)} |\n|{'|'.join('---' for _ in TITLES)}|"


class Progress:
    """Tells on stderr how far something has come, now and then."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = self._told = time.monotonic()

    def at(self, done: int, all_of_it: int) -> None:
        """So much of it is done."""
        now = time.monotonic()
        if now - self._told >= TELL_S:
            self._told = now
            print(f"{self._what}: {done:,} of {all_of_it:,} after {now - self._begun:.0f} s", file=sys.stderr)


# -- the chain -------------------------------------------------------------------------------------------------------


def prepare(cache: Path, coins: int, blocks: int, block_bytes: int) -> Chain:
    """Make the chain, unless it is there."""
    path = cache / f"coins-{coins}-{blocks}-{block_bytes}.dat"
    figures = path.with_suffix(".json")
    if not figures.exists():
        cache.mkdir(parents=True, exist_ok=True)
        chain = CoinChain(PARAMS, block_bytes=block_bytes)
        progress = Progress("making the chain, coins")
        with path.open("wb") as file:
            for raw in chain.growth(coins):
                progress.at(chain.coins, coins)
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
            grown = {"grown": chain.height, "grown_inputs": chain.inputs}
            for raw in chain.spending(blocks):
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
        spent = {"height": chain.height, "inputs": chain.inputs - grown["grown_inputs"]}
        figures.write_text(json.dumps({**grown, **spent, "coins": coins}))
    return Chain(path, **json.loads(figures.read_text()))


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Family:
    """What a process and its descendants took; those that have ended count with what was seen of them last."""

    pid: int
    group: LimitedGroup | None = None
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
        self.memory = max(self.memory, memory if self.group is None else self.group.group.used())


def folder_size(folder: Path) -> int:
    """Bytes on disk of a folder's files."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


class TipTimes:
    """When a node has reached which height, by its own log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.times: dict[int, float] = {}
        self.height = -1

    def look(self) -> None:
        """Read what the log has more; an unfinished line waits."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return
        end = data.rfind(b"\n") + 1
        self._read += end
        for when, height in TIP.findall(data[:end].decode(errors="replace")):
            self.height = int(height)
            self.times.setdefault(self.height, datetime.fromisoformat(when).timestamp())

    def between(self, first: int, last: int) -> float:
        """Seconds from one height to another; 0 when they have not come."""
        return self.times[last] - self.times[first] if first in self.times and last in self.times else 0.0


class Asker:
    """Asks for the height again and again beside the measurement; keeps the longest time without an answer."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._asked = 0.0  # perf_counter of the question that waits, 0: none does
        self._longest = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        rpc: Rpc | None = None
        while not self._done.wait(POLL_S):
            try:
                if rpc is None:
                    rpc = Rpc(self._port, (self._folder / "regtest/.cookie").read_text())
                    rpc.exchange(rpc.prepare({"jsonrpc": "1.0", "id": 1, "method": "getblockcount", "params": []}))
                self._asked = time.perf_counter()
                rpc.call("getblockcount")
                self._longest = max(self._longest, time.perf_counter() - self._asked)
            except (OSError, RuntimeError, ValueError):
                rpc = None
            self._asked = 0.0

    def stop(self) -> float:
        """End it; returns the longest time, that of a question without an answer included."""
        asked = self._asked
        self._done.set()
        return max(self._longest, time.perf_counter() - asked if asked else 0.0)


class Greedy:
    """Clients who ask for what takes memory, without a pause; refusals and silence do not end them."""

    def __init__(self, folder: Path, port: int, clients: int) -> None:
        self._folder = folder
        self._port = port
        self._done = threading.Event()
        self.answers: Counter[str] = Counter()  # what was answered, or refused, how often
        self._threads = [threading.Thread(target=self._run, args=(at,), daemon=True) for at in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, first: int) -> None:
        wishes = (self._block, self._hex, self._rest, self._large, self._statistics)
        for at in count(first):
            if self._done.wait(POLL_S):
                return
            wish = wishes[at % len(wishes)]
            try:
                wish()
                self.answers[wish.__name__.strip("_")] += 1
            except (OSError, RuntimeError, ValueError, HTTPException) as error:
                self.answers[f"{wish.__name__.strip('_')}: {type(error).__name__}"] += 1

    def _call(self, method: str, *params: object) -> str:
        """The answer's text, not parsed; raises OSError, RuntimeError."""
        cookie = (self._folder / "regtest/.cookie").read_text()
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
        words = {"Authorization": "Basic " + b64encode(cookie.encode()).decode()}
        return self._exchange("POST", "/", body, words)

    def _exchange(self, verb: str, path: str, body: str | None, words: dict[str, str]) -> str:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(verb, path, body, words)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != HTTPStatus.OK:
                raise RuntimeError(f"{answer.status}: {text[:200]}")
            return text
        finally:
            connection.close()

    def _tip(self) -> str:
        return str(json.loads(self._call("getbestblockhash"))["result"])

    def _block(self) -> None:
        self._call("getblock", self._tip(), 3)

    def _hex(self) -> None:
        self._call("getblock", self._tip(), 0)

    def _rest(self) -> None:
        self._exchange("GET", f"/rest/block/{self._tip()}.json", None, {})

    def _large(self) -> None:
        self._call("decoderawtransaction", "00" * 10_000_000)

    def _statistics(self) -> None:
        self._call("gettxoutsetinfo")

    def stop(self) -> None:
        """No further question."""
        self._done.set()


def watch(name: str, process: subprocess.Popen[bytes], tips: TipTimes, chain: Chain, family: Family) -> None:
    """Look until all blocks are there; raises RuntimeError when the node ends, or takes too long."""
    begun, progress = time.perf_counter(), Progress(f"{name}, height")
    while tips.height < chain.height:
        tips.look()
        family.look()
        progress.at(tips.height, chain.height)
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode} at height {tips.height}")
        if time.perf_counter() - begun > TIMEOUT_S:
            raise RuntimeError(f"at height {tips.height} of {chain.height} after {TIMEOUT_S:.0f} s")
        time.sleep(5 * POLL_S)


def limit_of(text: str | None, chain: Chain) -> int | None:
    """Bytes of ``--memory-limit``."""
    if text is None:
        return None
    return chain.coins * SET_BYTES // 3 if text == "third" else int(text) * MIB


def measure(name: str, command: list[str], chain: Chain, dbcache: int, options: argparse.Namespace) -> Figures:
    """One node on one chain."""
    found = Figures(name, dbcache, inputs=(chain.grown_inputs, chain.inputs))
    limit = limit_of(options.memory_limit, chain)
    group = None if limit is None else LimitedGroup(limit)
    with tempfile.TemporaryDirectory(dir=options.cache) as directory:
        folder, port = Path(directory), free_port()
        mine = [f"-datadir={folder}", f"-rpcport={port}", f"-dbcache={dbcache}", f"-loadblock={chain.path}"]
        full = [*command, *OPTIONS, *mine]
        process = subprocess.Popen(
            full if group is None else group.enter(full), stdout=subprocess.DEVNULL, env=environment()
        )
        family, tips = Family(process.pid, group), TipTimes(folder / "regtest/debug.log")
        asker, greedy = Asker(folder, port), Greedy(folder, port, options.clients)
        try:
            watch(name, process, tips, chain, family)
            found.pause = asker.stop()
            greedy.stop()
            process.terminate()
            while process.poll() is None:
                family.look()
                time.sleep(POLL_S)
            found.disk = folder_size(folder / "regtest/chainstate")
        except RuntimeError as error:
            found.pause = asker.stop()
            found.failure = str(error)
        finally:
            greedy.stop()
            process.kill()
            process.wait()
            if group is not None:
                if group.kills:
                    found.failure = f"out of memory: {found.failure}"
                group.close()
        tips.look()
        if greedy.answers:
            print(f"{name}, clients: {dict(sorted(greedy.answers.items()))}", file=sys.stderr)
    found.growth, found.spending = tips.between(1, chain.grown), tips.between(chain.grown, chain.height)
    found.memory, found.cpu = family.memory, sum(family.ticks.values()) / os.sysconf("SC_CLK_TCK")
    found.written, found.wchar = (sum(pair[at] for pair in family.io.values()) for at in (0, 1))
    return found


COSTS: dict[str, Callable[[Chain, Figures], float]] = {
    "growth: us for each input": lambda chain, found: found.growth * 1e6 / chain.grown_inputs,
    "spending: us for each input": lambda chain, found: found.spending * 1e6 / chain.inputs,
    "bytes written for each coin": lambda chain, found: found.written / chain.coins,
}


def plot(path: Path, results: list[tuple[Chain, Figures]]) -> None:
    """What each input and each coin costs, against the number of coins."""
    whole = [(chain, found) for chain, found in results if not found.failure]
    lines = sorted({(found.name, found.dbcache) for _, found in whole})
    charts = []
    for title, cost in COSTS.items():
        points: dict[str, list[tuple[float, float]]] = {f"{name}, -dbcache={dbcache}": [] for name, dbcache in lines}
        for chain, found in whole:
            points[f"{found.name}, -dbcache={found.dbcache}"].append((chain.coins / MILLION, cost(chain, found)))
        charts.append(Chart(title, points))
    path.write_text(charts_as_svg(charts, "million coins"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", default="1,5,20", help="numbers of coins in millions, with commas (1,5,20)")
    parser.add_argument("--dbcache", default="100,450", help="MiB, with commas (100,450)")
    parser.add_argument("--bitcoind", default=os.environ.get("BTCNODE_BITCOIND"), help="a bitcoind to compare with")
    parser.add_argument("--only", choices=("btcnode", "bitcoind"), help="one of the two")
    parser.add_argument("--memory-limit", help="memory of the node's cgroup: third (of the set), or MiB")
    parser.add_argument("--clients", type=int, default=0, help="RPC clients who ask for what takes memory (0)")
    parser.add_argument("--blocks", type=int, default=40, help="blocks that spend (40)")
    parser.add_argument("--block-bytes", type=int, default=FULL_BLOCK, help="bytes of a block, for a quick try")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench", help="for chains")
    parser.add_argument("--plot", type=Path, help="picture of cost against coins, SVG")
    options = parser.parse_args()
    nodes = {"btcnode": [sys.executable, "-m", "btcnode.cli.daemon"]}
    if options.bitcoind:
        nodes["bitcoind"] = [shutil.which(options.bitcoind) or options.bitcoind]
    results = []
    for millions in options.coins.split(","):
        chain = prepare(options.cache, int(float(millions) * MILLION), options.blocks, options.block_bytes)
        limit = limit_of(options.memory_limit, chain)
        print(f"{chain.coins:,} coins, {chain.height} blocks, ", end="")
        print(f"memory limit {limit // MIB} MiB\n" if limit else "no memory limit\n")
        print(HEAD, flush=True)
        for dbcache in map(int, options.dbcache.split(",")):
            for name, command in nodes.items():
                if options.only in (None, name):
                    found = measure(name, command, chain, dbcache, options)
                    results.append((chain, found))
                    print(found.row(), flush=True)
        print()
    if options.plot:
        plot(options.plot, results)


if __name__ == "__main__":
    main()
