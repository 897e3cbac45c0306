#!/usr/bin/env python3
"""Random additions, deletions and undoing in a Utreexo forest, beside a naive one and a verifier with the roots only.

    python scripts/fuzz/utreexo.py --operations 1000000 --seed 1

After every block both have the same roots; forged proofs are refused. A failure names the seed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.utreexo_fuzz import fuzz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1_000_000, help="leaves added, deleted and brought back")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.monotonic()
    print(f"seed {args.seed}", flush=True)
    for what, count in sorted(fuzz(args.operations, args.seed).items()):
        print(f"{count:8} {what}")
    print(f"seed {args.seed}: {args.operations} operations in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
