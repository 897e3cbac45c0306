#!/usr/bin/env python3
"""Exports beside published Python parsers of blocks, and verification in parts beside the node's own sync, in one run.

    python scripts/bench/data.py [--blocks 20] [--txs 2500] [--processes 2] [--workers 1,2,4] [--large 128]
                                 [--dask 1,2,4] [--only sync,export,parsers,verify,dask,large]
                             [--plot workers.svg] [--json FILE]

A node imports a chain of signed spends (``sync``; the chain is built once and kept in ``--cache``). Its block files are
exported as all tables with spent outputs by ``--processes`` (``export``, Parquet on the disk at the end), parsed by as
many processes of published packages (``parsers``: python-bitcointx, which btcnode depends on, and blockchain-parser,
where that is installed; they get blocks from memory, look at every field, write nothing and do not know what is spent),
and verified by ``--workers`` (``verify``, processes of the machine) and by workers of a Dask LocalCluster (``dask``;
its start is in neither time). ``large``: a chain of so many megabytes without signatures is exported and
verified too, for the memory that it takes.

Printed are inputs per second, megabytes of blocks per second, processor seconds of all processes, and the most resident
memory of a single process. Seconds are those of the clock: on a machine that does other things look at those of the
processor. ``--plot``: the throughput of each worker over time, of the last verification.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.header import HEADER_SIZE
from scripts.bench import ibd
from tests.lib.coin_chain import CoinChain
from tests.lib.process import NodeProcess, environment

PARAMS = params_for("regtest")
MEGA = 1_000_000
POLL_S = 0.05
FIRST_COINS = 0.6  # part of the large chain that makes coins, the rest spends them
COINS_PER_BLOCK = 24_850  # that a full block makes, of those 997,000 bytes long


class Row(NamedTuple):
    """A measurement: ``inputs`` and ``size`` (bytes of blocks) in ``seconds``, processor time, most memory (bytes)."""

    name: str
    inputs: int
    size: int
    seconds: float
    cpu: float
    memory: int = 0

    def line(self) -> str:
        """As a row of a Markdown table."""
        memory = f"{self.memory / MEGA:.0f} MB" if self.memory else ""
        return (
            f"| {self.name} | {self.inputs / self.seconds:,.0f} | {self.size / MEGA / self.seconds:.2f} |"
            f" {self.seconds:.1f} | {self.cpu:.1f} | {self.inputs / max(self.cpu, 1e-3):,.0f} | {memory} |"
        )


HEAD = (
    "| | inputs/s | MB/s | seconds | processor seconds | inputs per processor second | memory |\n"
    "|---|---|---|---|---|---|---|"
)


class Memory:
    """The most resident memory that a single process of a family had, polled."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._end.wait(POLL_S):
            self.most = max(self.most, max(_family(self._pid).values(), default=0))


def _family(pid: int) -> dict[int, int]:
    """Resident bytes of a process and all below it."""
    parents, sizes = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(path.parent.name)], sizes[int(path.parent.name)] = int(words[1]), int(words[21]) * ibd.PAGE
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return {member: sizes.get(member, 0) for member in family}


def children_cpu() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def command(*words: object) -> tuple[float, float, int, str]:
    """Carry out a command of btcnode: seconds, processor seconds, most memory of a process, what it has said."""
    began, cpu = time.perf_counter(), children_cpu()
    process = subprocess.Popen(
        [sys.executable, "-m", "btcnode", *map(str, words)], stdout=subprocess.PIPE, text=True, env=environment()
    )
    with Memory(process.pid) as memory:
        said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"btcnode {words[0]} has failed: {said}")
    return time.perf_counter() - began, children_cpu() - cpu, memory.most, said


@contextmanager
def synced(path: Path, height: int, processes: int) -> Iterator[tuple[Path, float, float]]:
    """The block folder of a node that has imported a file, its seconds from the first block on, processor seconds."""
    with tempfile.TemporaryDirectory() as directory:
        load = ("--connect", "0", "--loadblock", str(path), "--par", str(processes))
        cpu = children_cpu()
        with NodeProcess(Path(directory), "regtest", *load, listen=False) as node:
            node.start()
            began = time.perf_counter()
            ended = ibd.watch(node, height, ibd.Result(), began, limit=3600.0)
            assert node.stop() == 0
            folder = Path(node.datadir) / "regtest" / "blocks"
        yield folder, ended - began, children_cpu() - cpu


