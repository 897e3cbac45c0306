#!/usr/bin/env python3
"""What a simulated network costs: processor time, memory and messages, and what it says of an hour.

    python scripts/bench/simulate.py [--nodes 500] [--seconds 3600] [--form compact] [--rate 0.05] [--tick 2]

Each size runs in a process of its own, whose seconds and peak memory are printed with the digest, so that two runs
under different PYTHONHASHSEEDs can be compared. ``--nodes`` may be given several times.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
RUN = """
import json, resource, sys, time
from btcnode.simulate.run import simulate
from btcnode.simulate.scenario import read_scenario
from_start = time.perf_counter()
outcome = simulate(read_scenario(sys.argv[1]), progress=lambda share, text: None)
print(json.dumps({
    "wall": time.perf_counter() - from_start,
    "processor": time.process_time(),
    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "messages": outcome.messages_sent.total(),
    "blocks": outcome.blocks.percentiles(),
    "digest": outcome.digest,
}))
"""


def scenario(nodes: int, options: argparse.Namespace) -> str:
    """The scenario as TOML."""
    return (
        f"[network]\nnodes = {nodes}\nminers = {min(nodes, 10)}\n"
        f"tick = {options.tick}\nblock_relay = '{options.form}'\n"
        f"[time]\nduration = {options.seconds}\n[transactions]\nrate = {options.rate}\n"
    )


def measure(nodes: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one run."""
    command = [sys.executable, "-c", RUN, scenario(nodes, options)]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Read the arguments, print a line for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=3600.0, help="of simulated time, after 120 s of warming up")
    parser.add_argument("--form", default="compact", choices=("compact", "xthin", "plain"))
    parser.add_argument("--rate", type=float, default=0.05, help="transactions a second")
    parser.add_argument("--tick", type=float, default=2.0, help="seconds between two looks at timers")
    options = parser.parse_args()
    print(f"{'nodes':>6} {'wall s':>8} {'cpu s':>8} {'MB':>7} {'messages':>10} {'blocks 50 %':>12} {'99 %':>8}  digest")
    for nodes in options.nodes or [500]:
        figures = measure(nodes, options)
        reached = [
            f"{t:.2f} s" if (t := figures["blocks"][percent]) is not None else "never" for percent in ("50", "99")
        ]
        print(
            f"{nodes:>6} {figures['wall']:>8.1f} {figures['processor']:>8.1f} {figures['megabytes']:>7.0f} "
            f"{figures['messages']:>10,} {reached[0]:>12} {reached[1]:>8}  {figures['digest'][:16]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
