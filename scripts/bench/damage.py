#!/usr/bin/env python3
"""Damage to every file of a node: does it ever answer wrongly, refuse a valid block, accept an invalid one?

    python scripts/bench/damage.py [--bytes 500] [--pages 100] [--files] [--seed 1] [--processes 2] [--large]
    python scripts/bench/damage.py --seed 1 --only N

Small regtest nodes are prepared: one with every index, a pruned one, one with a UTXO set whose chain is still being
validated, one that has yet to load the file of a set, one that syncs with hints, and a process that was killed, with
cookie, log and options in files. For each damage a copy of one gets another byte, or another page, at a random place of
a random file; with ``--files`` each file is also gone, cut off, and put back as it was long ago. A node in a process of
its own is started on it, asked what is known, given an invalid and a valid block, and stopped.
Good ends are "unaffected", "repaired by itself" and "stopped with the file named"; whatever else happens is printed
with its number (``--only`` repeats it) and makes the run fail.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.indexes import store
from btcnode.storage import coin_run, database, page_check
from tests.lib.damage.damages import Damage
from tests.lib.damage.homes import HOMES
from tests.lib.damage.lab import GOOD, DamageLab

lab: DamageLab


def damage_of(number: int, options: argparse.Namespace) -> Damage:
    """The damage of a number: the first ``--bytes`` are single bytes, then come the pages, then whole files."""
    rng, left = random.Random(f"{options.seed} {number}"), int(number - options.bytes - options.pages)
    if left >= 0:
        return lab.whole_files(options.seed)[left]
    return lab.byte(rng) if number < options.bytes else lab.page(rng)


def attempt(task: tuple[int, argparse.Namespace]) -> tuple[int, Damage, str, str]:
    """One damage, in a process of the pool."""
    number, options = task
    damage = damage_of(number, options)
    verdict, detail = lab.try_out(damage)
    return number, damage, verdict, detail


def look_as_at_large_files() -> None:
    """Have no file checked at start further than the parents of its leaves, as it is with gigabytes."""
    check = partial(page_check.check_file, whole_bytes=0)
    for module in (coin_run, database, store):
        vars(module)["check_file"] = check


def main() -> int:
    """Returns 1 when any damage has ended badly."""
    global lab
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=500)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--files", action="store_true", help="each file gone, cut off, of an older state")
    parser.add_argument("--homes", nargs="+", choices=list(HOMES), default=list(HOMES), help="which nodes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one damage to try")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--large", action="store_true", help="check databases at start as large ones are")
    parser.add_argument("-v", "--verbose", action="store_true", help="one line for each damage")
    options = parser.parse_args()
    if options.large:
        look_as_at_large_files()
    begun, ends, failed = time.monotonic(), Counter[tuple[str, str]](), 0
    with tempfile.TemporaryDirectory(prefix="btcnode-damage-") as directory:
        lab = DamageLab(Path(directory), options.homes)
        print(f"prepared in {time.monotonic() - begun:.0f} s", flush=True)
        count = options.bytes + options.pages + (len(lab.whole_files(options.seed)) if options.files else 0)
        numbers = range(count) if options.only is None else [options.only]
        with multiprocessing.get_context("fork").Pool(options.processes) as pool:
            for number, damage, verdict, detail in pool.imap_unordered(attempt, [(n, options) for n in numbers]):
                if not sum(ends.values()) % 100 and ends:
                    print(f"  {sum(ends.values())} of {len(numbers)}, {failed} ended badly", flush=True)
                ends[f"{damage.home} {damage.file} {damage.kind}", verdict] += 1
                failed += verdict not in GOOD
                if verdict not in GOOD or options.verbose or options.only is not None:
                    print(f"{number} (seed {options.seed}): {damage}: {verdict}: {detail}", flush=True)
    for (file, verdict), count in sorted(ends.items()):
        print(f"{file:70} {verdict:40} {count}")
    print(f"{sum(ends.values())} damages, {failed} ended badly, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
