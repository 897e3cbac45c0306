"""Coins that need no change (Erhardt, "An Evaluation of Coin Selection Strategies", 2016).

A search through all subsets, the larger coins first, for one whose effective value is the target or more than it by no
more than change would cost. Among those that are found the one with the least waste counts. Core's, step for step: with
the same coins the same are chosen, also where the search is cut short.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from btcnode.primitives.amounts import MAX_MONEY
from btcnode.wallet.spending.coins import TOO_HEAVY, Algorithm, CoinGroup, NoSelection, Selection

MAX_TRIES = 100_000


def sums_from(values: Sequence[int]) -> list[int]:
    """For each place the sum from there to the end, and 0 behind it."""
    return list(accumulate(reversed(values), initial=0))[::-1]


def branch_and_bound(
    groups: Sequence[CoinGroup], target: int, cost_of_change: int, max_weight: int, tries: int = MAX_TRIES
) -> Selection:
    """The least wasteful groups worth between ``target`` and ``target + cost_of_change``.

    All groups have positive amounts. Raises NoSelection.
    """
    pool = sorted(groups, key=lambda group: (-group.amount, group.extra_cost))
    amounts = [group.amount for group in pool]
    left = sums_from(amounts)
    if not pool or left[0] < target:
        raise NoSelection
    found, heavy = _search(pool, amounts, left, (target, target + cost_of_change), max_weight, tries)
    if not found:
        raise NoSelection(TOO_HEAVY if heavy else "")
    result = Selection(target, Algorithm.BNB, [pool[place] for place in found])
    result.weigh_waste(cost_of_change, cost_of_change, 0)
    return result


def _search(
    pool: Sequence[CoinGroup],
    amounts: Sequence[int],
    left: Sequence[int],
    window: tuple[int, int],
    max_weight: int,
    tries: int,
) -> tuple[list[int], bool]:
    """Places of the best groups, and whether any attempt was given up for its weight."""
    low, high = window
    costs = [group.extra_cost for group in pool]
    is_dear = costs[0] > 0  # then each further input adds waste, so that more than the least so far is hopeless
    best: list[int] = []
    best_waste = MAX_MONEY
    chosen: list[int] = []
    place = value = waste = weight = 0
    heavy = False
    for _ in range(tries):
        turn_back = True
        if value + left[place] < low or value > high or (is_dear and waste > best_waste):
            pass
        elif weight > max_weight:
            heavy = True
        elif value >= low:
            if waste + value - low <= best_waste:
                best, best_waste = chosen.copy(), waste + value - low
        else:
            turn_back = False
        if turn_back:
            if not chosen:
                break
            place = chosen.pop()
            value -= amounts[place]
            waste -= costs[place]
            weight -= pool[place].weight
        elif not (
            # the same without its twin before it has been tried
            chosen
            and chosen[-1] != place - 1
            and amounts[place] == amounts[place - 1]
            and pool[place].fee == pool[place - 1].fee
        ):
            chosen.append(place)
            value += amounts[place]
            waste += costs[place]
            weight += pool[place].weight
        place += 1
    return best, heavy
