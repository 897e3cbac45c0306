"""Feed randomly changed blocks to libbitcoinkernel and to btcnode, and stop at the first that they judge differently.

    python scripts/fuzz/blocks.py --cases 100000 --seed 1

Needs py-bitcoinkernel. A case is named by seed and number; ``--seed S --first N`` begins again at the world (a fresh
pair of chains every 500 cases) that case N belongs to. The differing block is written to ``--keep``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.block_fuzz import BlockFuzzer
from tests.lib.block_lab import Lab
from tests.lib.block_trees import random_tree
from tests.lib.kernel_chain import DisagreementError, PairedChains
from tests.lib.kernels import compiled_kernels, with_kernels

WORLD = 500  # cases on one pair of chains
TREE_SIZE = 60


class Difference(Exception):
    """The two nodes disagreed on a block."""

    def __init__(self, text: str, raw: bytes) -> None:
        super().__init__(text)
        self.raw = raw


def open_world(directory: str) -> tuple[PairedChains, Lab]:
    params = params_for("regtest")
    chains = PairedChains(params, Path(directory))
    lab = Lab(params, now=int(time.time()))
    for raw in lab.prepare():
        chains.feed(raw, lab.now)
    return chains, lab


def run_world(seed: int, number: int, cases: int, counts: Counter[str]) -> None:
    """One world: changed blocks on a growing chain, then a random tree of forks on top; every other with kernels."""
    rng = Random(f"blocks {seed} {number}")
    with with_kernels(compiled_kernels() if number % 2 else None, always=True):
        _run_world(seed, number, cases, counts, rng)


def _run_world(seed: int, number: int, cases: int, counts: Counter[str], rng: Random) -> None:
    with tempfile.TemporaryDirectory() as directory:
        chains, lab = open_world(directory)
        fuzzer = BlockFuzzer(lab, rng)
        for case in range(cases):
            raw = fuzzer.case()
            try:
                outcome = chains.feed(raw, lab.now, details=False)
            except DisagreementError as error:
                raise Difference(f"seed {seed}, case {number * WORLD + case}: {error}", raw) from None
            block_hash = header_hash(raw[:HEADER_SIZE])
            verdict = outcome.of(block_hash)
            counts[verdict.reason.split(" (")[0] or "accepted" if verdict else "stored or known"] += 1
            if outcome.tip == block_hash != lab.tip_hash:
                fuzzer.accepted(raw)
            else:
                fuzzer.rejected()
        for block in random_tree(lab, rng, TREE_SIZE, faulty=0.2):
            try:
                chains.feed(block.raw, lab.now, details=False)
            except DisagreementError as error:
                raise Difference(f"seed {seed}, tree of world {number}: {error}", block.raw) from None
        chains.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, rounded down to its world")
    parser.add_argument("--keep", type=Path, default=Path("differing-block.bin"))
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    started = time.monotonic()
    first = args.first // WORLD
    left, number = args.cases, first
    while left > 0:
        try:
            run_world(args.seed, number, min(left, WORLD), counts)
        except Difference as difference:
            args.keep.write_bytes(difference.raw)
            print(f"{difference}\nblock of {len(difference.raw)} bytes in {args.keep}", file=sys.stderr)
            return 1
        left -= WORLD
        number += 1
    done = sum(counts.values())
    for reason, count in counts.most_common():
        print(f"{count:8d}  {reason}")
    print(f"{done} blocks, {len(counts)} outcomes, no difference; {done / (time.monotonic() - started):.0f} blocks/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
