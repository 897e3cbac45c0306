"""Script verification on one core, per template: btcnode against libbitcoinkernel's ``ScriptPubkey.verify``.

    python scripts/bench/scripts.py [--inputs 400] [--rounds 5]

Both engines verify the same inputs in alternating rounds; the fastest round of each counts. The first ratio compares
verification alone: both have parsed the transaction, btcnode knows no key and no shared hash from an earlier round,
libbitcoinkernel has its shared hashes. The second starts from the transaction's bytes. Above 1 btcnode is faster.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.chain.shadow import KernelEngine
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext
from btcnode.script.signatures import forget_parsed_keys
from btcnode.script.templates import fast_verify
from btcnode.script.verify import verify_input, verify_transaction
from btcnode.testing.templates import TEMPLATES
from tests.lib.script_builder import CHECKSIG, KEYS, ScriptBuilder, Slot, make_key, number
from tests.lib.script_cases import CaseGenerator, Plan

Job = tuple[Tx, list[bytes]]
TARGETS = {"p2pkh": 0.5, "p2wpkh": 0.5, "p2tr-key": 0.5}
OTHER_TARGET = 0.3


class Honest(Random):
    """Never chooses to be wrong: every rare event of the generator has a low roll."""

    def random(self) -> float:
        return 0.5


def plans(template: str, seed: int) -> Plan:
    """Plans for what ``testing.templates`` does not have."""
    generator = CaseGenerator(Honest(seed))
    key, other = make_key(seed * 2 + 100), make_key(seed * 2 + 101)
    if template == "p2pk":
        script = push_data(key.compressed) + bytes((CHECKSIG,))
        return generator.wrap("p2pk", script, [Slot(key, 1)], "bare")
    if template.endswith("2-of-3"):
        script = b"\x52" + b"".join(push_data(k.compressed) for k in (key, other, KEYS[0])) + b"\x53\xae"
        return generator.wrap("multisig", script, [Slot(other, 1), Slot(key, 1), b""], template.split()[0])
    if template == "p2wsh script":  # hash lock or time lock, as in payment channels
        builder = ScriptBuilder(Honest(seed), False)
        builder.script = b"\x63\xa8" + push_data(bytes(32)) + b"\x88\x67" + number(100) + b"\xb2\x75\x68"
        start = Slot(key, 1)
        script = builder.script + push_data(key.compressed) + bytes((CHECKSIG,))
        return generator.wrap("script", script, [b"", start], "p2wsh")
    script = push_data(key.xonly) + b"\xac" + push_data(other.xonly) + b"\xba\x52\x9c"
    return generator.tapscript("checksigadd", script, [Slot(key, 0), Slot(other, 0)])


EXTRA = ("p2pk", "bare 2-of-3", "p2sh-p2wsh 2-of-3", "p2wsh script", "tapscript checksigadd")


def standard_job(template: str, seed: int) -> Job:
    """A transaction with one input of a template and two outputs."""
    spendable = TEMPLATES[template](seed)
    spent = [make_txout(100_000, spendable.script_pubkey)]
    blank = Tx(2, [seed.to_bytes(36, "little")], [b""], [0xFFFFFFFD], _outputs())
    script_sig, witness = spendable.sign(SighashContext(blank, spent), 0)
    return Tx(2, blank.prevouts, [script_sig], blank.sequences, blank.txouts, [witness]), spent


def extra_job(template: str, seed: int) -> Job:
    plan = plans(template, seed)
    spent = [make_txout(100_000, plan.script_pubkey)]
    blank = Tx(2, [seed.to_bytes(36, "little")], [b""], [200], _outputs())
    case = CaseGenerator(Honest(seed)).solve(blank, 0, spent, plan)
    return case.tx, spent


def _outputs() -> list[bytes]:
    return [make_txout(50_000, b"\0\x14" + bytes(20)), make_txout(40_000, b"\x51\x20" + bytes(range(32)))]


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(jobs: list[Job], rounds: int) -> tuple[float, float, float, float]:
    """Seconds for all jobs: ours, theirs, ours from bytes, theirs from bytes."""
    engine, flags = KernelEngine(), MANDATORY_VERIFY_FLAGS
    loaded = [engine.load(tx.raw, spent) for tx, spent in jobs]

    def check(good: bool) -> None:
        if not good:
            raise SystemExit("a valid input was refused")

    def ours() -> None:
        forget_parsed_keys()
        for tx, spent in jobs:
            check(verify_input(tx, 0, spent, flags) is None)

    def theirs() -> None:
        for transaction in loaded:
            check(transaction.verify(0, flags))

    def ours_from_bytes() -> None:
        forget_parsed_keys()
        for tx, spent in jobs:
            check(verify_transaction(tx.raw, spent, flags) is None)

    def theirs_from_bytes() -> None:
        for tx, spent in jobs:
            check(engine.load(tx.raw, spent).verify(0, flags))

    works = (ours, theirs, ours_from_bytes, theirs_from_bytes)
    times = [[timed(work) for work in works] for _ in range(rounds)]
    a, b, c, d = (min(column) for column in zip(*times, strict=True))
    return a, b, c, d


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'template':24}{'path':13}{'btcnode/s':>10}{'kernel/s':>10}{'ratio':>7}{'from bytes':>12}{'target':>8}")
    missed = 0
    for template in (*TEMPLATES, *EXTRA):
        make = standard_job if template in TEMPLATES else extra_job
        jobs = [make(template, seed) for seed in range(options.inputs)]
        tx, spent = jobs[0]
        fast = fast_verify(tx, 0, spent[0], MANDATORY_VERIFY_FLAGS, SighashContext(tx, spent))
        ours, theirs, ours_bytes, theirs_bytes = measure(jobs, options.rounds)
        ratio, target = theirs / ours, TARGETS.get(template, OTHER_TARGET)
        missed += ratio < target
        path = "fast" if fast else "interpreter"
        rates = f"{len(jobs) / ours:10,.0f}{len(jobs) / theirs:10,.0f}"
        print(f"{template:24}{path:13}{rates}{ratio:7.2f}{theirs_bytes / ours_bytes:12.2f}{target:8.1f}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
