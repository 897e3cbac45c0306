"""States of a wallet's transactions through mempool, blocks and reorganisations."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.wallet.coins import CoinFilter, CoinView
from btcnode.wallet.journal import Journal
from btcnode.wallet.ledger import Ledger, Spent
from btcnode.wallet.states import ABANDONED, IN_POOL, INACTIVE, BlockConflicted, Confirmed, State, WalletTx
from btcnode.wallet.tx_records import note_tx, read_tx

MINE, CHANGE, OTHER = b"\x00\x14" + bytes(20), b"\x00\x14" + b"\x01" * 20, b"\x00\x14" + b"\x02" * 20
NOW = 1_700_000_000


class Owner:
    """A wallet of two scripts beside a mempool of txids."""

    def __init__(self) -> None:
        self.scripts: Mapping[bytes, object] = {MINE: None, CHANGE: None}
        self.pool: set[bytes] = set()
        self.told: list[bytes] = []

    def receiving(self, tx: Tx) -> None:
        pass

    def spending(self, tx: Tx) -> None:
        pass

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        return NOW - 100, NOW - 50

    def in_pool(self, txid: bytes) -> bool:
        return txid in self.pool

    def changed(self, entry: WalletTx) -> None:
        self.told.append(entry.txid)


class Bench:
    """A ledger, and blocks for it."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.journal = Journal()
        self.ledger = Ledger(self.owner, self.journal)
        self.coins = CoinView(
            self.ledger, spend_unconfirmed=True, is_used=lambda script: False, ancestors=lambda txid: 1
        )
        self.height = 0
        self.blocks: list[list[Tx]] = []

    def hash(self, height: int, fork: int = 0) -> bytes:
        return bytes((height, fork)) + bytes(30)

    def mine(self, *txs: Tx, fork: int = 0) -> None:
        self.height += 1
        self.blocks.append(list(txs))
        for tx in txs:
            self.owner.pool.discard(tx.txid)
        self.ledger.block_connected(self.hash(self.height, fork), self.height, enumerate(txs, 1), NOW)

    def undo(self, fork: int = 0) -> None:
        txs = self.blocks.pop()
        self.ledger.block_disconnected(self.height, self.hash(self.height - 1, fork), enumerate(txs, 1), NOW)
        self.height -= 1

    def pool(self, tx: Tx) -> None:
        self.owner.pool.add(tx.txid)
        self.ledger.pool_added(tx, NOW)

    def drop(self, tx: Tx, *, conflict: bool = False) -> None:
        self.owner.pool.discard(tx.txid)
        self.ledger.pool_removed(tx, NOW, conflict=conflict)

    def state(self, tx: Tx) -> State:
        return self.ledger.transactions[tx.txid].state

    def balances(self) -> tuple[int, int]:
        found = self.coins.balances(avoid_used=False)
        return found.trusted, found.untrusted_pending


def pay(*outputs: tuple[int, bytes], spends: tuple[bytes, ...] = (b"\x07" * 36,), version: int = 2) -> Tx:
    txouts = [make_txout(value, script) for value, script in outputs]
    return Tx(version, list(spends), [b""] * len(spends), [0xFFFFFFFD] * len(spends), txouts)


def out(tx: Tx, vout: int = 0) -> bytes:
    return tx.txid + vout.to_bytes(4, "little")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_others_pay_is_pending_then_confirmed(bench: Bench) -> None:
    tx = pay((1000, MINE), (5, OTHER))
    bench.mine()
    bench.pool(tx)
    assert bench.state(tx) is IN_POOL and bench.balances() == (0, 1000)
    bench.mine(tx)
    assert bench.state(tx) == Confirmed(bench.hash(2), 2, 1) and bench.balances() == (1000, 0)
    bench.undo()
    assert bench.state(tx) == INACTIVE and bench.balances() == (0, 0)
    bench.pool(tx)
    assert bench.balances() == (0, 1000)


def test_own_change_is_trusted_in_the_mempool_only(bench: Bench) -> None:
    funding = pay((1000, MINE))
    bench.mine(funding)
    spend = pay((600, OTHER), (390, CHANGE), spends=(out(funding),))
    bench.ledger.add(spend, INACTIVE, NOW, notes={"comment": "x"})
    assert bench.ledger.how_spent(out(funding)) is Spent.OUTSIDE_POOL and bench.balances() == (0, 0)
    assert bench.coins.balances(avoid_used=False, outside_pool=True).nonmempool == -1000
    bench.pool(spend)
    assert bench.balances() == (390, 0)
    (coin,) = bench.coins.available(CoinFilter())
    assert (coin.outpoint, coin.depth, coin.safe, coin.from_me) == (out(spend, 1), 0, True, True)
    assert bench.coins.available(CoinFilter(min_depth=1)) == []
    assert bench.ledger.transactions[spend.txid].notes == {"comment": "x"}


def test_an_unconfirmed_parent_of_others_makes_change_unsafe(bench: Bench) -> None:
    bench.mine()
    theirs = pay((1000, MINE))
    bench.pool(theirs)
    spend = pay((900, CHANGE), spends=(out(theirs),))
    bench.pool(spend)
    assert bench.balances() == (0, 900)
    assert bench.coins.available(CoinFilter()) == []
    assert [coin.value for coin in bench.coins.available(CoinFilter(unsafe_too=True))] == [900]


