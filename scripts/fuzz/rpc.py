"""Ask btcnode and a bitcoind the same over RPC and REST, every method with systematic and random arguments.

    python scripts/fuzz/rpc.py --bitcoind /path/to/bitcoind --seed 1 --cases 50

Both run on regtest over the same chain, branches and mempool, with the same scripted peers, in several set-ups (one of
them in initial block download, one on a loaded UTXO set with blocks below it still to come, one without its old
blocks). A walk ends each: calls and messages that change both, and all they tell after each. More set-ups start nodes
of their own: users and what they may ask (`access`), other networks and rules that begin elsewhere (`networks`). In
`replies` btcnode-cli and bitcoin-cli get replies of every form from a server that is no node. Prints each kind of
difference with the shortest request that shows it; the exit status is 1 when there is one. Without a bitcoind
(``--bitcoind`` or ``BTCNODE_BITCOIND``) only btcnode is asked, and a kind is an answer with an internal error (-32603).
The same seed asks the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.rpc_diff.asking import Plan, Report
from tests.lib.rpc_diff.run import ADDRESSED, EVERY_PASS, SUBJECTS, WALKS, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitcoind", default=os.environ.get("BTCNODE_BITCOIND"), help="the program to compare with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=30, help="random calls of each method besides the systematic ones")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument(
        "--methods",
        default="",
        help=f"only these, separated by commas; {', '.join(ADDRESSED)} are paths of HTTP, {', '.join(WALKS)} are long "
        f"histories, and {', '.join(SUBJECTS)} ask all methods about one thing",
    )
    parser.add_argument("--steps", type=int, default=60, help="steps of a walk")
    parser.add_argument("--rounds", type=int, default=2, help="how many sets of options 'access' and 'networks' try")
    parser.add_argument("--passes", default=",".join(EVERY_PASS), help="which options the nodes have")
    parser.add_argument("--random-only", action="store_true", help="leave the systematic calls out")
    parser.add_argument("--verbose", action="store_true", help="tell each method")
    args = parser.parse_args()
    plan = Plan(
        args.seed, args.cases, args.seconds, tuple(filter(None, args.methods.split(","))),
        tuple(args.passes.split(",")), not args.random_only, args.verbose, args.steps, args.rounds,
    )  # fmt: skip
    report = Report()
    try:
        with tempfile.TemporaryDirectory(prefix="rpc-fuzz-") as directory:
            run(plan, Path(directory), args.bitcoind, report)
    finally:  # what was found before somebody lost patience, or a node its life
        print(report.text())
    return 1 if report.kinds else 0


if __name__ == "__main__":
    sys.exit(main())
