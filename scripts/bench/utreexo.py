#!/usr/bin/env python3
"""A node without coins beside a full one: both sync the same chain from the same bridge, every script verified.

    python scripts/bench/utreexo.py [--blocks 200] [--txs 2500] [--small 1800] [--seed 1] [--par 2]
                                    [--only full,compact] [--memory-limit MIB] [--no-roots]

The chain is that of ibd.py, built once and kept (``--cache``): coins are spread, then ``--blocks`` blocks of ``--txs``
transactions of the usual mix, then small ones. A node with ``--utreexoindex`` has it first. The clock, and the
processor time of the node's own process and of its workers, run from a fresh node's answering RPC until it has the
last block. Processor time tells more on a machine that does other things, and where the bridge shares it: what it takes
to make the answers is not counted. ``state`` is what is kept of the set of coins: the files of coins, or the
roots after the tip. Before the table the roots after each block are compared with the bridge's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from scripts.bench.ibd import Chain, Server, family_cpu, family_memory, prepare
from tests.lib.memory_group import LimitedGroup
from tests.lib.process import NodeProcess, wait_until

POLL = 0.05
LIMIT = 7200.0  # seconds for one sync
WORDS = {"full": ("--assumevalid", "0"), "compact": ("--assumevalid", "0", "--utreexo-csn")}


@dataclass
class Figures:
    """One sync: seconds, processor seconds of the own process and of its workers, peak memory, bytes on disk."""

    seconds: float
    cpu: float
    worker_cpu: float
    memory: int
    state: int
    disk: int
    roots: str = ""  # how many, of how many leaves

    @property
    def all_cpu(self) -> float:
        """Processor seconds of all its processes."""
        return self.cpu + self.worker_cpu


@contextmanager
def bridge_of(chain: Chain) -> Iterator[NodeProcess]:
    """A node that has the chain and the proof of each block."""
    server = Server(chain)
    try:
        server.go()
        with tempfile.TemporaryDirectory() as folder:
            words = ("--utreexoindex", "--peerutreexoproofs", "--assumevalid", "0", "--connect", server.address)
            with NodeProcess(Path(folder), "regtest", *words).start() as bridge:
                bridge.wait_height(chain.total, LIMIT)
                wait_until(lambda: bridge.rpc("getindexinfo")["utreexoindex"]["synced"], LIMIT, "the index")
                yield bridge
    finally:
        server.close()


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(name: str, chain: Chain, bridge: NodeProcess, options: argparse.Namespace) -> tuple[Figures, list[str]]:
    """Sync a fresh node; its figures, and the roots after each block where it keeps roots."""
    with tempfile.TemporaryDirectory() as folder, limited(options.memory_limit) as group:
        words = ("--connect", bridge.address, "--par", str(options.par), *WORDS[name])
        node = NodeProcess(Path(folder), "regtest", *words, listen=False)
        node.prefix = () if group is None else tuple(group.enter([]))
        with node.start():
            assert node.process is not None
            pid = node.process.pid
            start, begun, memory = time.perf_counter(), family_cpu(pid), 0
            while node.rpc("getblockcount") < chain.total:
                memory = max(memory, family_memory(pid))
                if time.perf_counter() - start > LIMIT:
                    raise TimeoutError(f"not at height {chain.total} after {LIMIT:.0f} s")
                time.sleep(POLL)
            seconds, ended = time.perf_counter() - start, family_cpu(pid)
            cpu, worker_cpu = (after - before for before, after in zip(begun, ended, strict=True))
            roots = [] if name == "full" or options.no_roots else roots_of(node, chain.total)
            told = node.rpc("getutreexoroots") if name == "compact" else None
            state = 0 if told is None else 32 + len(told["hex"]) // 2
            kept = "" if told is None else f"{len(told['roots'])} of {told['numleaves']:,} leaves"
            assert node.stop() == 0
            state = state or size_of(node.net_dir / "chainstate" / "coins")
            peak = memory if group is None else group.peak
            return Figures(seconds, cpu, worker_cpu, peak, state, size_of(node.net_dir), kept), roots


@contextmanager
def limited(limit: int | None) -> Iterator[LimitedGroup | None]:
    """A control group with so many MiB of memory, None for none."""
    if limit is None:
        yield None
        return
    with LimitedGroup(limit << 20) as group:
        yield group


def roots_of(node: NodeProcess, height: int) -> list[str]:
    """The roots after each block, as far back as they are kept."""
    first = max(1, height - 4095)
    return [node.rpc("getutreexoroots", node.rpc("getblockhash", at))["hex"] for at in range(first, height + 1)]


def line(name: str, chain: Chain, figures: Figures, full: Figures | None) -> str:
    """One row of the table."""
    ratios = ("", "")
    if full is not None and figures is not full:
        ratios = (f"{full.seconds / figures.seconds:.2f}", f"{full.all_cpu / figures.all_cpu:.2f}")
    rate = chain.all_inputs / figures.seconds
    cpu = f"{figures.cpu:.1f} + {figures.worker_cpu:.1f}"
    sizes = f"{figures.state:,} | {figures.roots} | {figures.disk / 1e6:,.1f}"
    return (
        f"| {name} | {figures.seconds:.1f} | {rate:,.0f} | {ratios[0]} | {cpu} | {ratios[1]} | {figures.memory >> 20}"
        f" | {sizes} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=200, help="large blocks")
    parser.add_argument("--txs", type=int, default=2500, help="transactions in each")
    parser.add_argument("--small", type=int, default=1800, help="small blocks above")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--par", type=int, default=2, help="processes that verify scripts")
    parser.add_argument("--only", default="full,compact", help="which nodes, in this order")
    parser.add_argument("--memory-limit", type=int, help="MiB, of each node that is measured")
    parser.add_argument("--no-roots", action="store_true", help="do not compare the roots after every block")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    options = parser.parse_args()
    chain, found = prepare(options), dict[str, Figures]()
    with bridge_of(chain) as bridge:
        for name in options.only.split(","):
            found[name], roots = run(name, chain, bridge, options)
            if roots and roots != roots_of(bridge, chain.total):
                raise SystemExit("the roots differ from the bridge's")
            if roots:
                print(f"the roots after the last {len(roots)} blocks are the bridge's")
    transactions = f"{chain.txs:,} transactions in large ones"
    print(f"{chain.total} blocks, {transactions}, {chain.all_inputs:,} inputs, --par {options.par}")
    columns = "seconds | inputs/s | of full's | CPU: node + workers | of full's | MB at most | state | roots | disk MB"
    print(f"| node | {columns} |")
    for name, figures in found.items():
        print(line(name, chain, figures, found.get("full")))


if __name__ == "__main__":
    main()
