"""Differential script fuzzer: btcnode against libbitcoinkernel, and its fast paths against its interpreter.

    python scripts/fuzz/scripts.py --cases 1000000 --seed 1 --jobs 2
    python scripts/fuzz/scripts.py --mixtures 1000000 --seed 1 --jobs 2
    python scripts/fuzz/scripts.py --replay disagreement-....json

A case is one input under one combination of flags. A mixture is a transaction of several inputs for compiled kernels:
what they prove of it has to be valid for the interpreter and for libbitcoinkernel. Exit code 1 when the engines
disagree; every disagreement is a file. Kernels have no part in ``--replay``: what they prove may follow from mixtures
before, which the same seed makes again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.chain.shadow import Disagreement, KernelEngine
from btcnode.compiled.kernels import KEY_BITS
from tests.lib.kernels import compiled_kernels, fresh_kernels
from tests.lib.script_fuzz import (
    FLAG_SETS_PER_CASE,
    MUTATIONS_PER_BASE,
    FuzzResult,
    fuzz_group,
    groups,
)
from tests.lib.spend_mixtures import MixtureResult, fuzz_mixture

T = TypeVar("T", FuzzResult, MixtureResult)
Task = tuple[int, int, int]  # seed, first number, how many

CASES_PER_GROUP = (1 + MUTATIONS_PER_BASE) * FLAG_SETS_PER_CASE
GROUPS_PER_TASK = 400
MIXTURES_PER_TASK = 1000
PLACES_FOR_KEYS = (KEY_BITS, 2, 0)  # in bits: the usual table of parsed keys, one of four places, one of one


def run_groups(seed: int, start: int, count: int) -> FuzzResult:
    engine, result = KernelEngine(), FuzzResult()
    for number, rng in groups(seed, start):
        if number >= start + count:
            return result
        try:
            fuzz_group(engine, rng, f"seed {seed} group {number}", result)
        except Exception as error:
            error.add_note(f"seed {seed} group {number}")
            raise
    return result


def results_of(work: Callable[[int, int, int], T], tasks: Sequence[Task], jobs: int, out: Path) -> Iterator[T]:
    """What comes of the tasks, told as it goes; each disagreement is written to a file."""
    shown = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for number, done in enumerate(as_completed([pool.submit(work, *task) for task in tasks]), 1):
            result = done.result()
            for case in result.disagreements:
                print(f"DISAGREEMENT {case.note}: {case.ours} / {case.kernel}: {case.write(out)}", flush=True)
            yield result
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(f"{number:,} of {len(tasks):,} tasks", flush=True)


def run(cases: int, seed: int, jobs: int, out: Path) -> FuzzResult:
    total, started = FuzzResult(), time.monotonic()
    wanted = -(-cases // CASES_PER_GROUP)
    tasks = [(seed, start, min(GROUPS_PER_TASK, wanted - start)) for start in range(0, wanted, GROUPS_PER_TASK)]
    for result in results_of(run_groups, tasks, jobs, out):
        total.merge(result)
    elapsed = time.monotonic() - started
    print(f"seed {seed}: {total.cases:,} cases and {total.self_checks:,} fast-path checks in {elapsed:.1f} s")
    print(f"{total.cases / elapsed:,.0f} cases/s with {jobs} job(s), {len(total.disagreements)} disagreements")
    print(f"{total.proven:,} cases were proven by compiled kernels")
    print("verdicts:", ", ".join(f"{name} {count:,}" for name, count in total.verdicts.most_common()))
    print("templates:", ", ".join(f"{name} {count:,}" for name, count in sorted(total.labels.items())))
    return total


def run_mixtures(seed: int, start: int, count: int) -> MixtureResult:
    """From kernels on that saw none before, as what they keep from one to the next can be at fault."""
    engine, result = KernelEngine(), MixtureResult()
    kernels = fresh_kernels(PLACES_FOR_KEYS[start // MIXTURES_PER_TASK % len(PLACES_FOR_KEYS)])
    if kernels is None:
        return result
    for number, rng in islice(groups(seed, start), count):
        try:
            fuzz_mixture(kernels, rng, f"seed {seed} mixture {number}", result, engine)
        except Exception as error:
            error.add_note(f"seed {seed} mixture {number}")
            raise
    return result


def run_all_mixtures(mixtures: int, seed: int, jobs: int, out: Path) -> MixtureResult:
    total, started = MixtureResult(), time.monotonic()
    if compiled_kernels() is None:
        print("mixtures are left out: there are no compiled kernels without numba")
        return total
    starts = range(0, mixtures, MIXTURES_PER_TASK)
    tasks = [(seed, start, min(MIXTURES_PER_TASK, mixtures - start)) for start in starts]
    for result in results_of(run_mixtures, tasks, jobs, out):
        total.merge(result)
    print(f"seed {seed}: {total.transactions:,} mixtures in {time.monotonic() - started:.1f} s", end=", ")
    print(f"{len(total.disagreements)} disagreements")
    print(f"{total.proven.total():,} of {total.inputs.total():,} inputs were proven by compiled kernels")
    counts = [f"{name} {total.proven[name]:,} of {count:,}" for name, count in sorted(total.inputs.items())]
    print("proven by template:", ", ".join(counts))
    return total


def replay(path: Path) -> int:
    case = Disagreement.read(path)
    ours, kernel = case.rerun(KernelEngine())
    print(f"{case.note}: btcnode {ours}, libbitcoinkernel {kernel}")
    return int((ours == "OK") != (kernel == "OK"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="100,000 unless only mixtures are asked for")
    parser.add_argument("--mixtures", type=int, default=0, help="transactions of several inputs for compiled kernels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz-disagreements"))
    parser.add_argument("--replay", type=Path, help="run one recorded disagreement again")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    cases = (0 if options.mixtures else 100_000) if options.cases is None else options.cases
    chosen = options.seed, options.jobs, options.out
    found = run(cases, *chosen).disagreements if cases else []
    if options.mixtures:
        found += run_all_mixtures(options.mixtures, *chosen).disagreements
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
