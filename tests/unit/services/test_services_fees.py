"""When the estimator learns from blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.mempool.entry import LockPoints, MempoolEntry
from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.pool import Mempool
from btcnode.services.fees import FeeEstimates
from btcnode.services.transactions import AFTER_BLOCK
from btcnode.testing.small_pool import coin, spend


def entry_of(number: int) -> MempoolEntry:
    tx = spend([coin(number)], 1_000_000, 500)
    return MempoolEntry(
        tx, fee=500, weight=tx.weight, sigop_cost=0, time=0, height=5, sequence=1, spends_coinbase=False,
        lock_points=LockPoints(-1, -1, -1),
    )  # fmt: skip


def test_a_block_is_learnt_from_a_moment_later_and_before_anything_else_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[int] = []
    block = FeeEstimator.block

    def noted(self: FeeEstimator, confirmed: list[MempoolEntry], height: int) -> None:
        learnt.append(height)
        block(self, confirmed, height)

    monkeypatch.setattr(FeeEstimator, "block", noted)
    transactions: Any = SimpleNamespace(pool=Mempool(), listen_confirmed=lambda listener: None, in_package=False)
    nothing = cast(Any, SimpleNamespace(is_initial_block_download=lambda now: True, active=SimpleNamespace(tip=0)))
    tree = cast(Any, SimpleNamespace(time=lambda index: 0))
    clock = cast(Any, SimpleNamespace(now=lambda: 1000))
    fees = FeeEstimates(transactions, nothing, tree, clock, tmp_path / "fees.dat", accept_stale=False)

    async def scene() -> None:
        fees._confirmed([entry_of(1)], 10)
        await asyncio.sleep(0)
        assert not learnt  # who waits for the block is told first
        await asyncio.sleep(2 * AFTER_BLOCK)
        assert learnt == [10]
        fees._confirmed([entry_of(2)], 11)
        fees._confirmed([entry_of(3)], 12)
        assert learnt == [10, 11] and fees.estimator.best_height == 12  # who asks is told of all
        fees._confirmed([entry_of(4)], 13)
        fees._added(entry_of(5))
        assert learnt == [10, 11, 12, 13]
        await asyncio.sleep(2 * AFTER_BLOCK)
        assert learnt == [10, 11, 12, 13]

    asyncio.run(scene())
