"""What unconfirmed ancestors lack to a feerate."""

from __future__ import annotations

from btcnode.mempool.bump_fees import MAX_TRANSACTIONS, BumpFees, fits_cluster_limits
from btcnode.mempool.entry import LockPoints, MempoolEntry
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx

SCRIPT = b"\x00\x14" + bytes(20)


class Bench:
    """A pool of transactions of one size, with the fees and parents that a test wants."""

    def __init__(self, **options: int) -> None:
        self.pool = Mempool(MempoolOptions(**options))  # type: ignore[arg-type]
        self.count = 0

    def add(self, fee: int, *parents: bytes, vsize: int = 200) -> bytes:
        """A transaction with two outputs that spends these outpoints; its txid."""
        self.count += 1
        prevouts = list(parents) or [self.count.to_bytes(32, "big") + bytes(4)]
        txouts = [make_txout(1000 + self.count, SCRIPT)] * 2
        tx = Tx(2, prevouts, [b""] * len(prevouts), [0] * len(prevouts), txouts)
        entry = MempoolEntry(
            tx, fee=fee, weight=vsize * 4, sigop_cost=0, time=0, height=1, sequence=self.count,
            spends_coinbase=False, lock_points=LockPoints(0, 0, -1),
        )  # fmt: skip
        self.pool.stage([], [entry]).apply(None, 0)  # type: ignore[arg-type]
        return tx.txid

    def fees(self, *outpoints: bytes, rate: int = 10_000) -> tuple[list[int], int | None]:
        bumps = BumpFees(self.pool, outpoints)
        each = bumps.each(outpoints, rate)
        return [each[outpoint] for outpoint in outpoints], bumps.together(outpoints, rate)


def out(txid: bytes, n: int = 0) -> bytes:
    return txid + n.to_bytes(4, "little")


def test_confirmed_coins_need_nothing() -> None:
    assert Bench().fees(out(bytes(32)), out(bytes(32), 1)) == ([0, 0], 0)


def test_a_cheap_parent_is_paid_for_once() -> None:
    bench = Bench()
    cheap, dear = bench.add(200), bench.add(4000)
    assert bench.fees(out(cheap), out(cheap, 1)) == ([1800, 1800], 1800)
    assert bench.fees(out(dear)) == ([0], 0)
    assert bench.fees(out(cheap), out(dear)) == ([1800, 0], 1800)


def test_all_ancestors_count() -> None:
    bench = Bench()
    grandparent = bench.add(200)
    parent = bench.add(400, out(grandparent))
    assert bench.fees(out(parent)) == ([3400], 3400)
    assert bench.fees(out(parent), out(grandparent, 1)) == ([3400, 1800], 3400)


def test_what_a_child_pays_for_already_needs_nothing() -> None:
    bench = Bench()
    parent = bench.add(200)
    child = bench.add(3800, out(parent))
    assert bench.fees(out(parent, 1)) == ([0], 0)
    assert bench.fees(out(child)) == ([0], 0)


def test_a_coin_that_is_spent_anew_puts_the_spender_out() -> None:
    bench = Bench()
    parent = bench.add(200)
    child = bench.add(3800, out(parent))
    assert bench.fees(out(parent)) == ([1800], 1800)  # without the child nobody pays for the parent
    assert bench.fees(out(parent), out(child)) == ([1800, 0], 1800)


def test_a_child_that_is_too_cheap_by_itself_is_lifted_alone() -> None:
    bench = Bench()
    grandparent = bench.add(1700, vsize=1700)
    one = bench.add(17_000, out(grandparent))
    two = bench.add(3000, out(grandparent, 1))
    child = bench.add(900, out(one), out(two), vsize=100)
    each, _ = bench.fees(out(child))
    assert each == [100]  # the ancestors together have the feerate, the child does not


def test_with_too_many_transactions_there_is_no_sum() -> None:
    bench = Bench(cluster_count=64)
    coins = []
    for _ in range(MAX_TRANSACTIONS // 50 + 1):
        root = bench.add(200)
        tip = root
        for _ in range(49):
            tip = bench.add(200, out(tip))
        coins.append(out(tip))
    each, together = bench.fees(*coins)
    assert together is None and each == [0] * len(coins)
    assert bench.fees(*coins[:2])[1] == 2 * 50 * 1800


def test_cluster_limits_are_known_before() -> None:
    bench = Bench(cluster_count=3)
    one, two = bench.add(200), bench.add(200)
    child = Tx(2, [out(one), out(two)], [b"", b""], [0, 0], [make_txout(1, SCRIPT)])
    assert fits_cluster_limits(bench.pool, child)
    three = bench.add(200)
    child = Tx(2, [out(one), out(two), out(three)], [b""] * 3, [0] * 3, [make_txout(1, SCRIPT)])
    assert not fits_cluster_limits(bench.pool, child)
