"""Give btcnoded and a bitcoind the same command lines, bitcoin.conf and settings.json, and compare what comes of it.

    python scripts/fuzz/options.py --bitcoind /path/to/bitcoind --seed 1 --cases 1000

Cases are random mixtures of all options of bitcoind with values of every form, sections, includes, odd files; with
``--systematic`` every option by itself with every value, by every way in (some 28,000, of which ``--cases`` are drawn).
Compared are exit status, standard error, and what nodes that come up tell of themselves. Prints each kind of difference
with the shortest case; the exit status is 1 when there is one. The same seed asks the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.option_diff.cases import mixtures, options_of, systematic
from tests.lib.option_diff.compare import compare
from tests.lib.option_diff.run import Bench


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitcoind", default=os.environ.get("BTCNODE_BITCOIND"), help="the program to compare with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--systematic", action="store_true", help="every option by itself instead of mixtures")
    parser.add_argument("--options", default="", help="only these, separated by commas")
    args = parser.parse_args()
    if not args.bitcoind:
        parser.error("no bitcoind: give --bitcoind or set BTCNODE_BITCOIND")
    options = list(filter(None, args.options.split(","))) or options_of(args.bitcoind)
    cases = systematic(args.seed, options) if args.systematic else mixtures(args.seed, options)
    with tempfile.TemporaryDirectory(prefix="option-fuzz-") as directory:
        report = compare(Bench(Path(directory), args.bitcoind), islice(cases, args.cases), args.seconds)
    print(report.text())
    return 1 if report.kinds else 0


if __name__ == "__main__":
    sys.exit(main())