# -- parsers of others -----------------------------------------------------------------------------------------------


def parse_with_bitcointx(raws: Sequence[bytes]) -> int:
    """Every field of every transaction by python-bitcointx; returns the number of inputs."""
    from bitcointx import ChainParams
    from bitcointx.core import CTransaction
    from bitcointx.core.serialize import VarIntSerializer

    inputs = 0
    with ChainParams("bitcoin/regtest"):
        for raw in raws:
            stream = BytesIO(raw[HEADER_SIZE:])
            for _ in range(VarIntSerializer.stream_deserialize(stream)):
                tx = CTransaction.stream_deserialize(stream)
                tx.GetTxid()
                tx.GetHash()
                for txin in tx.vin:
                    inputs += len(txin.prevout.hash + bytes(txin.scriptSig)) > 0
                for txout in tx.vout:
                    inputs += txout.nValue < 0 or len(txout.scriptPubKey) < 0
    return inputs


def parse_with_blockchain_parser(raws: Sequence[bytes]) -> int:
    """Every field of every transaction by blockchain-parser; returns the number of inputs."""
    from blockchain_parser.block import Block

    inputs = 0
    for raw in raws:
        for tx in Block(raw).transactions:
            inputs += tx.txid == "" or tx.hash == ""
            for txin in tx.inputs:
                inputs += len(txin.transaction_hash) + txin.transaction_index + txin.sequence_number >= 0
            for txout in tx.outputs:
                inputs += txout.value < 0 or txout.type == ""
    return inputs


def parsers() -> dict[str, Callable[[Sequence[bytes]], int]]:
    """Those that are installed."""
    found: dict[str, Callable[[Sequence[bytes]], int]] = {"python-bitcointx": parse_with_bitcointx}
    try:
        import blockchain_parser  # noqa: F401
    except ImportError:
        print("blockchain-parser is not installed: pip install blockchain-parser", file=sys.stderr)
    else:
        found["blockchain-parser"] = parse_with_blockchain_parser
    return found


def parsed_by_others(raws: list[bytes], inputs: int, processes: int, part: float) -> Iterator[Row]:
    """Each parser on a part of the blocks, divided among processes."""
    some = raws[-max(processes, int(part * len(raws))) :]
    size, share = sum(map(len, some)), inputs * sum(map(len, some)) // sum(map(len, raws))
    for name, function in parsers().items():
        cpu = children_cpu()
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(len, [b""] * processes))
            began = time.perf_counter()
            found = sum(pool.map(function, [some[number::processes] for number in range(processes)]))
            seconds = time.perf_counter() - began
        counted = found - sum(parse_block(raw).n_tx > 0 for raw in some)
        assert counted > 0 or share == 0, name
        yield Row(f"{name}, {processes} processes", counted, size, seconds, children_cpu() - cpu)


# -- what is measured ------------------------------------------------------------------------------------------------


class Run:
    """The rows of a run, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Print and keep a row."""
        if not self.rows:
            print(HEAD)
        self.rows.append(row)
        print(row.line(), flush=True)


