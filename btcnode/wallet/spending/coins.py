"""What coins are chosen from: coins with the cost of spending them, groups that are spent together, and a selection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from btcnode.descriptors.descriptor import OutputType
from btcnode.mempool.entry import WITNESS_SCALE_FACTOR
from btcnode.mempool.feerate import fee_at
from btcnode.primitives.coin import txout_value
from btcnode.wallet.spending.sizes import InputSize

TOO_HEAVY = (
    "The inputs size exceeds the maximum weight. Please try sending a smaller amount or manually consolidating your"
    " wallet's UTXOs"
)
DEEP = 999  # confirmations of a group without coins: any coin has fewer, or it does not matter


class NoSelection(Exception):
    """No coins that will do were found; ``str()`` is Core's reason, or "" where there is none but that."""


class Algorithm(StrEnum):
    """How a selection came about, named as in Core's log."""

    BNB = "bnb"
    KNAPSACK = "knapsack"
    SRD = "srd"
    CG = "cg"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class PricedCoin:
    """An output that may be spent, and what that costs.

    ``size`` says how large the signed input becomes, None where that is not known. ``kind`` is None for a script of
    no usual type. ``ancestors`` counts the unconfirmed transactions that it takes along, its own among them. ``fee``
    pays for its input and, with ``bump_fee``, for what its unconfirmed ancestors lack; ``long_term_fee`` is what the
    input will cost one day.
    """

    outpoint: bytes
    txout: bytes
    size: InputSize | None = None
    depth: int = 0
    kind: OutputType | None = None
    is_from_me: bool = False
    ancestors: int = 0
    cluster_count: int = 0
    fee: int = 0
    long_term_fee: int = 0
    bump_fee: int = 0

    @property
    def value(self) -> int:
        """Satoshi."""
        return txout_value(self.txout)

    @property
    def effective_value(self) -> int:
        """What is left of it when it has paid for itself."""
        return self.value - self.fee

    @property
    def vsize(self) -> int:
        """Of the signed input, 0 where it is not known."""
        return self.size.vsize if self.size is not None else 0

    @property
    def weight(self) -> int:
        """The same in weight units."""
        return self.vsize * WITNESS_SCALE_FACTOR

    def priced(self, rate: int, long_term_rate: int, bump_fee: int = 0) -> PricedCoin:
        """With the fees at these rates (sat/kvB)."""
        vsize = self.vsize
        fee = fee_at(rate, vsize) + bump_fee
        return replace(self, fee=fee, long_term_fee=fee_at(long_term_rate, vsize), bump_fee=bump_fee)


class CoinGroup:
    """Coins that are spent together or not at all; ``amount`` is what a search counts with.

    That is the effective value, or with ``by_value`` (the recipients pay the fee) the value. ``ancestors`` is the sum
    over the coins, ``cluster_count`` the highest of them, ``depth`` the lowest.
    """

    __slots__ = (
        "amount", "ancestors", "by_value", "cluster_count", "coins", "depth", "fee", "is_from_me", "long_term_fee",
        "weight",
    )  # fmt: skip

    def __init__(self, coins: Sequence[PricedCoin], *, by_value: bool = False) -> None:
        self.coins = tuple(coins)
        self.by_value = by_value
        self.amount = sum(coin.value if by_value else coin.effective_value for coin in coins)
        self.fee = sum(coin.fee for coin in coins)
        self.long_term_fee = sum(coin.long_term_fee for coin in coins)
        self.weight = sum(coin.weight for coin in coins)
        self.depth = min((coin.depth for coin in coins), default=DEEP)
        self.is_from_me = all(coin.is_from_me for coin in coins)
        self.ancestors = sum(coin.ancestors for coin in coins)
        self.cluster_count = max((coin.cluster_count for coin in coins), default=0)

    @property
    def extra_cost(self) -> int:
        """What spending it now costs more than spending it one day; negative when it costs less."""
        return self.fee - self.long_term_fee


class Selection:
    """Coins for a target: the sum of the payments, and the fee for everything but the inputs.

    ``discount`` is what the sum of the coins' bump fees is too high by, because they share ancestors. ``waste`` is
    there after ``weigh_waste``. ``is_complete`` tells whether the search saw everything; ``tries`` is how far it
    went.
    """

    def __init__(
        self, target: int, algorithm: Algorithm, groups: Iterable[CoinGroup] = (), *, by_value: bool = False
    ) -> None:
        self.target = target
        self.algorithm = algorithm
        self.by_value = by_value
        self.discount = 0
        self.waste = 0
        self.is_complete = True
        self.tries = 0
        self._coins: dict[bytes, PricedCoin] = {}
        for group in groups:
            self.by_value = group.by_value
            self.add(group.coins)

    def add(self, coins: Iterable[PricedCoin]) -> None:
        """Take more coins. Raises ValueError for one that is there: it would be counted twice."""
        for coin in coins:
            if coin.outpoint in self._coins:
                raise ValueError("a coin cannot be selected twice")
            self._coins[coin.outpoint] = coin

    @property
    def coins(self) -> list[PricedCoin]:
        """What is selected, in the order of outpoints."""
        return [self._coins[outpoint] for outpoint in sorted(self._coins)]

    @property
    def value(self) -> int:
        """Of all coins together."""
        return sum(coin.value for coin in self._coins.values())

    @property
    def effective_value(self) -> int:
        """What is left of them when the inputs have paid for themselves."""
        return sum(coin.effective_value for coin in self._coins.values()) + self.discount

    @property
    def bump_fees(self) -> int:
        """What the ancestors of all coins lack together."""
        return sum(coin.bump_fee for coin in self._coins.values()) - self.discount

    @property
    def weight(self) -> int:
        """Of the signed inputs."""
        return sum(coin.weight for coin in self._coins.values())

    def __len__(self) -> int:
        return len(self._coins)

    def change(self, min_viable_change: int, change_fee: int) -> int:
        """What goes back to the wallet: 0 when that is less than ``min_viable_change``."""
        left = self.value - self.target if self.by_value else self.effective_value - self.target - change_fee
        return left if left >= min_viable_change else 0

    def weigh_waste(self, min_viable_change: int, change_cost: int, change_fee: int) -> None:
        """Compute the waste: what inputs cost more now than later, and the change's cost or else the excess."""
        waste = sum(coin.fee - coin.long_term_fee for coin in self._coins.values()) - self.discount
        if self.change(min_viable_change, change_fee):
            waste += change_cost
        else:
            waste += (self.value if self.by_value else self.effective_value) - self.target
        self.waste = waste

    def merge(self, other: Selection) -> None:
        """Take over the coins and the target of another one."""
        self.add(other.coins)
        self.target += other.target
        self.by_value = self.by_value and other.by_value
        self.discount += other.discount
        if self.algorithm is Algorithm.MANUAL:
            self.algorithm = other.algorithm

    @property
    def rank(self) -> tuple[int, int]:
        """The lowest is the best: least waste, then most inputs."""
        return self.waste, -len(self._coins)
