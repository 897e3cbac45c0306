"""The order in which strangers' transactions are verified: fair, by feerate, and nobody waits for ever."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.sync.tx_order import BASE_FEERATE, DOUBLING, DOUBLINGS, SHARES, SOURCES, TxOrder

INPUTS, SIZE = 2, 400  # work 4
WORK = 4


def drain(order: TxOrder[str]) -> list[str]:
    return [order.take() for _ in range(len(order))]


def test_a_peer_is_served_by_feerate_then_by_age() -> None:
    order: TxOrder[str] = TxOrder()
    for name, feerate in (("low", 100), ("old", 1000), ("new", 1000), ("high", 50_000), ("unknown", 0)):
        order.add(name, 1, INPUTS, SIZE, feerate)
    assert drain(order) == ["high", "old", "new", "low", "unknown"]


def test_peers_that_pay_the_same_take_turns() -> None:
    order: TxOrder[int] = TxOrder()
    for source, count in ((1, 300), (2, 3), (3, 3)):
        for _ in range(count):
            order.add(source, source, INPUTS, SIZE, 1000)
    assert [order.take() for _ in range(9)] == [1, 2, 3] * 3


def test_who_comes_later_begins_where_the_queue_is() -> None:
    order: TxOrder[int] = TxOrder()
    for _ in range(1000):
        order.add(1, 1, INPUTS, SIZE, 1000)
    for _ in range(500):
        order.take()
    order.add(2, 2, INPUTS, SIZE, 1000)
    assert 2 in [order.take() for _ in range(3)]


def test_a_large_transaction_counts_by_its_size() -> None:
    order: TxOrder[str] = TxOrder()
    order.add("first", 1, 1, 100_000, 1000)
    order.add("behind it", 1, 1, 200, 1000)
    for n in range(100):
        order.add(str(n), 2, INPUTS, SIZE, 1000)
    assert drain(order).index("behind it") > 100


def test_whose_scripts_were_invalid_has_no_bonus() -> None:
    order: TxOrder[str] = TxOrder()
    order.distrust(1)
    for _ in range(5):
        order.add("liar", 1, INPUTS, SIZE, 1_000_000)
        order.add("honest", 2, INPUTS, SIZE, 1000)
    assert drain(order)[:5] == ["honest"] * 5
    for _ in range(2000):  # the work after which he is trusted again
        order.add("liar", 1, INPUTS, SIZE, BASE_FEERATE)
    order.add("reformed", 1, INPUTS, SIZE, 1_000_000)
    assert order.take() == "reformed" or drain(order).index("reformed") < 1500


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30), st.integers(60, 9000), st.floats(0, 1e9)), max_size=60)
)
def test_everything_comes_out_once(items: list[tuple[int, int, int, float]]) -> None:
    order: TxOrder[int] = TxOrder()
    for n, (source, inputs, size, feerate) in enumerate(items):
        order.add(n, source, inputs, size, feerate)
    assert sorted(order.take() for _ in range(len(order))) == list(range(len(items)))
    with pytest.raises(IndexError):
        order.take()


@pytest.mark.parametrize("fresh", [False, True])
def test_no_feerate_keeps_a_waiting_transaction_waiting(fresh: bool) -> None:
    order: TxOrder[str] = TxOrder()
    order.add("poor", 0, INPUTS, SIZE, BASE_FEERATE)
    sources, taken, number = 100, 0, 1
    for source in range(1, sources + 1):
        order.add("rich", source, INPUTS, SIZE, 1e12)
    most = int((SHARES if fresh else sources) * (DOUBLING * DOUBLINGS + sources * WORK) / WORK) + sources
    while order.take() != "poor":
        taken += 1
        assert taken < most
        number += 1
        # always the same hundred peers, or a new connection for each transaction
        order.add("rich", number + sources if fresh else number % sources + 1, INPUTS, SIZE, 1e12)


def test_what_is_remembered_of_peers_is_bounded() -> None:
    order: TxOrder[int] = TxOrder()
    rng = Random(1)
    for source in range(3 * SOURCES):
        order.distrust(source)
        order.add(source, source, INPUTS, SIZE, rng.choice((100, 10_000)))
        order.take()
    assert len(order._ends) <= SOURCES + 1 and len(order._distrusted) <= SOURCES + 1