def test_a_block_that_contradicts_takes_descendants_along_and_gives_back(bench: Bench) -> None:
    funding = pay((1000, MINE))
    bench.mine(funding)
    one = pay((900, CHANGE), spends=(out(funding),))
    child = pay((800, CHANGE), spends=(out(one),))
    other = pay((950, OTHER), spends=(out(funding),))
    bench.pool(one)
    bench.pool(child)
    bench.drop(child, conflict=True)
    bench.drop(one, conflict=True)
    bench.mine(other, fork=1)
    block = bench.hash(2, 1)
    assert bench.state(one) == bench.state(child) == BlockConflicted(block, 2)
    assert bench.ledger.depth(bench.ledger.transactions[child.txid]) == -1
    assert bench.ledger.conflicts(bench.ledger.transactions[one.txid]) == [other.txid]
    bench.undo()
    assert bench.state(one) == bench.state(child) == INACTIVE


def test_what_conflicts_in_the_mempool_does_not_count_while_it_does(bench: Bench) -> None:
    funding = pay((1000, MINE))
    bench.mine(funding)
    old = pay((900, CHANGE), spends=(out(funding),))
    new = pay((890, CHANGE), spends=(out(funding),))
    bench.pool(old)
    bench.drop(old)
    bench.pool(new)
    assert list(bench.ledger.transactions[old.txid].pool_conflicts) == [new.txid]
    assert bench.balances() == (890, 0)
    bench.drop(new)
    assert not bench.ledger.transactions[old.txid].pool_conflicts


def test_abandoning_frees_coins_with_descendants_and_the_mempool_takes_back(bench: Bench) -> None:
    funding = pay((1000, MINE))
    bench.mine(funding)
    spend = pay((900, CHANGE), spends=(out(funding),))
    child = pay((800, OTHER), spends=(out(spend),))
    bench.pool(spend)
    bench.pool(child)
    entry = bench.ledger.transactions[spend.txid]
    assert not bench.ledger.abandon(entry)
    bench.drop(child)
    bench.drop(spend)
    assert bench.ledger.abandon(entry)
    assert bench.state(spend) == bench.state(child) == ABANDONED and bench.balances() == (1000, 0)
    bench.pool(spend)
    assert bench.state(spend) is IN_POOL and bench.balances() == (900, 0)


def test_a_coinbase_without_its_block_is_abandoned_with_what_spends_it(bench: Bench) -> None:
    coinbase = Tx(2, [bytes(32) + b"\xff" * 4], [b"\x01\x01"], [0xFFFFFFFF], [make_txout(50, MINE)])
    bench.height = 1
    bench.ledger.block_connected(bench.hash(1), 1, [(0, coinbase)], NOW)
    assert bench.coins.balances(avoid_used=False).immature == 50
    child = pay((40, MINE), spends=(out(coinbase),))
    bench.ledger.add(child, INACTIVE, NOW)
    bench.ledger.block_disconnected(1, bench.hash(0), [(0, coinbase)], NOW)
    assert bench.state(coinbase) == bench.state(child) == ABANDONED


def test_locked_coins_are_left_out_until_something_spends_them(bench: Bench) -> None:
    funding = pay((1000, MINE))
    bench.mine(funding)
    bench.ledger.lock_coin(out(funding), keep=True)
    assert bench.coins.available(CoinFilter()) == []
    assert len(bench.coins.available(CoinFilter(locked_too=True))) == 1
    bench.pool(pay((1, OTHER), spends=(out(funding),)))
    assert not bench.ledger.locked
    assert [change.statement for change in bench.journal.take() if "lock" in change.statement] == ["lock", "unlock"]


def test_version_3_siblings_exclude_each_other(bench: Bench) -> None:
    bench.mine()
    parent = pay((1000, MINE), (1000, CHANGE), version=3)
    bench.pool(parent)
    assert len(bench.coins.available(CoinFilter(truc=True, unsafe_too=True))) == 2
    assert bench.coins.available(CoinFilter(truc=False, unsafe_too=True)) == []
    sibling = pay((900, OTHER), spends=(out(parent, 1),), version=3)
    bench.ledger.add(sibling, INACTIVE, NOW)
    child = pay((900, OTHER), spends=(out(parent),), version=3)
    bench.pool(child)
    assert bench.ledger.transactions[parent.txid].truc_child == child.txid
    assert list(bench.ledger.transactions[sibling.txid].pool_conflicts) == [child.txid]
    assert bench.coins.available(CoinFilter(truc=True, unsafe_too=True)) == []
    bench.drop(child)
    assert bench.ledger.transactions[parent.txid].truc_child is None
    assert not bench.ledger.transactions[sibling.txid].pool_conflicts


@pytest.mark.parametrize("state", [INACTIVE, ABANDONED, Confirmed(b"h" * 32, 5, 1), BlockConflicted(b"h" * 32, 5)])
def test_a_transaction_comes_back_from_its_row(state: State) -> None:
    journal, entry = Journal(), WalletTx(pay((1, MINE)), state, 5, 6, 7, {"to": "you"})
    note_tx(journal, entry)
    (statement, values), (other, (txid, *of_state)) = journal.take()
    found = read_tx((*values[:2], *of_state, *values[2:]))
    assert (
        (statement, other, txid) == ("tx", "tx_state", entry.txid)
        and found.state == state
        and found.tx.raw == entry.tx.raw
    )
    assert (found.received, found.smart_time, found.position, found.notes) == (5, 6, 7, {"to": "you"})


def test_a_coinbase_that_is_lost_is_given_up_with_whatever_spends_it_each_once(bench: Bench) -> None:
    """Each transaction spends both outputs of the one before: there are 2^60 ways from the first to the last."""
    coinbase = pay((1000, MINE), (1000, MINE), spends=(b"\0" * 32 + b"\xff" * 4,))
    bench.mine(coinbase)
    last = coinbase
    for n in range(60):
        last = pay((900 - n, MINE), (900 - n, CHANGE), spends=(out(last), out(last, 1)))
        bench.ledger.add(last, INACTIVE, NOW)
    bench.ledger.add(coinbase, INACTIVE, NOW)
    assert bench.state(coinbase) == bench.state(last) == ABANDONED
