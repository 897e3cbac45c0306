"""A few damages of ``scripts/bench/damage.py``: no wrong answer, no valid block refused, no invalid one accepted."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from btcnode.networks import assumeutxo
from tests.lib import node_parts
from tests.lib.damage.lab import GOOD, UNAFFECTED, DamageLab

DAMAGES = 16


@pytest.mark.slow
def test_damage_never_ends_in_a_wrong_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((assumeutxo, "_SETS"), (node_parts, "TIMEOUT")):
        monkeypatch.setattr(module, name, vars(module)[name])  # the lab changes them
    lab, rng, ends = DamageLab(tmp_path), random.Random(11), Counter[str]()
    damages = [lab.page(rng) if number % 4 == 3 else lab.byte(rng) for number in range(DAMAGES)]
    for damage in [*damages, *rng.sample(lab.whole_files(1), DAMAGES)]:
        verdict, detail = lab.try_out(damage)
        assert verdict in GOOD, (damage, verdict, detail)
        ends[verdict] += 1
    assert ends[UNAFFECTED] < 2 * DAMAGES  # some of them must have been met
