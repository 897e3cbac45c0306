"""When does ``-cpu-affinity`` help? A sync and a flood of transactions, with and without it, alone and beside others.

    python scripts/bench/affinity.py [--runs 3] [--busy 2] [--only sync,flood]

``--busy`` processes that do nothing but compute are the others. Printed for each are seconds, processor seconds of the
node's own process, p99 of its loop's lag, and how often its threads were put aside (medians).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.node_loads import Cost, Flood, Sync

BUSY = "while True: sum(range(1000))"


@contextmanager
def others(count: int) -> Iterator[None]:
    """So many processes that compute."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def told(title: str, costs: list[Cost]) -> None:
    seconds, own, lag, switches = (
        statistics.median(getattr(cost, name) for cost in costs) for name in ("seconds", "own", "lag", "switches")
    )
    print(f"{title:34} {seconds:6.2f} s, own {own:6.2f} s, loop p99 {1000 * lag:4.0f} ms, put aside {switches:6.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--only", default="sync,flood")
    parser.add_argument("--blocks", type=int, default=12, help="large ones of the chain")
    parser.add_argument("--txs", type=int, default=2000, help="transactions of each, and three times so many at once")
    words = parser.parse_args()
    every = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    for name in words.only.split(","):
        load = Sync(words.blocks, words.txs, 200) if name == "sync" else Flood(3 * words.txs)
        for busy in (0, words.busy):
            free: list[Cost] = []
            kept: list[Cost] = []
            for _ in range(words.runs):
                with others(busy):
                    free.append(load.run())
                    kept.append(load.run(f"-cpu-affinity={every}"))
            told(f"{name}, {busy} others, anywhere", free)
            told(f"{name}, {busy} others, -cpu-affinity={every}", kept)


if __name__ == "__main__":
    main()
