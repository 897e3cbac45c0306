"""Coins drawn at random: single random draw, and the older search for a sum that comes close (knapsack)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from btcnode.wallet.spending.coins import TOO_HEAVY, Algorithm, CoinGroup, NoSelection, Selection

if TYPE_CHECKING:
    from random import Random

CHANGE_LOWER = 50_000  # satoshi: change that is aimed at lies between these
CHANGE_UPPER = 1_000_000
ITERATIONS = 1000


def change_target(payment: int, change_fee: int, random: Random) -> int:
    """How much change to aim at for payments of ``payment`` satoshi on average, with the fee for its output.

    Random between 50,000 satoshi and twice the payment, so that neither tells which output is which.
    """
    if payment <= CHANGE_LOWER // 2:
        return change_fee + CHANGE_LOWER
    return change_fee + CHANGE_LOWER + random.randrange(min(payment * 2, CHANGE_UPPER) - CHANGE_LOWER)


def single_random_draw(
    groups: Sequence[CoinGroup], target: int, change_fee: int, random: Random, max_weight: int
) -> Selection:
    """Groups in random order until they pay the target and the smallest change that is aimed at.

    When they become too heavy those worth least are put back. All groups have positive amounts. Raises NoSelection.
    """
    wanted = target + CHANGE_LOWER + change_fee
    order = list(range(len(groups)))
    random.shuffle(order)
    heap: list[tuple[int, int]] = []
    amount = weight = 0
    heavy = False
    for place in order:
        heappush(heap, (groups[place].amount, place))
        amount += groups[place].amount
        weight += groups[place].weight
        while weight > max_weight and heap:
            heavy = True
            out = groups[heappop(heap)[1]]
            amount -= out.amount
            weight -= out.weight
        if amount >= wanted:
            return Selection(target, Algorithm.SRD, [groups[taken] for _, taken in heap])
    raise NoSelection(TOO_HEAVY if heavy else "")


def knapsack(groups: Sequence[CoinGroup], target: int, min_change: int, random: Random, max_weight: int) -> Selection:
    """The groups that come closest to the target, or else to the target and ``min_change``, that a thousand attempts
    find.

    A single larger group is taken where that comes closer. Raises NoSelection.
    """

    def taken(chosen: Sequence[CoinGroup]) -> Selection:
        return Selection(target, Algorithm.KNAPSACK, chosen)

    shuffled = list(groups)
    random.shuffle(shuffled)
    light = [group for group in shuffled if group.weight <= max_weight]
    heavy = len(light) < len(shuffled)
    larger: CoinGroup | None = None
    smaller: list[CoinGroup] = []
    for group in light:
        if group.amount == target:
            return taken([group])
        if group.amount < target + min_change:
            smaller.append(group)
        elif larger is None or group.amount < larger.amount:
            larger = group
    total = sum(group.amount for group in smaller)
    if total == target:
        if sum(group.weight for group in smaller) <= max_weight:
            return taken(smaller)
        heavy = True
    if total < target:
        if larger is None:
            raise NoSelection(TOO_HEAVY if heavy else "")
        return taken([larger])
    smaller.sort(key=lambda group: (-group.amount, group.extra_cost))
    chosen, amount = _closest(smaller, total, target, random, max_weight)
    if amount != target and total >= target + min_change:
        chosen, amount = _closest(smaller, total, target + min_change, random, max_weight)
    if larger is not None and ((amount != target and amount < target + min_change) or larger.amount <= amount):
        return taken([larger])
    if sum(group.weight for group in chosen) > max_weight:
        if larger is None:
            raise NoSelection(TOO_HEAVY)
        return taken([larger])
    return taken(chosen)


def _closest(
    groups: Sequence[CoinGroup], total: int, target: int, random: Random, max_weight: int
) -> tuple[list[CoinGroup], int]:
    """Of random subsets the one whose sum is the least that is not below the target; all of them, when none is.

    ``groups`` are in falling order of their amounts. Each attempt tosses a coin for every group, then goes through
    those that were left out; a group that reaches the target is noted and taken out again, as a smaller one behind it
    may do. Of many in a row that reach it only the smallest is looked at: there may be tens of thousands of groups.
    """
    amounts = [group.amount for group in groups]
    weights = [group.weight for group in groups]
    falling = [-amount for amount in amounts]
    heaviest = max(weights, default=0)
    best: Sequence[int] = range(len(groups))
    best_amount = total
    for _ in range(ITERATIONS):
        if best_amount == target:
            break
        tossed = f"{random.getrandbits(len(groups)):0{len(groups)}b}"[::-1] if groups else ""
        included: list[int] = []
        amount = weight = 0
        reached = False
        for side in "10":
            at = tossed.find(side)
            while at >= 0 and weight <= max_weight:  # nothing that is too heavy gets lighter
                if amount + amounts[at] < target or weight + weights[at] > max_weight:
                    included.append(at)
                    amount += amounts[at]
                    weight += weights[at]
                    at = tossed.find(side, at + 1)
                    continue
                reached = True
                behind = at + 1
                if weight + heaviest <= max_weight:
                    behind = bisect_right(falling, amount - target)  # from here on they do not reach it
                    least = falling[tossed.rfind(side, at, behind)]
                    at = tossed.find(side, max(at, bisect_left(falling, least)))
                if amount + amounts[at] < best_amount:
                    best_amount, best = amount + amounts[at], [*included, at]
                at = tossed.find(side, behind)
            if reached:
                break
    return [groups[place] for place in sorted(best)], best_amount
