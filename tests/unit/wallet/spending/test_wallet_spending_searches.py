"""The searches for coins: the cases that Core tries too, at feerates from none to absurd ones."""

from __future__ import annotations

from random import Random

import pytest

from btcnode.mempool.feerate import fee_at
from btcnode.wallet.spending.branch_and_bound import branch_and_bound
from btcnode.wallet.spending.coin_grinder import coin_grinder
from btcnode.wallet.spending.coins import TOO_HEAVY, Algorithm, CoinGroup, NoSelection, Selection
from btcnode.wallet.spending.random_selection import (
    CHANGE_LOWER,
    CHANGE_UPPER,
    change_target,
    knapsack,
    single_random_draw,
)
from tests.lib.coin_pools import P2WPKH_VSIZE, coin, groups

CENT = 1_000_000
RATES = (0, 1, 99, 100, 315, 1000, 2345, 10_292, 59_764, 1_500_000)
ROOM = 400_000
INPUT_WEIGHT = 4 * P2WPKH_VSIZE


def cost_of_change(rate: int) -> int:
    return fee_at(3000, P2WPKH_VSIZE) + fee_at(rate, 31)


def worth(selection: Selection) -> list[int]:
    return sorted(coin.effective_value for coin in selection.coins)


def reason(search: object, *args: object) -> str:
    with pytest.raises(NoSelection) as caught:
        search(*args)  # type: ignore[operator]
    return str(caught.value)


