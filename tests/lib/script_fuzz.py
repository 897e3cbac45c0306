"""Differential fuzzing of scripts: our verdict against libbitcoinkernel's, fast paths against the interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

from btcnode.chain.shadow import Disagreement, KernelEngine
from btcnode.errors import DecodeError
from btcnode.primitives.tx import Tx
from btcnode.script.checker import InputChecker
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import (
    ALL_VERIFY_FLAGS,
    STANDARD_VERIFY_FLAGS,
    VERIFY_CLEANSTACK,
    VERIFY_P2SH,
    VERIFY_WITNESS,
)
from btcnode.script.sighash import SighashContext
from btcnode.script.verify import run_scripts, verify_input
from tests.lib.kernels import compiled_kernels, proven_inputs
from tests.lib.script_cases import CaseGenerator, ScriptCase, consensus_flags, spent_script
from tests.lib.script_mutations import flip, mutate

MUTATIONS_PER_BASE = 3
FLAG_SETS_PER_CASE = 3


def any_flags(rng: Random) -> int:
    """Consensus and policy flags in a random consistent combination."""
    if rng.random() < 0.3:
        return STANDARD_VERIFY_FLAGS
    flags = rng.getrandbits(21) & ALL_VERIFY_FLAGS
    if flags & VERIFY_CLEANSTACK:
        flags |= VERIFY_WITNESS
    return flags | VERIFY_P2SH if flags & VERIFY_WITNESS else flags


def interpret(case: ScriptCase, flags: int, ctx: SighashContext | None = None) -> ScriptError | None:
    """What the interpreter says without any fast path; None is valid."""
    tx, index = case.tx, case.index
    witness = tx.witnesses[index] if tx.witnesses else []
    checker = InputChecker(ctx or SighashContext(tx, case.spent), index)
    try:
        run_scripts(tx.script_sigs[index], spent_script(case), witness, flags, checker)
    except ScriptAbort as abort:
        return abort.error
    return None


@dataclass(slots=True)
class FuzzResult:
    """Counts of a run, and what went wrong; ``verdicts`` counts our verdicts by error name."""

    cases: int = 0
    self_checks: int = 0
    proven: int = 0  # by the kernels
    verdicts: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)

    def merge(self, other: FuzzResult) -> None:
        """Add the counts of another run."""
        self.cases += other.cases
        self.self_checks += other.self_checks
        self.proven += other.proven
        self.verdicts += other.verdicts
        self.labels += other.labels
        self.disagreements += other.disagreements


def groups(seed: int, start: int = 0) -> Iterator[tuple[int, Random]]:
    """Numbered generators of randomness: group ``n`` of a seed is the same whatever ran before it."""
    number = start
    while True:
        yield number, Random((seed << 40) + number)
        number += 1


def fuzz_group(engine: KernelEngine, rng: Random, note: str, result: FuzzResult) -> None:
    """One base case and its mutations, each under several flags, now and then one on bytes; adds to ``result``."""
    if rng.random() < 0.3:
        fuzz_bytes(engine, rng, note, result)
    base, kernels = CaseGenerator(rng).base(), compiled_kernels()
    for case in (base, *(mutate(rng, base) for _ in range(MUTATIONS_PER_BASE))):
        result.labels[case.label.split("+")[0]] += 1
        case = ScriptCase(Tx.parse(case.tx.raw), case.index, case.spent, case.label)
        kernel = engine.load(case.tx.raw, case.spent)
        ctx = SighashContext(case.tx, case.spent)
        for _ in range(FLAG_SETS_PER_CASE):
            flags = consensus_flags(rng)
            ours = verify_input(case.tx, case.index, case.spent, flags, ctx)
            valid = kernel.verify(case.index, flags)
            result.cases += 1
            result.verdicts[ours.value if ours else "OK"] += 1
            if valid != (ours is None):
                result.disagreements.append(_record(case, flags, ours, "OK" if valid else "invalid", note))
            if kernels is not None and case.index in proven_inputs(kernels, case.tx.raw, case.spent, flags):
                result.proven += 1
                if not valid:
                    result.disagreements.append(_record(case, flags, ours, "invalid, but proven by kernels", note))
        flags = any_flags(rng)
        whole, plain = verify_input(case.tx, case.index, case.spent, flags, ctx), interpret(case, flags)
        result.self_checks += 1
        if whole != plain:
            words = f"interpreter: {plain.value if plain else 'OK'}"
            result.disagreements.append(_record(case, flags, whole, words, note))


def fuzz_bytes(engine: KernelEngine, rng: Random, note: str, result: FuzzResult) -> None:
    """A serialised case with one byte changed: both engines read it or neither does, and their verdicts agree."""
    case = CaseGenerator(rng).base()
    raw = flip(rng, case.tx.raw)
    result.cases += 1
    result.labels["bytes"] += 1
    try:
        tx = Tx.parse(raw)
    except DecodeError as error:
        tx = None
        result.verdicts["malformed"] += 1
        if "left over" in str(error):  # libbitcoinkernel does not look for them
            return
    try:
        kernel = engine.load(raw, case.spent)
    except DecodeError:
        if tx is not None:
            result.disagreements.append(_record(replace(case, tx=tx), 0, None, "malformed", note))
        return
    except ValueError:
        if tx is not None and len(tx.prevouts) != len(case.spent):
            return
        raise
    if tx is None:
        result.disagreements.append(_record(case, 0, ScriptError.UNKNOWN_ERROR, f"reads {raw.hex()}", note))
        return
    flags = consensus_flags(rng)
    ours = verify_input(tx, case.index, case.spent, flags)
    kernels = compiled_kernels()
    if kernels is not None and case.index in proven_inputs(kernels, raw, case.spent, flags) and ours is not None:
        result.disagreements.append(_record(replace(case, tx=tx), flags, ours, "proven by kernels", note))
    result.verdicts[ours.value if ours else "OK"] += 1
    if kernel.verify(case.index, flags) != (ours is None):
        other = "invalid" if ours is None else "OK"
        result.disagreements.append(_record(replace(case, tx=tx), flags, ours, other, note))


def _record(case: ScriptCase, flags: int, ours: ScriptError | None, other: str, note: str) -> Disagreement:
    spent = tuple(txout.hex() for txout in case.spent)
    name = ours.value if ours else "OK"
    return Disagreement(case.tx.raw.hex(), spent, case.index, flags, name, other, f"{case.label} {note}")
