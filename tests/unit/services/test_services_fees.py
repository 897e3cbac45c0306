"""When the estimator learns from blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.pool import Mempool
from btcnode.primitives.tx import Tx
from btcnode.services.fees import MAX_TIP_AGE, FeeEstimates
from btcnode.services.transactions import AFTER_BLOCK
from btcnode.testing.small_pool import coin, output, spend


def entry_of(number: int, height: int = 5) -> MempoolEntry:
    return made(spend([coin(number)], 1_000_000, 500), height)


def made(tx: Tx, height: int = 5) -> MempoolEntry:
    return MempoolEntry(
        tx, fee=500, weight=tx.weight, sigop_cost=0, time=0, height=height, sequence=1, spends_coinbase=False,
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
    tree = cast(Any, SimpleNamespace(time=lambda index: 0, best_header=0))
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
        transactions.pool.add_alone(entry_of(5), 1000)
        assert learnt == [10, 11, 12, 13]
        await asyncio.sleep(2 * AFTER_BLOCK)
        assert learnt == [10, 11, 12, 13]

    asyncio.run(scene())


def test_waiting_times_count_while_the_node_is_at_the_tip(tmp_path: Path) -> None:
    """Whether it is may change with the tip, with the best header, and with the time alone."""
    now, heights = 10_000_000, {0: 100, 1: 101, 2: 102}
    times = {0: now, 1: now, 2: now}
    clock = SimpleNamespace(now=lambda: now)
    view = SimpleNamespace(is_initial_block_download=lambda now: False, active=SimpleNamespace(tip=0))
    tree = SimpleNamespace(time=times.__getitem__, height=heights.__getitem__, best_header=0)
    transactions: Any = SimpleNamespace(pool=Mempool(), listen_confirmed=lambda listener: None, in_package=False)
    fees = FeeEstimates(
        transactions, cast(Any, view), cast(Any, tree), cast(Any, clock), tmp_path / "f", accept_stale=False
    )
    fees.estimator.best_height = 100
    numbers = iter(range(1, 100))

    def counts() -> bool:
        entry = entry_of(next(numbers), 100)
        transactions.pool.add_alone(entry, now)
        return fees.estimator.removed(entry.txid)

    assert counts() and counts()
    tree.best_header = 1
    assert counts()
    tree.best_header = 2  # two blocks are missing
    assert not counts() and not counts()
    view.active.tip = 1
    assert counts()
    now += MAX_TIP_AGE
    assert counts()
    now += 1
    assert not counts()


def test_who_spends_from_the_pool_says_nothing_about_fees(tmp_path: Path) -> None:
    """It may have to wait for its parents. Who takes another's place, or has relatives beside him, counts."""
    view = SimpleNamespace(is_initial_block_download=lambda now: False, active=SimpleNamespace(tip=0))
    tree = SimpleNamespace(time=lambda index: 1000, height=lambda index: 5, best_header=0)
    clock = SimpleNamespace(now=lambda: 1000)
    pool = Mempool()
    transactions: Any = SimpleNamespace(pool=pool, listen_confirmed=lambda listener: None, in_package=False)
    fees = FeeEstimates(
        transactions, cast(Any, view), cast(Any, tree), cast(Any, clock), tmp_path / "f", accept_stale=False
    )
    fees.estimator.best_height = 5

    def counts(entry: MempoolEntry, *replaced: MempoolEntry) -> bool:
        pool.stage(replaced, [entry]).apply(RemovalReason.REPLACED, 1000)
        return fees.estimator.removed(entry.txid)

    parent = entry_of(1)
    assert counts(parent)
    child = made(spend([output(parent.tx)], 999_500, 500))
    assert not counts(child)
    assert not counts(made(spend([output(child.tx)], 999_000, 500)))
    assert not counts(made(spend([output(parent.tx), coin(2)], 1_999_500, 5000)), *pool.descendants(parent))
    other = made(spend([coin(1)], 1_000_000, 9000))
    assert counts(other, parent, *pool.descendants(parent))
