#!/usr/bin/env python3
"""What SwiftSync reads of strangers, and nodes that are killed while they sync with hints.

    python scripts/fuzz/swiftsync.py --rounds 100000 --seed 1    hintsfiles and bspent messages, good and bent
    python scripts/fuzz/swiftsync.py --kills 30 --seed 1         kill -9 at random moments of each kind of sync
    python scripts/fuzz/swiftsync.py --kills 30 --kind full      of one kind only

Bytes may be refused or read, and what is read has one form only; nothing else may come of them. A node that was killed
goes on by itself, and its UTXO set is that of a node that has synced as usual. A failure names seed and round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.swift_fuzz import fuzz, kill_often
from tests.lib.swift_nodes import KINDS

OUTPUTS, BLOCKS, TXS, ABOVE = 1500, 60, 40, 5  # of the chain that nodes sync


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0, help="of each kind of bytes")
    parser.add_argument("--kills", type=int, default=0, help="of a node in each kind of sync")
    parser.add_argument("--kind", choices=KINDS, help="this one only")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.rounds:
        begun = time.monotonic()
        for what, count in sorted(fuzz(args.rounds, args.seed).items()):
            print(f"{count:8} {what}")
        print(f"seed {args.seed}: {args.rounds} rounds of each in {time.monotonic() - begun:.0f} s")
    if args.kills:
        params = params_for("regtest")
        generator = ChainGenerator(params, seed=args.seed)
        chain = [*generator.spread(OUTPUTS), *(generator.busy(TXS) for _ in range(BLOCKS))]
        for kind in [args.kind] if args.kind else KINDS:
            begun = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                kill_often(params, chain, ABOVE, kind, args.kills, args.seed, Path(folder))
            print(f"seed {args.seed}: {args.kills} kills, {kind}, in {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
