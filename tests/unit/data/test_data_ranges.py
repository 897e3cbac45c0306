"""Ranges of heights and their partitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.data.ranges import check_partition, checked_range, partitions
from btcnode.errors import ConfigError


@given(st.integers(0, 30_000), st.integers(0, 5000), st.sampled_from([1, 10, 100, 1000]))
def test_partitions_follow_each_other_and_never_overlap_halfway(first: int, count: int, largest: int) -> None:
    last = first + count
    found = partitions(first, last, largest)
    assert [height for start, end in found for height in range(start, end + 1)] == list(range(first, last + 1))
    for start, end in found:
        size = end - start + 1
        assert size in (1, 10, 100, 1000) and size <= largest and start % size == 0


def test_a_tip_moves_few_partitions() -> None:
    before, after = set(partitions(0, 123_456)), set(partitions(0, 123_457))
    assert after - before == {(123_457, 123_457)} and before <= after
    assert len(partitions(0, 123_999)) == 124


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (11, None), (0, 11), (5, 4)])
def test_ranges_that_are_not_there(first: int, last: int | None) -> None:
    with pytest.raises(ConfigError):
        checked_range(first, last, 10)


def test_the_whole_range_is_up_to_the_tip() -> None:
    assert checked_range(3, None, 10) == (3, 10)


@pytest.mark.parametrize("blocks", [0, -10, 2, 20, 101, 110])
def test_partitions_are_powers_of_ten(blocks: int) -> None:
    with pytest.raises(ConfigError, match="1, 10, 100"):
        check_partition(blocks)
