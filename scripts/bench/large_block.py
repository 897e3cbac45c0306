#!/usr/bin/env python3
"""How long one block takes from its last byte to the new tip when none of it is known, by its size and by processes.

    python scripts/bench/large_block.py [--transactions 64,512,4000] [--par 1,2,3] [--runs 3]

Each block stands alone at the tip, as when a node comes across a block whose transactions it has never seen: bytes in,
parsed and checked, stored, connected, every script verified. Its transactions are signed spends of all templates.
Printed are milliseconds, the shortest of the runs, for each number of processes (``-par``); then what the one thread
that connects blocks does of it, and how long parts that are not divided take by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.consensus.blocks import check_block
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.merkle import merkle_root
from btcnode.sync.checker import PooledChecker
from btcnode.sync.driver import ChainDriver
from btcnode.sync.worker_pool import WorkerPool
from tests.lib.chain_generator import ChainGenerator

PARAMS = params_for("regtest")


def build(sizes: list[int], runs: int) -> tuple[list[bytes], list[bytes]]:
    """Blocks that make coins, and those to measure: one of each size in each run."""
    generator = ChainGenerator(PARAMS, 1)
    before = list(generator.spread(int(sum(sizes) * runs * 3.2) + 1000))
    return before, [generator.busy(size) for _ in range(runs) for size in sizes]


def start(pool: WorkerPool) -> None:
    """Have the processes, and wait until they work."""
    pool.start()
    while not pool.running:
        time.sleep(0.01)


async def measure(before: list[bytes], blocks: list[bytes], par: int) -> list[tuple[float, float]]:
    """Milliseconds of each block, and those of the chain thread."""
    pool = WorkerPool(par - 1, PARAMS) if par > 1 else None
    found: list[tuple[float, float]] = []
    failures: list[BaseException] = []
    with tempfile.TemporaryDirectory() as directory:
        store = ChainStore.open(Path(directory), PARAMS)
        state = Chainstate.open(PARAMS, store, checker=None if pool is None else PooledChecker(pool))
        driver = ChainDriver(state, on_fatal=failures.append, pool=pool)
        now = int(time.time())
        for raw in before:
            await driver.store_block(raw, now, requested=True)
        await driver.settled()
        if pool is not None:
            await asyncio.to_thread(start, pool)
        for raw in blocks:
            busy, begun = sum(driver.busy_seconds.values()), time.perf_counter()
            outcome = await driver.store_block(raw, now, requested=True)
            await driver.settled()
            took = time.perf_counter() - begun
            assert outcome.violation is None and state.tip == outcome.index
            found.append((1000 * took, 1000 * (sum(driver.busy_seconds.values()) - busy)))
        await driver.close()
    if pool is not None:
        pool.close()
    if failures:
        raise failures[0]
    return found


def alone(raw: bytes) -> tuple[float, float, float]:
    """Milliseconds for parsing a block, checking it alone, and one merkle root."""
    times = [time.perf_counter()]
    block = parse_block(raw)
    times.append(time.perf_counter())
    check_block(block, PARAMS)
    times.append(time.perf_counter())
    merkle_root(block.wtxids)
    times.append(time.perf_counter())
    return 1000 * (times[1] - times[0]), 1000 * (times[2] - times[1]), 1000 * (times[3] - times[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", default="16,32,64,128,512,2500,4000", help="of the blocks, with commas")
    parser.add_argument("--par", default="1,2,3", help="processes, with commas (1,2,3)")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    sizes, pars = ([int(word) for word in words.split(",")] for words in (options.transactions, options.par))
    before, blocks = build(sizes, options.runs)
    results = {par: asyncio.run(measure(before, blocks, par)) for par in pars}
    titles = ["transactions", "inputs", "kB"]
    titles += [f"-par={par}: ms, chain thread" for par in pars] + ["parsing", "checks", "one root"]
    print(f"| {' | '.join(titles)} |\n|{'|'.join('---' for _ in titles)}|")
    for place, size in enumerate(sizes):
        raw = blocks[place]
        cells = [f"{size:,}", f"{len(parse_block(raw).in_pos) - 1:,}", f"{len(raw) / 1000:,.0f}"]
        cells += ["{:.1f}, {:.1f}".format(*min(results[par][place :: len(sizes)])) for par in pars]
        cells += [f"{value:.1f}" for value in map(min, zip(*(alone(raw) for _ in range(3)), strict=True))]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
