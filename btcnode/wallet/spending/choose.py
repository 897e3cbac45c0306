"""Choosing coins for a payment: whose turn it is (groups, confirmations), by which search, and what was the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from btcnode.descriptors.descriptor import OutputType
from btcnode.mempool.entry import WITNESS_SCALE_FACTOR
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.mempool.truc import CHILD_MAX_VSIZE, TRUC_VERSION
from btcnode.wallet.spending.branch_and_bound import branch_and_bound
from btcnode.wallet.spending.coin_grinder import coin_grinder
from btcnode.wallet.spending.coins import Algorithm, CoinGroup, NoSelection, PricedCoin, Selection
from btcnode.wallet.spending.random_selection import knapsack, single_random_draw

if TYPE_CHECKING:
    from random import Random

MAX_GROUP_COINS = 100  # more of one address make several groups, so that a fee surprises nobody
CHAIN_LIMIT = 25  # ancestors and descendants that older nodes relay
HIGH_RATE_FACTOR = 3  # from so many times the long-term feerate on, weight is what matters
UNLIMITED = 2**63

BASE_TOO_HEAVY = "Maximum transaction weight is less than transaction weight without inputs"
NO_ROOM_FOR_CHANGE = "Maximum transaction weight is too low, can not accommodate change output"
ENORMOUS_CLUSTER = (
    "Failed to calculate bump fees, because unconfirmed UTXOs depend on an enormous cluster of unconfirmed"
    " transactions."
)
NOT_COVERED = (
    "The preselected coins total amount does not cover the transaction target. Please allow other inputs to be"
    " automatically selected or include more coins manually"
)
TOGETHER_TOO_HEAVY = (
    "The combination of the pre-selected inputs and the wallet automatic inputs selection exceeds the transaction"
    " maximum weight. Please try sending a smaller amount or manually consolidating your wallet's UTXOs"
)
LONG_CHAIN = (
    "Unconfirmed UTXOs are available, but spending them creates a chain of transactions that will be rejected by"
    " the mempool"
)

BumpFee = Callable[[Sequence[bytes], int], int | None]
"""What unconfirmed outpoints take together at a feerate, None when that cannot be computed."""


@dataclass(frozen=True, slots=True)
class SelectionTerms:
    """What a selection is for. Rates in satoshi per kvB, sizes in vbytes, weights in weight units, fees in satoshi.

    ``base_vsize`` is that of the transaction without inputs and change. With ``by_value`` the recipients pay the fee.
    ``chain_limit``: so many unconfirmed transactions may depend on each other.
    """

    rate: int = 0
    long_term_rate: int = 0
    base_vsize: int = 0
    change_vsize: int = 0
    change_fee: int = 0
    cost_of_change: int = 0
    min_change_target: int = 0
    min_viable_change: int = 0
    max_weight: int = MAX_STANDARD_TX_WEIGHT
    version: int = 2
    by_value: bool = False
    avoid_partial_spends: bool = False
    include_unsafe: bool = False
    spend_zero_conf_change: bool = True
    reject_long_chains: bool = True
    chain_limit: int = CHAIN_LIMIT

    def weigh(self, selection: Selection) -> None:
        """Compute the waste of a selection."""
        selection.weigh_waste(self.min_viable_change, self.cost_of_change, self.change_fee)


class Turn(NamedTuple):
    """Which groups may be spent: how deep own and foreign coins have to be, and how long their chains may be."""

    own_depth: int
    foreign_depth: int
    max_ancestors: int
    max_cluster: int
    partial_groups: bool = False
    mixed_types: bool = True

    def admits(self, group: CoinGroup) -> bool:
        """Whether a group may be spent."""
        depth = self.own_depth if group.is_from_me else self.foreign_depth
        return (
            group.depth >= depth and group.ancestors <= self.max_ancestors and group.cluster_count <= self.max_cluster
        )


def turns(terms: SelectionTerms) -> list[Turn]:
    """From the safest coins to those that will just do."""
    limit = terms.chain_limit
    found = [Turn(1, 6, 0, 0, mixed_types=False), Turn(1, 1, 0, 0)]
    if terms.spend_zero_conf_change:
        third = min(4, limit // 3)
        found += [Turn(0, 1, 2, 2), Turn(0, 1, third, third), Turn(0, 1, limit // 2, limit // 2)]
        found.append(Turn(0, 1, limit - 1, limit - 1, partial_groups=True))
        if terms.include_unsafe:
            found.append(Turn(0, 0, limit - 1, limit - 1, partial_groups=True))
        if not terms.reject_long_chains:
            found.append(Turn(0, 1, UNLIMITED, UNLIMITED, partial_groups=True))
    return list(dict.fromkeys(found))  # low limits make some of them the same


class Groups(NamedTuple):
    """Groups of positive amounts, and with those that cost more than they are worth."""

    positive: list[CoinGroup]
    mixed: list[CoinGroup]


class Candidates:
    """The groups that one turn admits, by type and all together."""

    def __init__(self) -> None:
        self.by_type: dict[OutputType | None, Groups] = {}
        self.all = Groups([], [])

    def add(self, group: CoinGroup, *, positive: bool, mixed: bool) -> None:
        """Take a group in, as a positive one or among all."""
        own = self.by_type.setdefault(group.coins[0].kind, Groups([], []))
        for groups in (own, self.all):
            if positive and group.amount > 0:
                groups.positive.append(group)
            if mixed:
                groups.mixed.append(group)


def group_coins(
    coins: Iterable[PricedCoin], terms: SelectionTerms, ordered: Sequence[Turn]
) -> tuple[dict[Turn, Candidates], list[CoinGroup]]:
    """The groups for each turn, and those that are for none.

    Each coin is one, or with ``avoid_partial_spends`` all coins of a script are, up to a hundred.
    """
    found: dict[Turn, Candidates] = {}
    discarded = []

    def enter(group: CoinGroup, *, positive: bool, mixed: bool, partial: bool = False) -> None:
        admitted = [turn for turn in ordered if turn.admits(group) and (turn.partial_groups or not partial)]
        for turn in admitted:
            found.setdefault(turn, Candidates()).add(group, positive=positive, mixed=mixed)
        if not admitted:
            discarded.append(group)

    if not terms.avoid_partial_spends:
        for coin in coins:
            enter(CoinGroup([coin], by_value=terms.by_value), positive=True, mixed=True)
        return found, discarded
    for positive in (False, True):
        by_script: dict[tuple[bytes, OutputType | None], list[PricedCoin]] = {}
        for coin in coins:
            if not positive or coin.effective_value > 0:
                by_script.setdefault((coin.txout[8:], coin.kind), []).append(coin)
        for _, same in sorted(by_script.items(), key=lambda item: item[0][0]):
            starts = range(0, len(same), MAX_GROUP_COINS)
            for start in reversed(starts):
                group = CoinGroup(same[start : start + MAX_GROUP_COINS], by_value=terms.by_value)
                last_of_many = start == starts[-1] and len(starts) > 1
                enter(group, positive=positive, mixed=not positive, partial=last_of_many)
    return found, discarded


def search(groups: Groups, target: int, terms: SelectionTerms, random: Random, bump_fee: BumpFee) -> Selection:
    """The least wasteful selection that the searches come upon. Raises NoSelection."""
    room = terms.max_weight - terms.base_vsize * WITNESS_SCALE_FACTOR
    if room <= 0:
        raise NoSelection(BASE_TOO_HEAVY)
    found: list[Selection] = []
    reasons: list[str] = []

    def attempt(make: Callable[[], Selection]) -> None:
        try:
            found.append(make())
        except NoSelection as error:
            reasons.append(str(error))

    if not terms.by_value:  # then a set without change tends to come out wrong
        attempt(lambda: branch_and_bound(groups.positive, target, terms.cost_of_change, room))
    room -= terms.change_vsize * WITNESS_SCALE_FACTOR
    if room < 0 and not found:
        raise NoSelection(NO_ROOM_FOR_CHANGE)
    attempt(lambda: knapsack(groups.mixed, target, terms.min_change_target, random, room))
    if terms.rate > HIGH_RATE_FACTOR * terms.long_term_rate:
        attempt(lambda: coin_grinder(groups.positive, target, terms.min_change_target, room))
    attempt(lambda: single_random_draw(groups.positive, target, terms.change_fee, random, room))
    if not found:
        raise NoSelection(next(filter(None, reasons), ""))
    for selection in found:
        unconfirmed = [coin for coin in selection.coins if coin.depth <= 0]
        combined = bump_fee([coin.outpoint for coin in unconfirmed], terms.rate) if unconfirmed else 0
        if combined is None:
            raise NoSelection(ENORMOUS_CLUSTER)
        selection.discount = max(0, sum(coin.bump_fee for coin in unconfirmed) - combined)
        terms.weigh(selection)
    return min(found, key=lambda selection: selection.rank)


def _from_one_turn(
    candidates: Candidates, target: int, terms: SelectionTerms, random: Random, bump_fee: BumpFee, *, mixed_types: bool
) -> Selection:
    """The best selection of coins of one type, or if there is none of all types. Raises NoSelection."""
    found = []
    for kind in sorted(candidates.by_type, key=_TYPE_ORDER.index):
        try:
            found.append(search(candidates.by_type[kind], target, terms, random, bump_fee))
        except NoSelection as error:
            if str(error):
                raise
    if found:
        return min(found, key=lambda selection: selection.rank)
    if mixed_types and len(candidates.by_type) > 1:
        return search(candidates.all, target, terms, random, bump_fee)
    raise NoSelection


_TYPE_ORDER: list[OutputType | None] = [*OutputType, None]


def choose_automatically(
    coins: Sequence[PricedCoin], target: int, terms: SelectionTerms, random: Random, bump_fee: BumpFee
) -> Selection:
    """Coins for a target, the safest that will do. Raises NoSelection."""
    coins = list(coins)
    if terms.avoid_partial_spends and len(coins) > MAX_GROUP_COINS:
        random.shuffle(coins)
    ordered = turns(terms)
    grouped, discarded = group_coins(coins, terms, ordered)
    lost = sum(group.amount for group in discarded)
    left = sum(coin.value for coin in coins) - lost
    if left < target:
        long = [group.amount for group in discarded if max(group.ancestors, group.cluster_count) >= terms.chain_limit]
        raise NoSelection(LONG_CHAIN if left + sum(long) > target else "")
    reasons = []
    for turn in ordered:
        candidates = grouped.get(turn)
        if candidates is None:
            continue
        if terms.version == TRUC_VERSION and 0 in (turn.own_depth, turn.foreign_depth):
            terms = replace(terms, max_weight=min(terms.max_weight, CHILD_MAX_VSIZE * WITNESS_SCALE_FACTOR))
        try:
            return _from_one_turn(candidates, target, terms, random, bump_fee, mixed_types=turn.mixed_types)
        except NoSelection as error:
            reasons.append(str(error))
    raise NoSelection(next(filter(None, reasons), ""))


def choose(
    available: Sequence[PricedCoin],
    preset: Mapping[bytes, PricedCoin],
    target: int,
    terms: SelectionTerms,
    random: Random,
    bump_fee: BumpFee,
    *,
    others_allowed: bool = True,
) -> Selection:
    """The coins that are to be spent in any case (``preset``), and where they do not suffice others that are available.

    Raises NoSelection.
    """
    given = list(preset.values())

    def total(coins: Iterable[PricedCoin]) -> int:
        return sum(coin.value if terms.by_value else coin.effective_value for coin in coins)

    missing = target - total(given)
    if not others_allowed and missing > 0:
        raise NoSelection(NOT_COVERED)
    manual = Selection(target if missing <= 0 else total(given), Algorithm.MANUAL, by_value=terms.by_value)
    manual.add(given)
    if missing <= 0:
        terms.weigh(manual)
        return manual
    if missing > total(available):
        raise NoSelection
    selection = choose_automatically(available, missing, terms, random, bump_fee)
    if given:
        selection.merge(manual)
        terms.weigh(selection)
        if selection.weight > terms.max_weight - terms.base_vsize * WITNESS_SCALE_FACTOR:
            raise NoSelection(TOGETHER_TOO_HEAVY)
    return selection
