"""What a wallet has: whose outputs are trusted, balances, and the coins that may be spent, by Core's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.steps import Steps, at_once
from btcnode.wallet.ledger import TRUC_VERSION, Ledger, Spent
from btcnode.wallet.states import WalletTx

MAX_DEPTH = 9_999_999
STEP = 200  # coins, a millisecond at most


@dataclass(slots=True)
class Balances:
    """Satoshi; ``nonmempool`` is not positive: what transactions outside of the mempool spend, ``used`` what lies on
    addresses that were spent from before.
    """

    trusted: int = 0
    untrusted_pending: int = 0
    immature: int = 0
    used: int = 0
    nonmempool: int = 0


class Coin(NamedTuple):
    """An output that may be spent: ``depth`` confirmations, ``safe`` unless strangers could make it disappear."""

    outpoint: bytes
    value: int
    script: bytes
    depth: int
    safe: bool
    from_me: bool
    entry: WalletTx

    @property
    def time(self) -> int:
        """Time of its transaction."""
        return self.entry.time


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinFilter:
    """Which coins are wanted; values are satoshi.

    ``truc``: for a transaction of version 3 (True) or of another one (False), None where that does not matter.
    ``excluded`` are outpoints. ``max_count`` 0: no limit.
    """

    min_depth: int = 0
    max_depth: int = MAX_DEPTH
    min_value: int = 1
    max_value: int = MAX_MONEY
    min_sum: int = MAX_MONEY
    max_count: int = 0
    unsafe_too: bool = False
    immature_too: bool = False
    locked_too: bool = False
    used_too: bool = True
    truc: bool | None = None
    excluded: frozenset[bytes] = frozenset()


class CoinView:
    """The coins of a ledger. ``spend_unconfirmed``: own change counts before it is confirmed (-spendzeroconfchange).

    ``is_used`` tells of a script whether the wallet has spent from it, ``ancestors`` of a txid in the mempool how many
    of its ancestors are there, itself included.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        spend_unconfirmed: bool,
        is_used: Callable[[bytes], bool],
        ancestors: Callable[[bytes], int],
    ) -> None:
        self._ledger = ledger
        self._spend_unconfirmed = spend_unconfirmed
        self._is_used = is_used
        self._ancestors = ancestors

    def is_trusted(self, entry: WalletTx, known: set[bytes] | None = None) -> bool:
        """Whether what it pays to the wallet is as good as there; ``known`` grows by ancestors that are."""
        ledger, trusted = self._ledger, set() if known is None else known
        todo, seen = [entry], set()
        while todo:  # all ancestors outside of blocks must be own and in the mempool
            now = todo.pop()
            if now.txid in trusted or now.is_confirmed or now.txid in seen:
                continue
            seen.add(now.txid)
            if not (self._spend_unconfirmed and now.in_pool and ledger.is_from_me(now.tx)):
                return False
            for prevout in now.tx.prevouts:
                coin = ledger.coins.get(prevout)
                if coin is None:
                    return False
                todo.append(coin.entry)
        trusted |= seen
        return True

    def balances(self, *, min_depth: int = 0, avoid_used: bool, outside_pool: bool = False) -> Balances:
        """What there is, see ``balances_steps``."""
        return at_once(self.balances_steps(min_depth=min_depth, avoid_used=avoid_used, outside_pool=outside_pool))

    def balances_steps(self, *, min_depth: int = 0, avoid_used: bool, outside_pool: bool = False) -> Steps[Balances]:
        """What there is, in steps. ``avoid_used``: coins on used addresses count apart.

        ``outside_pool``: what only transactions outside of the mempool spend counts as there, and in ``nonmempool``.
        """
        ledger, result, trusted = self._ledger, Balances(), set[bytes]()
        for number, (outpoint, coin) in enumerate(list(ledger.coins.items())):
            if not number % STEP:
                yield
            spent = ledger.how_spent(outpoint)
            if spent is not Spent.UNSPENT and not (spent is Spent.OUTSIDE_POOL and outside_pool):
                continue
            entry = coin.entry
            safe = self.is_trusted(entry, trusted)
            if ledger.is_immature(entry) and entry.is_confirmed:
                bucket = "immature"
            elif safe and ledger.depth(entry) >= min_depth:
                bucket = "trusted"
            elif not safe and entry.in_pool:
                bucket = "untrusted_pending"
            else:
                continue
            if avoid_used and self._is_used(coin.script):
                bucket = "used"
            setattr(result, bucket, getattr(result, bucket) + coin.value)
            if spent is Spent.OUTSIDE_POOL:
                result.nonmempool -= coin.value
        return result

    def available(self, wanted: CoinFilter) -> list[Coin]:
        """The coins that may be spent, of those that are wanted."""
        return at_once(self.available_steps(wanted))

    def available_steps(self, wanted: CoinFilter) -> Steps[list[Coin]]:
        """The same in steps."""
        ledger, found, truc_coins, total = self._ledger, list[Coin](), list[Coin](), 0
        trusted = set[bytes]()
        safety: dict[bytes, bool | None] = {}  # by txid; None: none of its outputs
        for number, (outpoint, own) in enumerate(list(ledger.coins.items())):
            if not number % STEP:
                yield
            entry = own.entry
            if entry.txid not in safety:
                safety[entry.txid] = self._safety(entry, wanted, trusted)
            safe = safety[entry.txid]
            if safe is None or not wanted.min_value <= own.value <= wanted.max_value:
                continue
            if outpoint in wanted.excluded or (outpoint in ledger.locked and not wanted.locked_too):
                continue
            if ledger.is_spent(outpoint) or (not wanted.used_too and self._is_used(own.script)):
                continue
            depth = ledger.depth(entry)
            coin = Coin(outpoint, own.value, own.script, depth, safe, ledger.is_from_me(entry.tx), entry)
            if wanted.truc and not depth:
                truc_coins.append(coin)
                continue
            found.append(coin)
            total += own.value
            if total >= wanted.min_sum < MAX_MONEY or (wanted.max_count and len(found) >= wanted.max_count):
                return found
        return found + _richest(truc_coins)

    def _safety(self, entry: WalletTx, wanted: CoinFilter, trusted: set[bytes]) -> bool | None:
        """Whether outputs of a transaction are safe to spend; None where they are not wanted at all."""
        ledger, depth = self._ledger, self._ledger.depth(entry)
        if ledger.is_immature(entry) and not wanted.immature_too:
            return None
        if depth < 0 or (depth == 0 and not entry.in_pool):
            return None
        safe = self.is_trusted(entry, trusted)
        if depth == 0:
            if "replaces_txid" in entry.notes or "replaced_by_txid" in entry.notes:
                safe = False  # either of the two may confirm
            is_truc = entry.tx.version == TRUC_VERSION
            if wanted.truc is not None and wanted.truc != is_truc:
                return None
            if wanted.truc and (entry.truc_child is not None or self._ancestors(entry.txid) > 1):
                return None
        if (not safe and not wanted.unsafe_too) or not wanted.min_depth <= depth <= wanted.max_depth:
            return None
        return safe


def _richest(coins: list[Coin]) -> list[Coin]:
    """Those of the one transaction that has most: a version 3 transaction has one unconfirmed parent at most."""
    sums: dict[bytes, int] = {}
    for coin in coins:
        sums[coin.entry.txid] = sums.get(coin.entry.txid, 0) + coin.value
    if not sums:
        return []
    best = max(sums, key=lambda txid: sums[txid])
    return [coin for coin in coins if coin.entry.txid == best]
