"""A few damages of ``scripts/bench/damage.py``: no wrong answer, no valid block refused, no invalid one accepted."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.lib.damage_lab import REPAIRED, STOPPED, UNAFFECTED, DamageLab

DAMAGES = 16


@pytest.mark.slow
def test_damage_never_ends_in_a_wrong_answer(tmp_path: Path) -> None:
    lab, rng, ends = DamageLab(tmp_path), random.Random(11), Counter[str]()
    for number in range(DAMAGES):
        damage = lab.page(rng) if number % 4 == 3 else lab.byte(rng)
        verdict, detail = lab.try_out(damage)
        assert verdict in (UNAFFECTED, REPAIRED, STOPPED), (damage, verdict, detail)
        ends[verdict] += 1
    assert ends[UNAFFECTED] < DAMAGES  # some of them must have been met
