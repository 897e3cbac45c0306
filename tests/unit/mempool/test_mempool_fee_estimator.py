"""Fee estimation: what is learned from blocks, and the file."""

from __future__ import annotations

import random

import pytest

from btcnode.errors import DecodeError
from btcnode.mempool.entry import LockPoints, MempoolEntry
from btcnode.mempool.fee_estimator import FeeEstimator, Horizon
from btcnode.mempool.fee_file import decode_estimates, encode_estimates
from btcnode.mempool.fee_stats import ConfirmStats
from btcnode.primitives.tx import Tx

BASE, STEP = 2000, 500  # satoshi: ten feerates, one of them every two blocks or so in a block


def entry_of(number: int, fee: int, height: int) -> MempoolEntry:
    tx = Tx(2, [number.to_bytes(36, "little")], [b""], [0xFFFFFFFE], [bytes(8) + b"\x01\x51"])
    return MempoolEntry(
        tx, fee=fee, weight=tx.weight, sigop_cost=0, time=1, height=height, sequence=1, spends_coinbase=False,
        lock_points=LockPoints(0, 0, -1),
    )  # fmt: skip


def trained(blocks: int) -> FeeEstimator:
    """Ten feerates come with each block; the best confirm at once, the lowest after ten blocks."""
    estimator = FeeEstimator()
    waiting: list[list[MempoolEntry]] = [[] for _ in range(10)]
    number = 0
    estimator.block([], 1)
    for height in range(1, blocks + 1):
        for level in range(10):
            for _ in range(4):
                number += 1
                entry = entry_of(number, BASE + STEP * level, height)
                estimator.added(entry, counts=True)
                waiting[level].append(entry)
        confirmed = []
        for age in range(height % 10 + 1):  # the next block takes every level above its last digit
            level = 9 - age
            confirmed += waiting[level]
            waiting[level] = []
        estimator.block(confirmed, height + 1)
    return estimator


def test_higher_feerates_confirm_sooner() -> None:
    estimator = trained(200)
    vsize = entry_of(1, 1, 1).vsize
    feerates = [estimator.raw(target, 0.95, Horizon.MEDIUM)[0] for target in range(2, 12)]
    assert all(feerates)
    assert feerates == sorted(feerates, reverse=True)
    assert feerates[0] > feerates[-1]
    assert feerates[-1] == pytest.approx(BASE * 1000 / vsize, rel=0.06)
    smart = estimator.smart(2, conservative=True)
    assert smart.blocks == 2
    assert smart.feerate >= feerates[2]  # 95 % within twice the target


def test_without_data_there_is_no_estimate() -> None:
    estimator = FeeEstimator()
    assert estimator.smart(6, conservative=False)[:2] == (0, 0)
    assert estimator.smart(1009, conservative=False)[:2] == (0, 1009)
    feerate, found = estimator.raw(6, 0.95, Horizon.SHORT)
    assert (feerate, found.passed.start, found.failed.start) == (0, -1, 0)


def test_only_what_came_at_the_tip_counts() -> None:
    estimator = FeeEstimator()
    estimator.block([], 10)
    behind, uncounted, good = entry_of(1, 1000, 9), entry_of(2, 1000, 10), entry_of(3, 1000, 10)
    estimator.added(behind, counts=True)
    estimator.added(uncounted, counts=False)
    estimator.added(good, counts=True)
    assert [estimator.removed(entry.txid) for entry in (behind, uncounted, good, good)] == [False, False, True, False]
    estimator.block([], 9)  # a fork's block
    assert estimator.best_height == 10


def test_what_never_confirms_counts_as_failed() -> None:
    estimator = FeeEstimator()
    estimator.block([], 1)
    entry = entry_of(1, 1000, 1)
    estimator.added(entry, counts=True)
    for height in range(2, 8):
        estimator.block([], height)
    estimator.give_up()
    bucket = estimator.stats[Horizon.SHORT].bucket_of(1000 * 1000 / entry.vsize)
    assert [row[bucket] for row in estimator.stats[Horizon.SHORT].failed] == [1.0] * 6 + [0.0] * 6
    assert [row[bucket] for row in estimator.stats[Horizon.MEDIUM].failed[:4]] == [1.0, 1.0, 1.0, 0.0]
    assert not any(row[bucket] for row in estimator.stats[Horizon.LONG].failed)


def test_file_round_trip() -> None:
    estimator = trained(60)
    again = decode_estimates(encode_estimates(estimator))
    assert again.best_height == estimator.best_height
    assert again.history == (estimator.first_height, estimator.best_height)
    for target in (2, 5, 12):
        before, after = estimator.smart(target, conservative=False), again.smart(target, conservative=False)
        assert before == after
        assert before.feerate
    assert encode_estimates(again) == encode_estimates(estimator)


def test_damaged_files_are_refused() -> None:
    data = encode_estimates(trained(20))
    rng = random.Random(1)
    for size in (0, 3, 15, 16, 17, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(DecodeError):
            decode_estimates(data[:size])
    with pytest.raises(DecodeError, match="version"):
        decode_estimates(b"\x01" + data[1:])
    for _ in range(200):
        spoiled = bytearray(data)
        spoiled[rng.randrange(4000)] ^= 1 << rng.randrange(8)
        try:
            decode_estimates(bytes(spoiled))
        except DecodeError:
            continue


def test_counts_take_memory_for_heights_at_which_anybody_waits() -> None:
    """The longest horizon looks back on a thousand blocks: two megabytes, nearly all of them zeros."""
    stats = ConfirmStats([1.0, 2.0], 3, 0.9, 2)
    stats.remove(5, 5, 1, in_block=True)  # it came before anybody counted
    assert sum(map(len, stats._waiting)) == 0
    stats.add(4, 1)
    stats.add(10, 1)  # which is the same place
    stats.add(11, 0)
    assert sum(map(len, stats._waiting)) == 4
    stats.remove(4, 8, 1, in_block=True)
    stats.next_block(16)
    assert (sum(map(len, stats._waiting)), stats._waiting_long) == (2, [0, 1])
    stats.next_block(17)
    assert (sum(map(len, stats._waiting)), stats._waiting_long) == (0, [1, 1])
