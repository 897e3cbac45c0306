"""All of the mempool as JSON: what a thread makes of a moment is what the pool itself would say."""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.pool import Mempool, PoolMoment
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc import mempool_json
from btcnode.rpc.jsonvalue import amount, decode
from btcnode.rpc.mempool_json import Frozen, by_txid, describe_all, freeze_all
from btcnode.rpc.methods import mempool as methods
from btcnode.rpc.room import Room, Ticket, working


def family_pool(rng: Random, count: int) -> Mempool:
    """Transactions of which most spend one or two earlier ones."""
    pool = Mempool()
    spendable: list[bytes] = []
    for _ in range(count):
        wanted = rng.choice((0, 1, 1, 2))
        prevouts = [spendable.pop(rng.randrange(len(spendable))) for _ in range(min(wanted, len(spendable)))]
        prevouts = prevouts or [rng.randbytes(32) + bytes(4)]
        txouts = [make_txout(5000, b"\x00\x14" + rng.randbytes(20)) for _ in range(2)]
        tx = Tx(2, prevouts, [b""] * len(prevouts), [0xFFFFFFFD] * len(prevouts), txouts)
        entry = MempoolEntry(
            tx, fee=rng.randrange(500, 9000), weight=tx.weight, sigop_cost=1, time=1, height=1, sequence=1,
            spends_coinbase=False, lock_points=LockPoints(-1, -1, -1),
        )  # fmt: skip
        staged = pool.stage([], [entry])
        if staged.oversized:
            continue
        staged.apply(RemovalReason.REPLACED, 1)
        spendable += [tx.txid + n.to_bytes(4, "little") for n in range(2)]
    return pool


def moment(pool: Mempool) -> list[Frozen]:
    return freeze_all(pool.moment())


def test_relatives_counts_and_fees_are_the_pools() -> None:
    rng = Random(4)
    pool = family_pool(rng, 120)
    for entry in rng.sample(pool.in_order(), 20):
        pool.prioritise(entry.txid, rng.randrange(-300, 3000))
    told = decode(by_txid(describe_all(moment(pool), bip125=True)).text)
    assert list(told) == [to_display(entry.txid) for entry in pool.in_order()]
    assert max(described["ancestorcount"] for described in told.values()) > 5
    for entry in pool:
        above, below = pool.ancestors(entry), pool.descendants(entry)
        described = told[to_display(entry.txid)]
        assert (described["ancestorcount"], described["descendantcount"]) == (len(above) + 1, len(below) + 1)
        assert described["ancestorsize"] == entry.vsize + sum(other.vsize for other in above)
        assert described["descendantsize"] == entry.vsize + sum(other.vsize for other in below)
        assert described["depends"] == sorted(to_display(parent.txid) for parent in pool.parents(entry))
        assert described["spentby"] == [to_display(child.txid) for child in pool.children(entry)]
        own = entry.modified_fee
        assert described["fees"] == {
            "base": amount(entry.fee),
            "modified": amount(own),
            "ancestor": amount(own + sum(other.modified_fee for other in above)),
            "descendant": amount(own + sum(other.modified_fee for other in below)),
            "chunk": amount(entry.chunk.fee),
        }
        assert described["bip125-replaceable"]


def test_a_moment_stays_what_it_was() -> None:
    pool = family_pool(Random(5), 60)
    rows = moment(pool)
    before = describe_all(rows, bip125=False)
    for entry in pool.in_order()[:10]:
        pool.prioritise(entry.txid, 7777)
    pool.remove(pool.in_order()[:20], RemovalReason.CONFLICT)
    assert describe_all(rows, bip125=False) == before


@pytest.mark.parametrize("count", [0, 1, 7, 14, 15])
def test_the_pieces_of_many_entries_are_one_object(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool_json, "PIECE", 7)
    texts = {str(n): f'{{"n":{n}}}' for n in range(count)}
    assert decode(by_txid(texts).text) == {str(n): {"n": n} for n in range(count)}


def test_lists_of_a_full_mempool_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes hundredths of a second of the loop's time, of a pool of a hundred thousand."""
    under_way: list[int] = []
    worst = 0

    class Pool(list[object]):
        def moment(self) -> PoolMoment:
            nonlocal worst
            under_way.append(1)
            worst = max(worst, len(under_way))
            return PoolMoment([], {}, (), 1)

    def render(*_: object) -> list[Any]:
        under_way.pop()
        return []

    node = SimpleNamespace(mempool=Pool([None] * (methods.MANY + 1)))
    monkeypatch.setattr(methods, "is_enabled", lambda *_: False)
    monkeypatch.setattr(methods, "describe_all", lambda *_, **__: dict(render()))
    monkeypatch.setattr(methods, "names", render)

    async def ask(room: Room, verbose: bool) -> None:
        with working(Ticket(room, trusted=True)):
            await methods.getrawmempool.handler(cast(Any, node), verbose)

    async def scene() -> None:
        room = Room(1 << 40)
        await asyncio.gather(*(ask(room, verbose) for verbose in (True, False) * 8))

    asyncio.run(scene())
    assert worst == 1 and not under_way
