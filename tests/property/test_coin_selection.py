"""Coin selection beside a solver that looks at every subset."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from btcnode.wallet.spending import random_selection
from btcnode.wallet.spending.branch_and_bound import branch_and_bound
from btcnode.wallet.spending.choose import SelectionTerms, choose
from btcnode.wallet.spending.coin_grinder import coin_grinder
from btcnode.wallet.spending.coins import Algorithm, CoinGroup, NoSelection, PricedCoin, Selection
from btcnode.wallet.spending.random_selection import CHANGE_LOWER, knapsack, single_random_draw
from tests.lib.coin_pools import coin

CHANGE = 50_000
values = st.integers(1, 12).map(lambda n: n * 25_000) | st.integers(1, 400_000)
pools = st.lists(st.tuples(values, st.sampled_from((58, 68, 91, 148))), max_size=8)
rates = st.sampled_from((0, 1000, 10_000, 10_001, 40_000))
targets = st.integers(1, 900_000)
rooms = st.sampled_from((400_000, 1200, 700))


def made(pool: list[tuple[int, int]], rate: int) -> list[CoinGroup]:
    return [CoinGroup([coin(value, rate=rate, vsize=vsize)]) for value, vsize in pool]


def subsets(groups: list[CoinGroup]) -> Iterator[tuple[CoinGroup, ...]]:
    for size in range(1, len(groups) + 1):
        yield from combinations(groups, size)


def amount(groups: tuple[CoinGroup, ...]) -> int:
    return sum(group.amount for group in groups)


def weight(groups: tuple[CoinGroup, ...]) -> int:
    return sum(group.weight for group in groups)


def selected(selection: Selection, groups: list[CoinGroup]) -> tuple[CoinGroup, ...]:
    known = {group.coins[0].outpoint: group for group in groups}
    return tuple(known[item.outpoint] for item in selection.coins)


@given(pools, targets, st.integers(0, 30_000), rates, rooms)
def test_branch_and_bound_wastes_least(
    pool: list[tuple[int, int]], target: int, cost: int, rate: int, room: int
) -> None:
    groups = made(pool, rate)
    fitting = [
        chosen
        for chosen in subsets(groups)
        if target <= amount(chosen) <= target + cost
        and weight(chosen) <= room
        # with low fees more inputs waste less, but none is added to what suffices
        and amount(chosen) - min(group.amount for group in chosen) < target
    ]

    def waste(chosen: tuple[CoinGroup, ...]) -> int:
        return sum(group.extra_cost for group in chosen) + amount(chosen) - target

    try:
        found = selected(branch_and_bound(groups, target, cost, room), groups)
    except NoSelection:
        assert not fitting
        return
    assert target <= amount(found) <= target + cost and weight(found) <= room
    assert waste(found) == min(map(waste, fitting))


@given(pools, targets, st.integers(0, 60_000), rooms)
def test_coin_grinder_is_lightest(pool: list[tuple[int, int]], target: int, change: int, room: int) -> None:
    groups = made(pool, 40_000)
    fitting = [chosen for chosen in subsets(groups) if amount(chosen) >= target + change and weight(chosen) <= room]
    try:
        found = selected(coin_grinder(groups, target, change, room), groups)
    except NoSelection:
        assert not fitting
        return
    assert (weight(found), amount(found)) == min((weight(chosen), amount(chosen)) for chosen in fitting)


@given(pools, targets, st.integers(0, 5), rooms)
def test_random_draws_suffice(pool: list[tuple[int, int]], target: int, seed: int, room: int) -> None:
    groups = made(pool, 1000)
    total = sum(group.amount for group in groups)
    try:
        drawn = single_random_draw(groups, target, 31, Random(seed), room)
    except NoSelection as error:
        assert str(error) or total < target + 31 + CHANGE_LOWER
    else:
        assert drawn.effective_value >= target + 31 + CHANGE_LOWER and drawn.weight <= room
    try:
        closest = knapsack(groups, target, CHANGE, Random(seed), room)
    except NoSelection as error:
        assert str(error) or total < target
    else:
        assert closest.effective_value >= target and closest.weight <= room


def group_by_group(groups: list[CoinGroup], target: int, random: Random, room: int) -> tuple[set[int], int]:
    """The thousand attempts of the older search, each group looked at in each."""
    best, best_amount = set(range(len(groups))), sum(group.amount for group in groups)
    for _ in range(random_selection.ITERATIONS):
        if best_amount == target:
            break
        tossed = random.getrandbits(len(groups))
        included: set[int] = set()
        total = heft = 0
        reached = False
        for second in (False, True):
            left_out = {place for place in range(len(groups)) if place not in included}
            for place, group in enumerate(groups):
                if not (place in left_out if second else tossed >> place & 1):
                    continue
                if total + group.amount >= target and heft + group.weight <= room:
                    reached = True
                    if total + group.amount < best_amount:
                        best, best_amount = {*included, place}, total + group.amount
                else:
                    included.add(place)
                    total += group.amount
                    heft += group.weight
            if reached:
                break
    return best, best_amount


@settings(max_examples=60)
@given(
    st.lists(st.tuples(values, st.sampled_from((58, 68, 91, 148))), min_size=1, max_size=25),
    targets,
    st.integers(0, 5),
    st.sampled_from((400_000, 5000, 1200)),
)
def test_leaps_of_the_older_search_find_what_steps_find(
    pool: list[tuple[int, int]], target: int, seed: int, room: int
) -> None:
    groups = sorted(made(pool, 0), key=lambda group: -group.amount)
    whole = sum(group.amount for group in groups)
    found, worth = random_selection._closest(groups, whole, target, Random(seed), room)
    places, best = group_by_group(groups, target, Random(seed), room)
    assert worth == best and found == [groups[place] for place in sorted(places)]


@given(pools, targets, st.integers(0, 5), rates, st.booleans(), st.booleans())
def test_a_choice_pays_for_itself(
    pool: list[tuple[int, int]], target: int, seed: int, rate: int, by_value: bool, partial: bool
) -> None:
    coins = [
        coin(value, rate=rate, vsize=vsize, script=b"\0\x14" + bytes([number % 3]) * 20)
        for number, (value, vsize) in enumerate(pool)
    ]
    terms = SelectionTerms(
        rate=rate, long_term_rate=10_000, base_vsize=42, change_vsize=31, change_fee=rate * 31 // 1000,
        cost_of_change=200 + rate * 31 // 1000, min_change_target=CHANGE, min_viable_change=300, by_value=by_value,
        avoid_partial_spends=partial,
    )  # fmt: skip
    preset = {item.outpoint: item for item in coins[:1]}

    def unbumped(outpoints: object, at: int) -> int:
        return 0

    def left(chosen: list[PricedCoin]) -> int:
        return sum(item.value if by_value else item.effective_value for item in chosen)

    try:
        found = choose(coins[1:], preset, target, terms, Random(seed), unbumped)
    except NoSelection:
        assert left(coins) < target or by_value or partial or any(item.effective_value <= 0 for item in coins)
        return
    assert set(preset) <= {item.outpoint for item in found.coins}
    assert left(found.coins) >= target
    change = found.change(terms.min_viable_change, terms.change_fee)
    assert change == 0 or change >= terms.min_viable_change
    if partial and found.algorithm is not Algorithm.MANUAL:
        taken = {item.outpoint for item in found.coins} - set(preset)
        scripts = {item.txout[8:] for item in found.coins if item.outpoint in taken}
        rest = [item for item in coins[1:] if item.outpoint not in taken and item.txout[8:] in scripts]
        assert not [item for item in rest if item.effective_value > 0]
