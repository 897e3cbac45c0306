"""Differential script fuzzer: btcnode against libbitcoinkernel, and its fast paths against its interpreter.

    python scripts/fuzz/scripts.py --cases 1000000 --seed 1 --jobs 2
    python scripts/fuzz/scripts.py --replay disagreement-....json

A case is one input under one combination of flags. Exit code 1 when the engines disagree; every disagreement is a file.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.chain.shadow import Disagreement, KernelEngine
from tests.lib.script_fuzz import (
    FLAG_SETS_PER_CASE,
    MUTATIONS_PER_BASE,
    FuzzResult,
    fuzz_group,
    groups,
)

CASES_PER_GROUP = (1 + MUTATIONS_PER_BASE) * FLAG_SETS_PER_CASE
GROUPS_PER_TASK = 400


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


def run(cases: int, seed: int, jobs: int, out: Path) -> FuzzResult:
    total, started = FuzzResult(), time.monotonic()
    wanted = -(-cases // CASES_PER_GROUP)
    tasks = [(seed, start, min(GROUPS_PER_TASK, wanted - start)) for start in range(0, wanted, GROUPS_PER_TASK)]
    with ProcessPoolExecutor(jobs) as pool:
        shown = 0.0
        for done in as_completed([pool.submit(run_groups, *task) for task in tasks]):
            result = done.result()
            for case in result.disagreements:
                print(f"DISAGREEMENT {case.note}: {case.ours} / {case.kernel}: {case.write(out)}", flush=True)
            total.merge(result)
            elapsed = time.monotonic() - started
            if elapsed - shown > 10:
                shown = elapsed
                print(f"{total.cases:,} cases, {total.cases / elapsed:,.0f}/s", flush=True)
    elapsed = time.monotonic() - started
    print(f"seed {seed}: {total.cases:,} cases and {total.self_checks:,} fast-path checks in {elapsed:.1f} s")
    print(f"{total.cases / elapsed:,.0f} cases/s with {jobs} job(s), {len(total.disagreements)} disagreements")
    print(f"{total.proven:,} cases were proven by compiled kernels")
    print("verdicts:", ", ".join(f"{name} {count:,}" for name, count in total.verdicts.most_common()))
    print("templates:", ", ".join(f"{name} {count:,}" for name, count in sorted(total.labels.items())))
    return total


def replay(path: Path) -> int:
    case = Disagreement.read(path)
    ours, kernel = case.rerun(KernelEngine())
    print(f"{case.note}: btcnode {ours}, libbitcoinkernel {kernel}")
    return int((ours == "OK") != (kernel == "OK"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz-disagreements"))
    parser.add_argument("--replay", type=Path, help="run one recorded disagreement again")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    return int(bool(run(options.cases, options.seed, options.jobs, options.out).disagreements))


if __name__ == "__main__":
    raise SystemExit(main())
