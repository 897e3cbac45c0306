"""The lightest coins that pay the target and some change: for when fees are high (Core's ``CoinGrinder``)."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.primitives.amounts import MAX_MONEY
from btcnode.wallet.spending.branch_and_bound import MAX_TRIES, sums_from
from btcnode.wallet.spending.coins import TOO_HEAVY, Algorithm, CoinGroup, NoSelection, Selection

_NO_WEIGHT = 2**31 - 1  # of what comes behind the last group


def coin_grinder(
    groups: Sequence[CoinGroup], target: int, change_target: int, max_weight: int, tries: int = MAX_TRIES
) -> Selection:
    """The lightest groups worth ``target + change_target``, of equally light ones those worth least.

    All groups have positive amounts. Raises NoSelection. The result says whether the search saw everything.
    """
    search = _Search(groups, target + change_target, max_weight)
    if not search.pool or search.after[0] + search.amounts[0] < search.wanted:
        raise NoSelection
    complete = search.run(tries)
    if not search.best:
        raise NoSelection(TOO_HEAVY if search.heavy else "")
    result = Selection(target, Algorithm.CG, [search.pool[place] for place in search.best])
    result.is_complete, result.tries = complete, search.tried
    return result


class _Search:
    """A walk through the subsets, depth first, larger groups first."""

    def __init__(self, groups: Sequence[CoinGroup], wanted: int, max_weight: int) -> None:
        self.pool = sorted(groups, key=lambda group: (-group.amount, group.weight))
        self.amounts = [group.amount for group in self.pool]
        self.weights = [group.weight for group in self.pool]
        self.after = sums_from(self.amounts)[1:]  # what the groups behind each one are worth
        self.lightest_after = self._lightest_after()
        self.wanted = wanted
        self.max_weight = max_weight
        self.best: list[int] = []
        self.heavy = False
        self.tried = 0
        self._best_weight, self._best_amount = max_weight, MAX_MONEY
        self._chosen: list[int] = []
        self._amount = self._weight = 0

    def _lightest_after(self) -> list[int]:
        found, lightest = [], _NO_WEIGHT
        for weight in reversed(self.weights):
            found.append(lightest)
            lightest = min(lightest, weight)
        return found[::-1]

    def run(self, tries: int) -> bool:
        """Search; whether all subsets that matter were seen."""
        place = 0
        while True:
            self._chosen.append(place)
            self._amount += self.amounts[place]
            self._weight += self.weights[place]
            self.tried += 1
            steps = self._judge(place)
            if self.tried >= tries:
                return False
            if place + 1 == len(self.pool):
                steps = 2
            if not steps:
                place += 1
                continue
            following = self._retreat(steps)
            if following is None:
                return True
            place = following

    def _judge(self, place: int) -> int:
        """Look at what is chosen, of which ``place`` is the last.

        0: add to it. 1: leave the last one out. 2: leave the one before it out too, since whatever takes the place of
        the last one is no better.
        """
        hopeless = 2 if self.weights[place] <= self.lightest_after[place] else 1
        if self._amount + self.after[place] < self.wanted:
            return 2
        if self._weight > self._best_weight:
            self.heavy = self.heavy or self._weight > self.max_weight
            return hopeless
        if self._amount >= self.wanted:
            if self._weight < self._best_weight or self._amount < self._best_amount:
                self.best = self._chosen.copy()
                self._best_weight, self._best_amount = self._weight, self._amount
            return 1
        if self.best:
            # those behind are worth no more than this one: so many of them are needed at least
            more = -(-(self.wanted - self._amount) // self.amounts[place])
            if self._weight + self.lightest_after[place] * more > self._best_weight:
                return hopeless
        return 0

    def _leave_out(self) -> int:
        place = self._chosen.pop()
        self._amount -= self.amounts[place]
        self._weight -= self.weights[place]
        return place

    def _retreat(self, steps: int) -> int | None:
        """Take the last ``steps`` groups back; the next one to try, None when nothing is left to be tried."""
        if steps == 2:
            self._leave_out()
        while self._chosen:
            place = self._leave_out() + 1
            # a twin of what was just left out is no better than it was
            while self.amounts[place - 1] == self.amounts[place]:
                if place >= len(self.pool) - 1:
                    break
                place += 1
            else:
                return place
        return None
