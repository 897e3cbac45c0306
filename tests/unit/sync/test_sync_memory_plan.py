"""The division of memory: shares fit into the budget, grow with it, and never pass what was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from btcnode.sync.memory_plan import (
    FLUSH,
    HEADER,
    KERNELS,
    LARGE_BLOCK,
    LEAN_HEADER,
    MERGE,
    MIB,
    MIN_CACHE,
    PROCESS,
    QUEUE_FACTOR,
    WORKER,
    WRITER,
    Wishes,
    least,
    plan,
)

FLUSHING = MERGE + WRITER + FLUSH
USUAL = Wishes(headers=300, peers=125, workers=1, dbcache=450 * MIB, mempool=300_000_000)
WISHES = st.builds(
    Wishes,
    headers=st.integers(0, 3_000_000),
    peers=st.integers(0, 10_000),
    workers=st.integers(0, 63),
    dbcache=st.integers(4 * MIB, 1 << 44),
    mempool=st.integers(0, 1 << 44),
    keeps_coins=st.booleans(),
    kernels=st.booleans(),
)


@given(WISHES, st.integers(0, 1 << 36))
def test_what_may_come_at_once_fits_beside_the_coins(wishes: Wishes, extra: int) -> None:
    share = plan(least(wishes) + extra, wishes)
    at_once = (
        PROCESS
        + HEADER * wishes.headers * wishes.keeps_coins
        + FLUSHING * wishes.keeps_coins
        + LARGE_BLOCK
        + share.workers * WORKER
    )
    at_once += LEAN_HEADER * wishes.headers * (not wishes.keeps_coins)
    at_once += share.kernels * (1 + share.workers) * KERNELS
    at_once += QUEUE_FACTOR * share.queue + share.held + share.answers + share.lately
    assert at_once + share.coins <= share.limit
    # connections and a full mempool fit too, when the coins give way
    assert at_once + share.mempool + wishes.peers * (192 << 10) + MIN_CACHE <= share.limit
    assert share.workers <= wishes.workers and share.coins <= wishes.dbcache and share.mempool <= wishes.mempool


@given(WISHES, st.integers(0, 1 << 34))
def test_more_memory_gives_nobody_less(wishes: Wishes, limit: int) -> None:
    before, after = plan(limit, wishes), plan(limit + 50 * MIB, wishes)
    assert after.workers >= before.workers
    if (after.workers, after.kernels) == (before.workers, before.kernels):
        assert all(more >= less for more, less in zip(after, before, strict=True))


def test_usual_options_in_usual_memory_are_not_cut() -> None:
    share = plan(1536 * MIB, USUAL)
    assert share.coins == USUAL.dbcache and share.mempool == USUAL.mempool and share.workers == 1
    assert share.queue == 64 * MIB


def test_a_small_container_is_enough_for_a_node_and_mainnet_needs_more() -> None:
    assert least(USUAL) < 0.85 * 400 * MIB
    assert least(USUAL._replace(headers=960_000)) > least(USUAL) + 140 * MIB


def test_a_node_without_coins_at_mainnets_height_fits_where_one_with_coins_does_not() -> None:
    mainnet = Wishes(headers=960_000, peers=10, workers=0, dbcache=4 * MIB, mempool=5_000_000)
    headers = (HEADER - LEAN_HEADER) * mainnet.headers
    assert least(mainnet) - least(mainnet._replace(keeps_coins=False)) == FLUSHING + headers


def test_kernels_come_where_there_is_room_for_them() -> None:
    wishes = USUAL._replace(kernels=True)
    assert [plan(limit * MIB, wishes).kernels for limit in (340, 425, 595, 1536)] == [False, False, True, True]
    assert plan(425 * MIB, wishes) == plan(425 * MIB, USUAL)
    assert not plan(1536 * MIB, USUAL).kernels


def test_below_the_least_everybody_has_his_minimum() -> None:
    assert plan(0, USUAL)[1:] == plan(least(USUAL), USUAL)._replace(coins=MIN_CACHE)[1:]
