"""Reading ahead: every byte of what is gone through is asked for once, before it is needed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from btcnode.storage.coin_run import CoinRun, write_run
from btcnode.storage.read_ahead import WINDOW, ReadAhead

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice")


class Advice:
    """What the system was told."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ranges: list[tuple[int, int]] = []
        patch.setattr(os, "posix_fadvise", lambda fd, at, size, how: self.ranges.append((at, at + size)))

    def covers(self, begin: int, end: int) -> bool:
        """Whether all of it was asked for, in order and nothing twice."""
        ends = [begin, *(last for _, last in self.ranges)]
        return [first for first, _ in self.ranges] == ends[:-1] and ends[-1] >= end


@pytest.mark.parametrize("step", [2000, WINDOW // 3, WINDOW])
@pytest.mark.parametrize("begin", [0, 12_345_678])
def test_all_is_asked_for_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: int, step: int
) -> None:
    path, size, advice = tmp_path / "file", 20_000_000, Advice(monkeypatch)
    path.touch()
    ahead = ReadAhead(path, size)
    for position in range(begin, size, step):
        ahead.at(position)
        assert advice.covers(begin, min(size, position + WINDOW))
    ahead.close()
    ahead.at(size)
    assert len(advice.ranges) <= (size - begin) // WINDOW + 2


def test_a_file_that_is_gone_is_read_without_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = Advice(monkeypatch)
    ahead = ReadAhead(tmp_path / "gone", 100)
    ahead.at(0)
    ahead.close()
    assert not advice.ranges


def test_a_pass_through_a_run_asks_for_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    keys = sorted(rng.randbytes(36) for _ in range(60_000))
    run = CoinRun(tmp_path, write_run(tmp_path, [(keys, [bytes(40)] * len(keys))], len(keys)))
    assert run.size > 2 * WINDOW
    fds = Path("/proc/self/fd")
    before = len(list(fds.iterdir())) if fds.is_dir() else 0
    advice = Advice(monkeypatch)
    run.verify()
    first = advice.ranges[0][0]
    assert first < 10_000 and advice.covers(first, run.size)
    advice.ranges.clear()
    passing = iter(run.groups(above=keys[30_000]))
    next(passing)
    assert 0.4 * run.size < advice.ranges[0][0] < 0.6 * run.size
    del passing
    if before:
        assert len(list(fds.iterdir())) == before
