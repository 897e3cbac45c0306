"""Let one btcnode and one bitcoind lead the same random life on regtest, and tell where they part.

    python scripts/fuzz/beside_core.py --bitcoind /path/to/bitcoind --lives pool --seed 1 --worlds 10 --steps 300

``pool``: transactions of every kind under options of every kind, packages, deltas, blocks, reorganisations, restarts.
``talk``: peers that say anything in any order, and what each hears of both nodes.
``chain``: branches in any order with faults of every kind, blocks condemned and pardoned, restarts, chains connected
anew.
``signet``: a signet of its own, with solutions of every sort.
``purse``: wallets with the same keys, what comes and goes, reorganisations, imports, locks, reloads, and all they tell.
A world is named by its life, seed and number; the first difference of a world ends it. The exit status is 1 when
there was one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.beside_core.lives import LIVES, lead


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitcoind", default=os.environ.get("BTCNODE_BITCOIND"), help="the program to compare with")
    parser.add_argument("--lives", default=",".join(LIVES), help="which, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first world")
    parser.add_argument("--worlds", type=int, default=3, help="of each life")
    parser.add_argument("--steps", type=int, default=200, help="of each world")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no world after this time")
    parser.add_argument("--verbose", action="store_true", help="tell what came of the calls, and how often")
    args = parser.parse_args()
    if not args.bitcoind:
        parser.error("no bitcoind: --bitcoind or BTCNODE_BITCOIND names one")
    begun, parted, outcomes = time.monotonic(), 0, Counter[str]()
    for number in range(args.first, args.first + args.worlds):
        for name in args.lives.split(","):
            if time.monotonic() - begun > args.seconds:
                break
            with tempfile.TemporaryDirectory(prefix="beside-core-") as directory:
                pair, difference = lead(name, args.bitcoind, Path(directory), f"{args.seed} {number}", args.steps)
            print(f"{name}, seed {args.seed}, world {number}: {pair.calls} calls compared", flush=True)
            outcomes.update(pair.outcomes)
            if difference:
                parted += 1
                print(f"PARTED: {difference}", flush=True)
    if args.verbose:
        print("".join(f"{count:8d}  {outcome}\n" for outcome, count in outcomes.most_common()))
    return int(parted > 0)


if __name__ == "__main__":
    sys.exit(main())