@pytest.mark.parametrize("rate", RATES)
def test_branch_and_bound_finds_sets_without_change(rate: int) -> None:
    cost = cost_of_change(rate)
    pool = groups([CENT, 3 * CENT, 5 * CENT], rate=rate)
    assert reason(branch_and_bound, [], CENT, cost, ROOM) == ""
    for target, expected in (
        (CENT, [CENT]),
        (3 * CENT, [3 * CENT]),
        (5 * CENT, [5 * CENT]),
        (4 * CENT, [CENT, 3 * CENT]),
        (9 * CENT, [CENT, 3 * CENT, 5 * CENT]),
        (4 * CENT - cost, [CENT, 3 * CENT]),
    ):
        assert worth(branch_and_bound(pool, target, cost, ROOM)) == expected
    for target in (4 * CENT - cost - 1, CENT // 2, 7 * CENT, 10 * CENT):
        assert reason(branch_and_bound, pool, target, cost, ROOM) == ""
    assert worth(branch_and_bound(pool, 4 * CENT, cost, 2 * INPUT_WEIGHT)) == [CENT, 3 * CENT]
    assert reason(branch_and_bound, pool, 4 * CENT, cost, 2 * INPUT_WEIGHT - 1) == TOO_HEAVY


def test_branch_and_bound_tries_equal_coins_once() -> None:
    clones = [CoinGroup([coin(5 * CENT, rate=5000)])] * 50_000
    pool = groups([2 * CENT, 7 * CENT, 7 * CENT]) + clones
    found = branch_and_bound(pool, 16 * CENT, cost_of_change(5000), ROOM)
    assert worth(found) == [2 * CENT, 7 * CENT, 7 * CENT]


def test_branch_and_bound_gives_up_after_its_tries() -> None:
    cost = cost_of_change(5000)
    small = [CENT + n for n in range(8)]
    large = [CENT + cost + n for n in range(8, 18)]
    found = branch_and_bound(groups(small + large[:-1]), 8 * CENT, cost, ROOM)
    assert worth(found) == small
    assert reason(branch_and_bound, groups(small + large), 8 * CENT, cost, ROOM) == ""


def test_branch_and_bound_takes_many_coins_while_fees_are_low() -> None:
    values = [2 * CENT, 3 * CENT, 5 * CENT, 10 * CENT]
    low, high = groups(values, rate=5000), groups(values, rate=25_000)
    assert worth(branch_and_bound(low, 10 * CENT, cost_of_change(5000), ROOM)) == values[:3]
    assert worth(branch_and_bound(high, 10 * CENT, cost_of_change(25_000), ROOM)) == values[3:]
    heavy = [6 * CENT, 7 * CENT]
    low += groups(heavy, rate=5000, vsize=500)
    high += groups(heavy, rate=25_000, vsize=500)
    assert worth(branch_and_bound(low, 13 * CENT, cost_of_change(5000), ROOM)) == heavy
    assert worth(branch_and_bound(high, 13 * CENT, cost_of_change(25_000), ROOM)) == [3 * CENT, 10 * CENT]


@pytest.mark.parametrize("rate", RATES)
def test_single_random_draw_leaves_room_for_change(rate: int) -> None:
    fee = fee_at(rate, 31)
    pool = groups([CENT, 3 * CENT, 5 * CENT], rate=rate)
    assert reason(single_random_draw, [], CENT, fee, Random(1), ROOM) == ""
    for target in (21_000, CENT, 3_125_000, 4 * CENT, 7 * CENT, 9 * CENT - fee - CHANGE_LOWER):
        found = single_random_draw(pool, target, fee, Random(1), ROOM)
        assert found.effective_value >= target + fee + CHANGE_LOWER
    for target in (9 * CENT - fee - CHANGE_LOWER + 1, 9 * CENT, 9 * CENT + 1):
        assert reason(single_random_draw, pool, target, fee, Random(1), ROOM) == ""


def test_single_random_draw_puts_the_least_valuable_back() -> None:
    pool = groups([CENT, 3 * CENT, 5 * CENT] + 100 * [5 * CENT] + 3 * [7 * CENT])
    for seed in range(20):
        found = single_random_draw(pool, 20 * CENT, 155, Random(seed), 4 * INPUT_WEIGHT)
        assert found.weight <= 4 * INPUT_WEIGHT and found.effective_value > 20 * CENT
        assert reason(single_random_draw, pool, 25 * CENT, 155, Random(seed), 3 * INPUT_WEIGHT) == TOO_HEAVY


def test_coin_grinder_takes_the_lightest_coins() -> None:
    light = groups([2 * CENT] * 10, vsize=68)
    heavy = groups([20 * CENT], vsize=1000)
    found = coin_grinder(light + heavy, 15 * CENT, CHANGE_LOWER, ROOM)
    assert worth(found) == 8 * [2 * CENT] and found.is_complete
    assert worth(coin_grinder(light + heavy, 21 * CENT, CHANGE_LOWER, ROOM)) == [2 * CENT, 20 * CENT]
    assert reason(coin_grinder, light, 20 * CENT, CHANGE_LOWER, ROOM) == ""
    assert reason(coin_grinder, [], CENT, CHANGE_LOWER, ROOM) == ""
    assert reason(coin_grinder, light, 15 * CENT, CHANGE_LOWER, 7 * INPUT_WEIGHT) == TOO_HEAVY


def test_coin_grinder_says_when_it_was_cut_short() -> None:
    pool = groups([CENT + 7 * n for n in range(40)])
    found = coin_grinder(pool, 20 * CENT, CHANGE_LOWER, ROOM, tries=50)
    assert not found.is_complete and found.tries == 50 and found.effective_value >= 20 * CENT + CHANGE_LOWER


def test_knapsack_takes_what_fits_exactly() -> None:
    pool = groups([CENT, 2 * CENT, 3 * CENT, 4 * CENT])
    found = knapsack(pool, 3 * CENT, 50_000, Random(3), ROOM)
    assert worth(found) == [3 * CENT] and found.algorithm is Algorithm.KNAPSACK
    assert found.effective_value == 3 * CENT
    assert worth(knapsack(pool, 10 * CENT, 50_000, Random(3), ROOM)) == [CENT, 2 * CENT, 3 * CENT, 4 * CENT]
    assert knapsack(pool, 5 * CENT, 50_000, Random(3), ROOM).effective_value == 5 * CENT


def test_knapsack_falls_back_to_a_single_larger_coin() -> None:
    pool = groups([CENT, 2 * CENT, 50 * CENT, 100 * CENT])
    assert worth(knapsack(pool, 20 * CENT, 50_000, Random(3), ROOM)) == [50 * CENT]
    assert reason(knapsack, pool, 200 * CENT, 50_000, Random(3), ROOM) == ""
    many = groups([CENT] * 20)
    assert reason(knapsack, many, 15 * CENT + 1, 50_000, Random(3), 10 * INPUT_WEIGHT) == TOO_HEAVY
    assert reason(knapsack, many, 20 * CENT, 50_000, Random(3), INPUT_WEIGHT - 1) == TOO_HEAVY


def test_the_change_aimed_at_hides_which_output_it_is() -> None:
    assert change_target(CHANGE_LOWER // 2, 155, Random(1)) == CHANGE_LOWER + 155
    small = {change_target(30_000, 0, Random(seed)) for seed in range(200)}
    assert min(small) >= CHANGE_LOWER and max(small) < 60_000 and len(small) > 100
    large = {change_target(10 * CENT, 0, Random(seed)) for seed in range(200)}
    assert min(large) >= CHANGE_LOWER and CHANGE_UPPER // 2 < max(large) < CHANGE_UPPER


def test_waste_counts_change_or_else_what_is_given_away() -> None:
    pool = groups([CENT], rate=20_000)
    without = Selection(CENT - 1000, Algorithm.BNB, pool)
    without.weigh_waste(5000, 700, 0)
    extra = fee_at(20_000, P2WPKH_VSIZE) - fee_at(10_000, P2WPKH_VSIZE)
    assert without.change(5000, 0) == 0 and without.waste == extra + 1000
    with_change = Selection(CENT - 100_000, Algorithm.SRD, pool)
    with_change.weigh_waste(5000, 700, 300)
    assert with_change.change(5000, 300) == 99_700 and with_change.waste == extra + 700
    with_change.discount = 40
    with_change.weigh_waste(5000, 700, 300)
    assert with_change.waste == extra + 660


def test_a_coin_is_not_selected_twice() -> None:
    pool = groups([CENT])
    with pytest.raises(ValueError, match="twice"):
        Selection(CENT, Algorithm.BNB, pool + pool)
