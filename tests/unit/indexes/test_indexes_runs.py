"""Sorted runs: whatever is merged meanwhile, every row is found, and no level grows without end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import lmdb
import pytest

from btcnode.indexes import runs
from btcnode.indexes.runs import SLOTS, Runs, _load


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Any]:
    env = lmdb.open(str(tmp_path / "rows"), map_size=1 << 28, max_dbs=SLOTS, sync=False)
    yield env
    env.close()


def rows_of(env: Any, rows: Runs) -> list[bytes]:
    with env.begin() as txn:
        return sorted(rows.find(txn, b""))


@pytest.mark.parametrize("seed", range(3))
def test_against_a_set(env: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(runs, "RUN_ROWS", 20)
    monkeypatch.setattr(runs, "FAN", 3)
    rng, rows, model = Random(seed), Runs(env), []
    for number in range(500):
        batch = [rng.randbytes(3) + number.to_bytes(4, "big") for _ in range(rng.choice((0, 1, 7, 30)))]
        model += batch
        with env.begin(write=True) as txn:
            rows.add(txn, batch)
        if number % 50 == 0:
            assert rows_of(env, rows) == sorted(model)
    assert rows_of(env, rows) == sorted(model)
    with env.begin() as txn:
        for row in rng.sample(model, 50):
            assert row in rows.find(txn, row[:3])
            assert sorted(rows.find(txn, row[:2])) == sorted(other for other in model if other.startswith(row[:2]))
        levels = Counter(run.level for run in _load(txn) if not run.growing)
        entries = sum(txn.stat(rows._slots[run.slot])["entries"] for run in _load(txn) if not run.growing)
    assert max(levels) > 2
    assert max(levels.values()) <= 2 * 3
    assert entries == len(model)
    assert rows_of(env, Runs(env)) == sorted(model)  # as after a restart


def test_a_transaction_that_fails_changes_nothing(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_ROWS", 4)
    monkeypatch.setattr(runs, "FAN", 2)
    rows = Runs(env)
    model: list[bytes] = []
    for number in range(40):
        batch = [bytes((7 * number % 251, n, number)) for n in range(5)]
        txn = env.begin(write=True)
        rows.add(txn, batch)
        txn.abort()
        assert rows_of(env, rows) == sorted(model)
        with env.begin(write=True) as txn:
            rows.add(txn, batch)
        model += batch


def test_slots_last_for_a_long_time(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real fan, scaled down: however large the batches, slots never run out."""
    monkeypatch.setattr(runs, "RUN_ROWS", 10)
    rows, most = Runs(env), 0
    for number in range(2500):
        with env.begin(write=True) as txn:
            rows.add(txn, [number.to_bytes(4, "little") + bytes((n,)) for n in range(5 if number % 3 else 25)])
            most = max(most, len(_load(txn)))
    assert most < SLOTS * 3 // 4