def export(run: Run, folder: Path, inputs: int, size: int, processes: int, name: str = "") -> None:
    """All tables, with spent outputs."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        words = ("--network", "regtest", "--blocks", folder, "--out", Path(out) / "chain", "--with-prevouts")
        seconds, cpu, memory, _ = command("export", *words, "--workers", processes, "--partition", 10)
        written = sum(path.stat().st_size for path in Path(out).rglob("*.parquet"))
    run.add(Row(f"btcnode export{name}, {processes} processes", inputs, size, seconds, cpu, memory))
    print(f"  ({written / MEGA:.1f} MB of Parquet)", file=sys.stderr)


def verify(
    run: Run, folder: Path, workers: int, task_mb: int, plot: Path | None, name: str = "", scheduler: str = ""
) -> None:
    """Every rule and script again; of a scheduler's workers it is not known what they take."""
    with tempfile.TemporaryDirectory() as out:
        report = Path(out) / "report.json"
        words: list[Any] = ["--network", "regtest", "--blocks", folder, "--report", report, "--task-mb", task_mb]
        words += [] if plot is None else ["--plot", plot]
        words += ["--scheduler", scheduler] if scheduler else ["--workers", workers]
        _, cpu, memory, _ = command("verify", *words)
        told = json.loads(report.read_text())
    cpu += sum(worker["cpu"] for worker in told["workers"].values()) if scheduler else 0.0
    run.add(Row(f"btcnode verify{name}, {workers} workers", told["inputs"], told["size"], told["seconds"], cpu, memory))


def verify_on_dask(run: Run, folder: Path, workers: int, task_mb: int) -> None:
    """The same on a cluster of Dask's, whose scheduler is in this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        verify(run, folder, workers, task_mb, None, " on Dask", cluster.scheduler_address)


def large(run: Run, megabytes: int, processes: int, cache: Path) -> None:
    """Memory with a chain of so many megabytes."""
    path = cache / f"data-large-{megabytes}.dat"
    made = CoinChain(PARAMS)
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        coins = max(1, int(FIRST_COINS * megabytes) * COINS_PER_BLOCK)
        with path.with_suffix(".new").open("wb") as file:
            for raw in (*made.growth(coins), *made.spending(max(1, int((1 - FIRST_COINS) * megabytes)))):
                file.write(PARAMS.magic + len(raw).to_bytes(4, "little") + raw)
        path.with_suffix(".new").rename(path)
    raws = ibd.read_chain(path)
    inputs = sum(len(parse_block(raw).in_pos) - 1 for raw in raws)
    size = sum(map(len, raws))
    height = len(raws)
    del raws
    with synced(path, height, processes) as (folder, _, _):
        export(run, folder, inputs, size, processes, f" of {size / MEGA:.0f} MB")
        verify(run, folder, processes, 16, None, f" of {size / MEGA:.0f} MB")


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20, help="large blocks of signed spends")
    parser.add_argument("--txs", type=int, default=2500, help="transactions in each of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2, help="for the sync, exports and parsers")
    parser.add_argument("--workers", default="1,2,4", help="for verification")
    parser.add_argument("--dask", default="1,2,4", help="for verification on Dask")
    parser.add_argument("--task-mb", type=int, default=1)
    parser.add_argument("--part", type=float, default=0.2, help="of the blocks for parsers, which are slow")
    parser.add_argument("--large", type=int, default=128, help="megabytes of the chain for memory")
    parser.add_argument("--only", default="sync,export,parsers,verify,dask,large")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.small = 0
    return options


def main() -> None:
    options = arguments()
    only = options.only.split(",")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    chain = ibd.prepare(options)
    raws = ibd.read_chain(chain.path)
    size = sum(map(len, raws))
    print(f"chain: {chain.total} blocks, {chain.all_inputs} inputs, {size / MEGA:.1f} MB")
    run = Run()
    with synced(chain.path, chain.total, options.processes) as (folder, seconds, cpu):
        if "sync" in only:
            run.add(Row(f"sync of the node, --par {options.processes}", chain.all_inputs, size, seconds, cpu))
        if "export" in only:
            for processes in sorted({1, options.processes}):
                export(run, folder, chain.all_inputs, size, processes)
        if "parsers" in only:
            for row in parsed_by_others(raws, chain.all_inputs, options.processes, options.part):
                run.add(row)
        if "verify" in only:
            for workers in map(int, options.workers.split(",")):
                verify(run, folder, workers, options.task_mb, options.plot)
        if "dask" in only:
            for workers in map(int, options.dask.split(",")):
                verify_on_dask(run, folder, workers, options.task_mb)
    del raws
    if "large" in only:
        large(run, options.large, options.processes, options.cache)
    if options.json is not None:
        options.json.write_text(json.dumps([row._asdict() for row in run.rows], indent=1))


if __name__ == "__main__":
    main()
