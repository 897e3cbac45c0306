"""A short run of the differential fuzzer: btcnode and libbitcoinkernel agree (``scripts/fuzz/scripts.py`` runs long).

``BTCNODE_FUZZ_SEED`` and ``BTCNODE_FUZZ_GROUPS`` choose another run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("pbk", reason="needs btcnode[kernel]")

from btcnode.chain.shadow import Disagreement, KernelEngine
from btcnode.script.errors import ScriptError
from tests.lib import script_fuzz
from tests.lib.script_fuzz import FuzzResult, fuzz_group, groups

SEED = int(os.environ.get("BTCNODE_FUZZ_SEED", "20210709"))
GROUPS = int(os.environ.get("BTCNODE_FUZZ_GROUPS", "500"))


def _run(count: int) -> FuzzResult:
    engine, result = KernelEngine(), FuzzResult()
    for number, rng in groups(SEED):
        if number == count:
            return result
        fuzz_group(engine, rng, f"seed {SEED} group {number}", result)
    raise AssertionError


def test_engines_agree() -> None:
    result = _run(GROUPS)
    assert not result.disagreements, [(case.note, case.ours, case.kernel) for case in result.disagreements]
    assert result.cases >= 12 * GROUPS
    assert result.verdicts["OK"] > result.cases // 5, "most cases are refused: the generator has lost its way"
    if GROUPS >= 500:
        assert len(result.verdicts) >= 28
        assert len(result.labels) >= 25


def test_a_wrong_verdict_is_found_and_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(script_fuzz, "verify_input", lambda *_: ScriptError.EVAL_FALSE)
    result = _run(3)
    wrong = [case for case in result.disagreements if case.kernel == "OK"]
    assert wrong
    path = wrong[0].write(tmp_path)
    again = Disagreement.read(path)
    assert again == wrong[0]
    assert again.rerun(KernelEngine()) == ("OK", "OK")


def test_a_seed_is_reproducible() -> None:
    first, second = _run(10), _run(10)
    assert first.verdicts == second.verdicts
    assert first.labels == second.labels
