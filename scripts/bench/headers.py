"""What a million headers cost: memory, loading from LMDB, adding, finding; and a flood of low-work headers.

Usage: python scripts/bench/headers.py [--headers 1000000] [--directory DIR]

The chain is synthetic, of regtest headers that meet their target, spread over a few forks. Loading is measured in
a process of its own, whose resident memory is read from the operating system.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.presync import HeadersSync
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_STRUCT, header_hash
from btcnode.storage.block_index import BlockIndexStore
from btcnode.storage.database import Database
from btcnode.testing.blocks import grind

BITS = 0x207FFFFF
MIB = 1 << 20
FLUSH_ROWS = 100_000
FORK_EVERY = 50_000
SAMPLE = 200_000

# regtest's targets with mainnet's rule within a period (no 20-minute rule, which would look back at every header)
PARAMS = replace(params_for("regtest"), allow_min_difficulty_blocks=False)


def resident() -> dict[str, float]:
    """MiB of this process: all, without mapped files, and the peak."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon", "VmHWM"):
            found[name] = int(value.split()[0]) / 1024
    return found


def build(directory: Path, count: int) -> None:
    """Add ``count`` headers through all rules, storing them now and then; prints the rate."""
    database = Database.open(directory)
    tree = HeaderTree(PARAMS)
    now = int(time.time())
    parent, stamp = tree.raw(0), tree.time(0)
    spent = 0.0
    batch: list[bytes] = []
    for number in range(1, count):
        if number % FORK_EVERY == 0:  # a stale sibling of the last header
            batch.append(grind(parent[:36] + random.Random(number).randbytes(32) + parent[68:]))
        else:
            stamp += 1
            parent = grind(HEADER_STRUCT.pack(0x20000000, header_hash(parent), bytes(32), stamp, BITS, 0))
            batch.append(parent)
        if len(batch) == 2000 or number == count - 1:
            began = time.perf_counter()
            result = tree.add_many(batch, now)
            spent += time.perf_counter() - began
            if result.violation is not None:
                raise result.violation
            batch.clear()
        if number % FLUSH_ROWS == FLUSH_ROWS - 1 or number == count - 1:
            record = tree.columns.record
            database.commit(index_puts=[(row, record(row)) for row in tree.take_dirty()])
    database.close()
    print(f"add: {len(tree) / spent:,.0f} headers/s through all rules, {len(tree):,} headers")


def load(directory: Path) -> None:
    """Load the tree; prints time, memory and rates."""
    before = resident()
    database = Database.open(directory)
    began, cpu = time.perf_counter(), time.process_time()
    columns = BlockIndexStore(database).load()
    read = time.perf_counter() - began
    tree = HeaderTree(PARAMS, columns)
    total, cpu = time.perf_counter() - began, time.process_time() - cpu
    after = resident()
    scale = 1_000_000 / len(tree)
    print(f"load: {total:.2f} s for {len(tree):,} headers ({read:.2f} s columns, {total - read:.2f} s tree)")
    print(
        f"memory: {after['VmRSS']:.0f} MiB resident, whole process ({after['RssAnon']:.0f} without mapped files, "
        f"peak {after['VmHWM']:.0f}); {before['VmRSS']:.0f} MiB before loading"
    )
    print(f"per million headers: {total * scale:.2f} s, of which the processor {cpu * scale:.2f} s")
    rng = random.Random(1)
    hashes = [tree.hash(rng.randrange(len(tree))) for _ in range(SAMPLE)]
    began = time.perf_counter()
    for block_hash in hashes:
        tree.find(block_hash)
    print(f"find: {SAMPLE / (time.perf_counter() - began):,.0f} hashes/s")
    tip = tree.best_header
    heights = [rng.randrange(tree.height(tip)) for _ in range(SAMPLE // 10)]
    began = time.perf_counter()
    for height in heights:
        tree.ancestor(tip, height)
    print(f"ancestor: {len(heights) / (time.perf_counter() - began):,.0f} lookups/s from the tip to any height")
    database.close()


def flood(count: int) -> None:
    """One peer sends ``count`` low-work headers that follow each other."""
    regtest = params_for("regtest")
    sync = HeadersSync(regtest, HeaderTree(regtest), 0, 1 << 100, rng=random.Random(1), now=int(time.time()))
    parent = regtest.genesis_block[:80]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = 0.0
    for start in range(0, count, 2000):
        message = []
        for number in range(start, start + 2000):
            parent = HEADER_STRUCT.pack(4, header_hash(parent), bytes(32), number, BITS, 0)
            message.append(parent)
        began = time.perf_counter()
        if not sync.process_next_headers(message, True).request_more:
            raise SystemExit("the flood was stopped early")
        spent += time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"flood: {count:,} low-work headers at {count / spent:,.0f}/s, {sync.memory:,} bytes held, "
        f"peak memory {grown:+.1f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=int, default=1_000_000)
    parser.add_argument("--flood", type=int, default=2_000_000)
    parser.add_argument("--directory", type=Path, help="keep the database here, and use one that is there already")
    parser.add_argument("--load-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load_only:
        load(options.directory)
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        if not (directory / "chainstate" / "btcnode.mdb").exists():
            build(directory, options.headers)
        command = [sys.executable, os.fspath(Path(__file__)), "--load-only", "--directory", os.fspath(directory)]
        subprocess.run(command, check=True)
    flood(options.flood)


if __name__ == "__main__":
    main()
