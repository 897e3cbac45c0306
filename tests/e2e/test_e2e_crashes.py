"""Nodes that are killed, or find the disk full, while what is stored changes (``scripts/fuzz/kills.py``, briefly)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks import assumeutxo
from tests.lib.crashes.runner import Course
from tests.lib.crashes.situations import SITUATIONS
from tests.lib.crashes.world import World, make_world
from tests.lib.full_disk import small_disk

MOMENTS = 2  # of each situation


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    known = assumeutxo._SETS
    yield make_world(tmp_path_factory.mktemp("world"))
    assumeutxo._SETS = known


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    with small_disk(tmp_path, 96 << 20):
        yield tmp_path


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SITUATIONS)
def test_killed(tmp_path: Path, world: World, name: str) -> None:
    course = Course(SITUATIONS[name], world, tmp_path)
    commits = [number for number, what in enumerate(course.moments) if "commit" in what]
    rng = random.Random(name)
    for moment in (rng.choice(commits), *rng.sample(range(len(course.moments)), MOMENTS - 1)):
        assert not course.end_at(moment), f"moment {moment}, {course.moments[moment]}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["mend-coins", "migrate", "reindex", "take-over"])
def test_killed_while_it_recovers(tmp_path: Path, world: World, name: str) -> None:
    course, rng = Course(SITUATIONS[name], world, tmp_path), random.Random(name)
    for _ in range(MOMENTS):
        moment = rng.randrange(len(course.moments))
        again = rng.randrange(moment + 1)
        assert not course.end_at(moment, again), f"moments {moment} and {again}, {course.moments[moment]}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["indexes", "migrate", "shutdown"])
def test_full_disk(tmp_path_factory: pytest.TempPathFactory, disk: Path, world: World, name: str) -> None:
    course = Course(SITUATIONS[name], world, tmp_path_factory.mktemp("course"))
    for moment in random.Random(name).sample(range(len(course.moments)), MOMENTS):
        assert not course.fill_at(moment, disk), f"moment {moment}, {course.moments[moment]}"
        assert not course.fill_at(moment // 3, disk, killed_at=moment), f"after {course.moments[moment]}"
