"""Of transactions that mix spends and faults the kernels prove only what is valid, whatever their table of keys holds.

Seeds are fixed, as what is proven may follow from all that the same kernels saw before; ``scripts/fuzz/scripts.py
--mixtures`` runs others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pytest

from btcnode.compiled.kernels import KEY_BITS, Kernels
from btcnode.script.runs import NO_CODE
from tests.lib import spend_mixtures
from tests.lib.kernels import fresh_kernels
from tests.lib.script_fuzz import groups
from tests.lib.spend_mixtures import TEMPLATES, MixtureResult, fuzz_mixture

MIXTURES = 1500
FEW_PLACES = 2  # bits: four places, where keys of all kinds displace each other


def run(key_bits: int, seed: int, count: int) -> MixtureResult:
    kernels = fresh_kernels(key_bits)
    if kernels is None:
        pytest.skip("numba is not installed")
    result = MixtureResult()
    for number, rng in islice(groups(seed), count):
        fuzz_mixture(kernels, rng, f"number {number}", result)
    return result


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("key_bits", [KEY_BITS, FEW_PLACES])
def test_what_kernels_prove_is_valid(key_bits: int, seed: int) -> None:
    result = run(key_bits, seed, MIXTURES)
    assert not result.disagreements, [(case.note, case.ours) for case in result.disagreements]
    shares = {template: result.proven[template] / result.inputs[template] for template in TEMPLATES}
    assert min(shares.values()) > 0.1, f"hardly anything is proven: {shares}"
    assert max(shares.values()) < 0.85, f"hardly anything is at fault: {shares}"
    assert result.proven.keys() == set(TEMPLATES)


def test_a_wrong_proof_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_inputs(kernels: Kernels, raw: bytes, spent: Sequence[bytes], flags: int) -> list[int]:
        proven = kernels.verify_spends(raw, b"".join([NO_CODE + txout for txout in spent]), 1, flags)
        return [] if proven is None else list(range(proven.inputs))

    monkeypatch.setattr(spend_mixtures, "proven_inputs", all_inputs)
    result = run(KEY_BITS, 1, 50)
    assert {case.ours for case in result.disagreements} - {"OK"}
    assert len(result.disagreements) < sum(result.proven.values())
