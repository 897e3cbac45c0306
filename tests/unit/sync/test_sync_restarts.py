"""Pauses between failures of worker processes."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from btcnode.sync.restarts import CALM, LONGEST_PAUSE, Restarts


def test_pauses_grow_to_the_longest_and_stay_there() -> None:
    restarts, now = Restarts(Random(1)), 1000.0
    pauses = []
    for _ in range(200):
        assert restarts.failed(now, now)
        pauses.append(restarts.wait(now))
        now += pauses[-1]
    assert pauses[0] == 0 and 0 < pauses[1] <= 0.25
    assert all(0 < pause <= LONGEST_PAUSE for pause in pauses[1:])
    assert all(later > before / 2 for before, later in pairwise(pauses))
    assert min(pauses[20:]) >= LONGEST_PAUSE / 2
    assert len(set(pauses[20:])) > 100  # nodes do not start in step


def test_what_ends_together_counts_once() -> None:
    restarts = Restarts(Random(1))
    assert restarts.failed(990.0, 1000.0)
    assert not any(restarts.failed(990.0, 1000.0 + n / 10) for n in range(8))
    assert restarts.failures == 1 and restarts.wait(1001.0) == 0
    assert restarts.failed(1000.5, 1001.0) and restarts.failures == 2


def test_a_long_life_ends_a_row() -> None:
    restarts = Restarts(Random(1))
    for n in range(5):
        restarts.failed(1000.0 + n, 1000.0 + n)
    born = 1010.0
    assert not restarts.is_calm(born, born + CALM - 1)
    assert not restarts.is_calm(900.0, 1015.0)  # an old process says nothing about new ones
    assert restarts.is_calm(born, born + CALM) and restarts.failures == 0
    assert not restarts.is_calm(born, born + CALM + 1)
    restarts.failed(born, born + CALM + 2)
    assert restarts.failures == 1
