"""The fast paths are the interpreter: same verdict, same error on valid, wrong and mutated spends, under any flags."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btcnode.primitives.coin import make_txout
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS, VERIFY_LOW_S, VERIFY_P2SH
from btcnode.script.sighash import SighashContext
from btcnode.script.templates import fast_verify
from btcnode.script.verify import verify_input
from btcnode.testing.templates import TEMPLATES, signed_tx
from tests.lib.script_cases import CaseGenerator, Plan, ScriptCase
from tests.lib.script_fuzz import any_flags, interpret
from tests.lib.script_mutations import mutate

SEEDS = st.integers(0, 2**64 - 1)


def _check(case: ScriptCase, flags: int) -> bool:
    ctx = SighashContext(case.tx, case.spent)
    plain = interpret(case, flags)
    assert verify_input(case.tx, case.index, case.spent, flags, ctx) == plain, case
    fast = fast_verify(case.tx, case.index, case.spent[case.index], flags, ctx)
    assert plain is None or not fast, case
    return fast


def _agree(rng: Random, plan: Plan) -> None:
    generator = CaseGenerator(rng)
    base = generator.base(plan)
    for case in (base, mutate(rng, base), mutate(rng, base)):
        for flags in (MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS, any_flags(rng), any_flags(rng)):
            _check(case, flags)


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_single_key_templates_agree(seed: int) -> None:
    rng = Random(seed)
    _agree(rng, CaseGenerator(rng).key_plan())


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_multisig_templates_agree(seed: int) -> None:
    rng = Random(seed)
    _agree(rng, CaseGenerator(rng).multisig_plan())


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_any_spend_agrees(seed: int) -> None:
    rng = Random(seed)
    _agree(rng, CaseGenerator(rng).plan())


def _standard_case(template: str) -> ScriptCase:
    spendable = TEMPLATES[template](7)
    txout = make_txout(5000, spendable.script_pubkey)
    tx = signed_tx([(bytes(35) + b"\1", txout, spendable)], [make_txout(4000, b"\x51")])
    return ScriptCase(tx, 0, [txout], template)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("flags", [MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS])
def test_standard_spends_take_the_fast_path(template: str, flags: int) -> None:
    assert _check(_standard_case(template), flags)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_flipped_byte_of_a_standard_spend_agrees(template: str) -> None:
    """One bit of each byte of script_sig and witness: the fast path never accepts what the interpreter refuses."""
    case = _standard_case(template)
    accepted = 0
    parts: list[tuple[int, bytes]] = [(-1, case.tx.script_sigs[0])]
    parts += list(enumerate(case.tx.witnesses[0] if case.tx.witnesses else []))
    for place, data in parts:
        for position in range(len(data)):
            changed = data[:position] + bytes((data[position] ^ (1 << position % 8),)) + data[position + 1 :]
            scripts, stacks = list(case.tx.script_sigs), [list(stack) for stack in case.tx.witnesses]
            if place < 0:
                scripts[0] = changed
            else:
                stacks[0][place] = changed
            tx = type(case.tx)(
                case.tx.version, case.tx.prevouts, scripts, case.tx.sequences, case.tx.txouts, stacks, case.tx.lock_time
            )
            accepted += _check(ScriptCase(tx, 0, case.spent, template), MANDATORY_VERIFY_FLAGS)
    assert accepted == 0


def test_fast_paths_need_their_flags() -> None:
    for template in TEMPLATES:
        case = _standard_case(template)
        ctx = SighashContext(case.tx, case.spent)
        needs_none = template == "p2pkh"
        assert fast_verify(case.tx, 0, case.spent[0], 0, ctx) is needs_none, template
        needs_witness = template not in ("p2pkh", "p2sh-multisig")
        assert fast_verify(case.tx, 0, case.spent[0], VERIFY_P2SH | VERIFY_LOW_S, ctx) is not needs_witness, template
