#!/usr/bin/env python3
"""Sync rate of btcnode's chainstate against py-bitcoinkernel (Bitcoin Core's engine), same chain, same run.

    python scripts/bench/sync.py [--blocks 4] [--txs 1000] [--small 100] [--runs 3] [--par 2] [--threads 2]
    python scripts/bench/sync.py --alone [--kernels]

The library's blocks are decoded before its clock runs, ours within. Without ``--par`` everything happens in one thread
of one process, with it in that many processes. Generates a regtest chain of signed spends (P2PKH,
P2WPKH, P2SH-P2WPKH, P2WSH and P2SH multisig, P2TR key and script), then feeds it block by block to both, alternating.
The library uses as many script threads as it likes. ``--alone`` leaves the library out and tells the processor time
of one process, by which versions of Python are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.compiled import allow, look_for
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.sync.checker import PooledChecker
from btcnode.sync.worker_pool import WorkerPool
from tests.lib.chain_generator import ChainGenerator

PARAMS = params_for("regtest")


def build(blocks: int, txs: int, small: int, seed: int) -> list[bytes]:
    """The chain; its big blocks come first, as the library checks its whole index for each block on regtest."""
    generator = ChainGenerator(PARAMS, seed)
    chain = list(generator.spread(int(txs * 3.2) + 1000))
    chain += [generator.busy(txs) for _ in range(blocks)]
    chain += [generator.block() for _ in range(small)]
    return chain


def run_btcnode(chain: list[bytes], split: int, par: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds by ``clock`` for the blocks from ``split`` on: all stored, then connected, then flushed."""
    pool = WorkerPool(par - 1, PARAMS) if par > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        store = ChainStore.open(Path(directory), PARAMS)
        state = Chainstate.open(PARAMS, store, checker=None if pool is None else PooledChecker(pool))
        now = int(time.time())
        for raw in chain[:split]:
            state.process_block(raw, now)
        if pool is not None:
            pool.start()
            while not pool.running:
                time.sleep(0.01)
        start = clock()
        for raw in chain[split:]:
            step = state.plan_store(raw, now, requested=True)
            assert step is not None
            state.run(step)
        state.activate_best_chain()
        state.flush()
        seconds = clock() - start
        assert state.active.height == len(chain)
        state.close()
    if pool is not None:
        pool.close()
    return seconds


def run_kernel(chain: list[bytes], split: int, threads: int) -> float:
    """Seconds for the blocks from ``split`` on."""
    import pbk

    with tempfile.TemporaryDirectory() as directory:
        options = pbk.ChainstateManagerOptions(
            pbk.make_context(pbk.ChainType.REGTEST), directory, str(Path(directory) / "blocks")
        )
        options.set_worker_threads_num(threads)
        manager = pbk.ChainstateManager(options)
        for raw in chain[:split]:
            manager.process_block(pbk.Block(raw))
        # the binding copies bytes slowly: that is not the engine's time, so its blocks are ready before the clock runs
        ready = [pbk.Block(raw) for raw in chain[split:]]
        start = time.perf_counter()
        for block in ready:
            manager.process_block(block)
        seconds = time.perf_counter() - start
        assert manager.get_active_chain().height == len(chain)
        del manager
    return seconds


def run_alone(chain: list[bytes], split: int, runs: int, inputs: int) -> None:
    """The least processor time of some runs in one process, without the library."""
    took = [run_btcnode(chain, split, 1, time.process_time) for _ in range(runs)]
    print(f"processor time: least {min(took) / inputs * 1e6:.1f} us/input")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4, help="big blocks")
    parser.add_argument("--txs", type=int, default=1000, help="transactions in each of them")
    parser.add_argument("--small", type=int, default=0, help="empty blocks behind them")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--par", type=int, default=1, help="processes of btcnode")
    parser.add_argument("--threads", type=int, default=0, help="worker threads of the library")
    parser.add_argument("--alone", action="store_true", help="btcnode without the library, in one process")
    parser.add_argument("--kernels", action="store_true", help="load the kernels that are there")
    options = parser.parse_args()
    if options.kernels:
        allow(make=False)
        if look_for() is None:
            parser.error("there are no kernels: python -m btcnode.compiled makes them")
    chain = build(options.blocks, options.txs, options.small, options.seed)
    split = len(chain) - options.blocks - options.small
    inputs = sum(len(parse_block(raw).in_pos) - 1 for raw in chain[split:])
    size = sum(map(len, chain[split:]))
    print(f"chain: {len(chain)} blocks, measured {len(chain) - split} with {inputs} inputs, {size / 1e6:.1f} MB")
    if options.alone:
        run_alone(chain, split, options.runs, inputs)
        return
    ratios = []
    for number in range(options.runs):
        ours, theirs = run_btcnode(chain, split, options.par), run_kernel(chain, split, options.threads)
        ratios.append(theirs / ours)
        print(
            f"run {number + 1}: btcnode {inputs / ours:,.0f} inputs/s, kernel {inputs / theirs:,.0f} inputs/s,"
            f" ratio {theirs / ours:.2f}"
        )
    print(f"rate of btcnode over that of py-bitcoinkernel: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
