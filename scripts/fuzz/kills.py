"""Nodes that are killed, or whose disk is full, at every moment at which they change what is stored.

    python scripts/fuzz/kills.py --points                        each moment of every situation, before and after
    python scripts/fuzz/kills.py --random 1000 --seed 1          kill -9 after random times
    python scripts/fuzz/kills.py --twice 1000 --seed 1           at random moments, and the next start at another one
    python scripts/fuzz/kills.py --full                          the disk fills up at each moment (root: a tmpfs)
    python scripts/fuzz/kills.py --full-after 1000 --seed 1      at random ones of a start after a kill

No other software is needed. A node in a process of its own works on a situation (a sync, a reorganisation, pruning, a
rebuild, a snapshot, ...) and ends; the next start has to go on by itself, and in the end chain, UTXO set, every index
and every file have to be those of a node that was never disturbed. A failure prints what repeats it.
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.crashes.runner import Course
from tests.lib.crashes.situations import SITUATIONS
from tests.lib.crashes.world import World, make_world

DISK_MB = 96
SLACK = 1.2  # of the time that the situation takes


class Report:
    """Counts attempts and tells of each that failed."""

    def __init__(self) -> None:
        self.done = Counter[str]()
        self.failed = 0
        self._shown = time.monotonic()

    def add(self, course: Course, what: str, problem: str) -> None:
        """One attempt is over."""
        name = course.situation.name
        self.done[name] += 1
        if problem:
            self.failed += 1
            print(f"FAILED {name}: {what}\n  {problem}", flush=True)
        if time.monotonic() - self._shown > 30:
            self._shown = time.monotonic()
            print(f"  {sum(self.done.values())} attempts, {self.failed} failed", flush=True)


def kill_at_points(course: Course, report: Report, every: int) -> None:
    for moment in range(0, len(course.moments), every):
        report.add(course, f"moment {moment}, {course.moments[moment]}", course.end_at(moment))


def kill_at_random(course: Course, report: Report, count: int, seed: int) -> None:
    rng = random.Random(f"{seed} {course.situation.name}")
    for _ in range(count):
        seconds = rng.uniform(0, SLACK * course.seconds)
        report.add(course, f"after {seconds:.4f} s", course.end_after(seconds))


def fill_at_points(course: Course, report: Report, every: int, disk: Path) -> None:
    for moment in range(0, len(course.moments), every):
        report.add(course, f"full at moment {moment}, {course.moments[moment]}", course.fill_at(moment, disk))


def pairs_of(course: Course, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Moments of a run and of the one after it, which often has but few."""
    rng, moments = random.Random(f"{seed} {course.situation.name} pairs"), len(course.moments)
    for _ in range(count):
        yield rng.randrange(moments), int(moments * rng.random() ** 2)


def kill_twice(course: Course, report: Report, count: int, seed: int) -> None:
    for moment, again in pairs_of(course, count, seed):
        report.add(course, f"moments {moment}, then {again}", course.end_at(moment, again))


def fill_after_kills(course: Course, report: Report, count: int, seed: int, disk: Path) -> None:
    for killed_at, moment in pairs_of(course, count, seed):
        report.add(course, f"killed at {killed_at}, full at {moment}", course.fill_at(moment, disk, killed_at))


def run(args: argparse.Namespace, world: World, directory: Path, disk: Path | None) -> Report:
    report = Report()
    names = args.situations or list(SITUATIONS)
    for name in names:
        begun = time.monotonic()
        course = Course(SITUATIONS[name], world, directory)
        print(f"{name}: {len(course.moments)} moments, {course.seconds:.2f} s", flush=True)
        if args.list:
            for number, what in enumerate(course.moments):
                print(f"  {number:4} {what}")
        if args.points:
            kill_at_points(course, report, args.every)
        if args.random:
            kill_at_random(course, report, -(-args.random // len(names)), args.seed)
        if args.twice:
            kill_twice(course, report, -(-args.twice // len(names)), args.seed)
        if args.full and disk is not None:
            fill_at_points(course, report, args.every, disk)
        if args.full_after and disk is not None:
            fill_after_kills(course, report, -(-args.full_after // len(names)), args.seed, disk)
        print(f"  {report.done[name]} attempts in {time.monotonic() - begun:.0f} s", flush=True)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("situations", nargs="*", metavar="situation", help=f"of {', '.join(SITUATIONS)}; all of them")
    parser.add_argument("--list", action="store_true", help="print the moments of each situation")
    parser.add_argument("--points", action="store_true", help="kill at each moment")
    parser.add_argument("--random", type=int, default=0, help="kills at random times, over all situations")
    parser.add_argument("--twice", type=int, default=0, help="runs that are killed twice, over all situations")
    parser.add_argument("--full", action="store_true", help="fill the disk at each moment")
    parser.add_argument("--full-after", type=int, default=0, help="runs killed first, over all situations")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th moment only")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if unknown := set(args.situations) - set(SITUATIONS):
        parser.error(f"no such situation: {', '.join(sorted(unknown))}")
    logging.getLogger("btcnode").addHandler(logging.NullHandler())  # every start would be told
    logging.getLogger("btcnode").propagate = False
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        directory, disk = Path(name), None
        if args.full or args.full_after:
            disk = directory / "disk"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], check=True)
        try:
            report = run(args, make_world(directory), directory, disk)
        finally:
            if disk is not None:
                subprocess.run(["umount", "-l", str(disk)], check=True)
    print(f"seed {args.seed}: {sum(report.done.values())} attempts, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
