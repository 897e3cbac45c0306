"""A wallet that spends is killed over and over; nothing may be lost, and nothing spent twice.

    python scripts/fuzz/wallets.py --kills 200 --seed 1

A node in a process of its own sends, replaces and mines until it is killed (kill -9) after a random time; in every
other round it looks through the whole chain over and over beside that. At the next start every transaction and address
that it had answered has to be there, and its balance has to be what the UTXO set has for its descriptors. No coin may
be signed into two transactions of which none replaces the other, unless the earlier one was dead at that moment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.wallet_kills import SpendingLife


def main() -> int:
    """The exit status is 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description="Kill a node whose wallet spends.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="longest time between a start and a kill")
    options = parser.parse_args()
    random = Random(f"{options.seed} times")
    with tempfile.TemporaryDirectory(prefix="wallet-kills-") as folder:
        life = SpendingLife(Path(folder), options.seed)
        try:
            life.begin()
            for number in range(options.kills):
                life.round(random.uniform(0.05, options.seconds), rescanning=number % 2 == 1)
                if life.problems:
                    print(f"FAILED at kill {number}, seed {options.seed}:", *life.problems, sep="\n  ", flush=True)
                    return 1
                if number % 10 == 9:
                    print(f"  {number + 1} kills, {len(life.answered)} transactions", flush=True)
        finally:
            life.node.__exit__()
    print(f"{options.kills} kills, {len(life.answered)} transactions; " + ", ".join(
        f"{what} {count}" for what, count in sorted(life.counts.items())
    ))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
