"""The mempool beside a naive one that knows nothing but the definitions."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from fractions import Fraction
from itertools import accumulate

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from btcnode.mempool import pool as pool_module
from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.eviction import LruKFeeEviction
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool, Staged
from btcnode.primitives.tx import Tx

NO_LOCKS = LockPoints(-1, -1, -1)
MAX_COUNT = 6
BUDGET = 60_000
COINS = 12


def make_tx(prevouts: list[bytes], outputs: int, salt: int) -> Tx:
    txout = (1000 + salt).to_bytes(8, "little") + b"\x02\x51\x20"
    return Tx(2, prevouts, [b""] * len(prevouts), [0xFFFFFFFD] * len(prevouts), [txout] * outputs, None)


class FakeBlock:
    """As much of a block as the pool looks at."""

    def __init__(self, txs: list[Tx]) -> None:
        self._txs = txs

    @property
    def txids(self) -> list[bytes]:
        return [b"\xcb" * 32, *(tx.txid for tx in self._txs)]

    @property
    def first_in(self) -> list[int]:
        return [0, *accumulate((len(tx.prevouts) for tx in self._txs), initial=1)]

    def prevouts(self) -> list[bytes]:
        return [bytes(36), *(prevout for tx in self._txs for prevout in tx.prevouts)]


class PoolModel(RuleBasedStateMachine):
    """Random transactions, replacements, blocks, reorganisations, deltas and limits."""

    lruk = False
    bulk = pool_module.BULK  # more than here are ever touched at once

    @initialize()
    def begin(self) -> None:
        pool_module.BULK = self.bulk
        options = MempoolOptions(cluster_count=MAX_COUNT, max_bytes=BUDGET)
        self.pool = Mempool(options, eviction=LruKFeeEviction() if self.lruk else None)
        self.model: dict[bytes, MempoolEntry] = {}
        self.deltas: dict[bytes, int] = {}
        self.now = 1000
        self.salt = 0
        self.coins = {n.to_bytes(32, "big") + bytes(4) for n in range(COINS)}  # confirmed and unspent
        self.mined: list[tuple[list[Tx], set[bytes]]] = []
        self.told: dict[bytes, bool] = {}
        self.sequence = 1

        def gone(entry: MempoolEntry, reason: RemovalReason) -> None:
            del self.told[entry.txid]
            self.sequence += 1

        def came(entry: MempoolEntry) -> None:
            self.told[entry.txid] = True
            self.sequence += 1

        self.pool.listen(came, gone)

    # -- the naive side --------------------------------------------------------------------------------------------

    def parents(self, entry: MempoolEntry) -> set[bytes]:
        return {prevout[:32] for prevout in entry.tx.prevouts} & self.model.keys()

    def children(self, txid: bytes) -> set[bytes]:
        return {other.txid for other in self.model.values() if txid in {p[:32] for p in other.tx.prevouts}}

    def closure(self, txids: AbstractSet[bytes]) -> set[bytes]:
        todo: list[bytes] = list(txids)
        found: set[bytes] = set(txids)
        while todo:
            new = self.children(todo.pop()) - found
            found |= new
            todo += new
        return found

    def component(self, txid: bytes) -> set[bytes]:
        todo, found = [txid], {txid}
        while todo:
            one = todo.pop()
            new = (self.children(one) | self.parents(self.model[one])) - found
            found |= new
            todo += new
        return found

    def drop(self, txids: AbstractSet[bytes]) -> None:
        for txid in txids:
            del self.model[txid]

    def spendable(self) -> list[bytes]:
        outputs = [
            txid + n.to_bytes(4, "little") for txid, entry in self.model.items() for n in range(len(entry.tx.txouts))
        ]
        return sorted(self.coins) + sorted(outputs)

    # -- what happens ----------------------------------------------------------------------------------------------

    def offer(self, picks: list[int], outputs: int, fee: int, sigops: int) -> tuple[Staged, MempoolEntry, set[bytes]]:
        """A transaction of some coins and outputs; what spends them already would be replaced."""
        self.salt += 1
        available = self.spendable()
        prevouts = list(dict.fromkeys(available[pick % len(available)] for pick in picks))
        tx = make_tx(prevouts, outputs, self.salt)
        rivals = {other.txid for other in self.model.values() if set(other.tx.prevouts) & set(prevouts)}
        replaced = self.closure(rivals)
        entry = MempoolEntry(
            tx, fee=fee, weight=tx.weight, sigop_cost=sigops, time=self.now, height=1, sequence=self.pool.sequence,
            spends_coinbase=False, lock_points=NO_LOCKS, delta=self.deltas.get(tx.txid, 0),
        )  # fmt: skip
        staged = self.pool.stage([self.model[txid] for txid in sorted(replaced)], [entry])
        return staged, entry, replaced

    @rule(
        picks=st.lists(st.integers(0, 60), min_size=1, max_size=4),
        outputs=st.integers(1, 3),
        fee=st.integers(0, 5000),
        sigops=st.sampled_from([0, 0, 40, 400]),
        apply=st.booleans(),
    )
    def add(self, picks: list[int], outputs: int, fee: int, sigops: int, apply: bool) -> None:
        staged, entry, replaced = self.offer(picks, outputs, fee, sigops)
        ancestors = {prevout[:32] for prevout in entry.tx.prevouts}
        if ancestors & replaced:  # admission refuses what spends its own conflict
            return
        before = dict(self.model)
        self.drop(replaced)
        self.model[entry.txid] = entry
        too_large = len(self.component(entry.txid)) > MAX_COUNT
        assert staged.oversized == too_large
        if too_large or not apply:
            self.model = before
            return
        old, new = staged.diagrams()
        kept = {txid: before[txid] for txid in replaced}
        assert sum(size for _, size in new) - sum(size for _, size in old) == entry.size - sum(
            gone.size for gone in kept.values()
        )
        staged.apply(RemovalReason.REPLACED, self.now)

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0, 50))
    def remove(self, pick: int) -> None:
        txid = sorted(self.model)[pick % len(self.model)]
        gone = self.pool.remove([self.model[txid]], RemovalReason.REORG)
        assert {entry.txid for entry in gone} == self.closure({txid})
        self.drop(self.closure({txid}))

    @precondition(lambda self: self.model)
    @rule(picks=st.lists(st.integers(0, 50), max_size=4), rival=st.booleans(), fresh=st.booleans())
    def block(self, picks: list[int], rival: bool, fresh: bool) -> None:
        """Confirm some with their ancestors, perhaps a transaction that contradicts others."""
        names = sorted(self.model)
        chosen: dict[bytes, None] = {}
        todo = [names[pick % len(names)] for pick in picks]
        for txid in todo:  # grows
            todo += sorted(self.parents(self.model[txid]))
            chosen[txid] = None
        entries = [self.model[txid] for txid in self.pool_order(set(chosen))]
        txs = [entry.tx for entry in entries]
        if rival:
            free = [coin for coin in sorted(self.coins) if all(coin not in tx.prevouts for tx in txs)]
            if free:
                self.salt += 1
                txs.append(make_tx(free[:1], 1, self.salt))
        before = set(self.coins)
        spent = {prevout for tx in txs for prevout in tx.prevouts}
        conflicts = {
            other.txid for other in self.model.values() if other.txid not in chosen and set(other.tx.prevouts) & spent
        }
        confirmed = self.pool.remove_for_block(FakeBlock(txs), self.now)  # type: ignore[arg-type]
        assert {entry.txid for entry in confirmed} == set(chosen)
        self.drop(self.closure(conflicts) | set(chosen))
        for tx in txs:
            self.deltas.pop(tx.txid, None)
            self.coins |= {tx.txid + n.to_bytes(4, "little") for n in range(len(tx.txouts))}
        for txid in conflicts:
            self.deltas.pop(txid, None)
        self.coins -= spent
        self.mined.append((txs, before))

    @precondition(lambda self: self.mined)
    @rule()
    def reorganise(self) -> None:
        """The last block is disconnected: what spends its outputs goes, its transactions come back where they fit."""
        txs, self.coins = self.mined.pop()
        lost = {
            entry.txid
            for entry in self.model.values()
            if any(p not in self.coins and p[:32] not in self.model for p in entry.tx.prevouts)
        }
        returned: list[MempoolEntry] = []
        for tx in txs:
            known = all(p in self.coins or p[:32] in self.model for p in tx.prevouts)
            rivals = [other for other in self.model.values() if set(other.tx.prevouts) & set(tx.prevouts)]
            if not known or rivals:
                continue
            entry = MempoolEntry(
                tx, fee=100, weight=tx.weight, sigop_cost=0, time=self.now, height=1, sequence=0,
                spends_coinbase=False, lock_points=NO_LOCKS, delta=self.deltas.get(tx.txid, 0),
            )  # fmt: skip
            staged = self.pool.stage([], [entry])
            if staged.oversized:
                continue
            staged.apply(RemovalReason.REORG, self.now)
            self.model[tx.txid] = entry
            returned.append(entry)
        joined = set().union(*(whole for e in returned if len(whole := self.component(e.txid)) > MAX_COUNT))
        trimmed = {entry.txid for entry in self.pool.join(returned)}
        assert bool(trimmed) == bool(joined) and trimmed <= joined and self.closure(trimmed) == trimmed
        self.drop(trimmed)
        lost = {
            txid
            for txid in lost & self.model.keys()  # some were trimmed
            if any(p not in self.coins and p[:32] not in self.model for p in self.model[txid].tx.prevouts)
        }
        self.pool.remove([self.model[txid] for txid in sorted(lost)], RemovalReason.REORG)
        self.drop(self.closure(lost))

    @rule(pick=st.integers(0, 50), delta=st.integers(-3000, 3000))
    def prioritise(self, pick: int, delta: int) -> None:
        names = [*sorted(self.model), b"\x99" * 32]
        txid = names[pick % len(names)]
        total = self.deltas.get(txid, 0) + delta
        if total:
            self.deltas[txid] = total
        else:
            self.deltas.pop(txid, None)
        self.pool.prioritise(txid, delta)

    @rule(share=st.integers(1, 100))
    def trim(self, share: int) -> None:
        limit = self.pool.memory_usage * share // 100
        before = dict(self.model)
        usage = self.pool.memory_usage
        expected: list[set[bytes]] = []
        if not self.lruk:
            chunks = [[entry.txid for entry in chunk.entries] for chunk in self.pool.worst_first()]
            freed = 0
            for chunk in chunks if usage > limit else []:
                expected.append(set(chunk))
                freed += sum(before[txid].memory for txid in chunk)
                if usage - freed <= limit:
                    break
        gone = {entry.txid for entry in self.pool.trim(limit, self.now)}
        assert self.pool.memory_usage <= limit
        assert self.closure(gone) == gone
        if not self.lruk:
            assert gone == set().union(*expected)
        self.drop(gone)

    @rule(age=st.integers(0, 500))
    def expire(self, age: int) -> None:
        cutoff = self.now - age
        old = self.closure({txid for txid, entry in self.model.items() if entry.time < cutoff})
        assert {entry.txid for entry in self.pool.expire(cutoff)} == old
        self.drop(old)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), source=st.none() | st.integers(0, 3))
    def touch(self, data: st.DataObject, source: int | None) -> None:
        txid = data.draw(st.sampled_from(sorted(self.model)))
        self.pool.touch(self.model[txid], self.now, source)

    @invariant()
    def interest_is_in_order(self) -> None:
        """What is kept sorted is what sorting all would give, and leaves from the ends of clusters."""
        eviction = self.pool._eviction
        if not isinstance(eviction, LruKFeeEviction):
            return
        chunks = list({id(entry.chunk): entry.chunk for entry in self.model.values()}.values())
        scores = {id(chunk): eviction.score(chunk.entries[0], self.now) for chunk in chunks}
        order = [list(victims) for victims, _, _ in eviction.victims(self.pool._index)]
        wanted = sorted(chunks, key=lambda chunk: (scores[id(chunk)], chunk.key), reverse=True)
        assert order == [list(chunk.entries) for chunk in wanted]
        gone: set[bytes] = set()
        for group in order:
            gone |= {entry.txid for entry in group}
            assert self.closure(gone) == gone
        for chunk in chunks:
            behind = chunk.cluster.chunks[chunk.cluster.chunks.index(chunk) :]
            newest = max(eviction._interest[entry].touches[0][0] for one in behind for entry in one.entries)
            density = max(4 * chunk.fee / chunk.size, eviction.MIN_DENSITY)
            assert abs(scores[id(chunk)] - (0.6 * (self.now - newest) / 3600 + 0.4 / density)) < 1e-6

    @rule(seconds=st.integers(1, 300))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        """The audit finds nothing, as everything is consistent."""
        coins = self.coins
        place = 0
        while True:
            place = self.pool.audit(lambda wanted: [outpoint in coins for outpoint in wanted], place, 3)
            if not place:
                break

    # -- what must be true -------------------------------------------------------------------------------------------

    def pool_order(self, txids: set[bytes]) -> list[bytes]:
        return [entry.txid for entry in self.pool.in_order() if entry.txid in txids]

    @invariant()
    def same_contents(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool, model = self.pool, self.model
        assert {entry.txid for entry in pool} == model.keys() == self.told.keys()
        assert pool.total_vsize == sum(entry.vsize for entry in model.values())
        assert pool.total_fee == sum(entry.fee for entry in model.values())
        assert pool.memory_usage == sum(entry.memory for entry in model.values())
        assert pool.sequence == self.sequence
        assert dict(pool.deltas) == self.deltas
        for txid, entry in model.items():
            assert pool.get(txid) is entry and pool.get_by_wtxid(entry.wtxid) is entry
            assert entry.delta == self.deltas.get(txid, 0)
            assert all(pool.spender_of(prevout) is entry for prevout in entry.tx.prevouts)
            assert {other.txid for other in pool.parents(entry)} == self.parents(entry)
            assert {other.txid for other in pool.children(entry)} == self.children(txid)
            assert {other.txid for other in pool.descendants(entry)} == self.closure({txid}) - {txid}
            assert {other.txid for other in pool.cluster_of(entry).entries} == self.component(txid)
        assert len(pool._spenders) == sum(len(entry.tx.prevouts) for entry in model.values())

    @invariant()
    def order_is_right(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        order = pool.in_order()
        assert sorted(entry.txid for entry in order) == sorted(self.model)
        place: dict[bytes, int] = {entry.txid: n for n, entry in enumerate(order)}
        for entry in order:
            assert all(place[parent] < place[entry.txid] for parent in self.parents(entry))
        chunks = list(pool.chunks())
        rates = [Fraction(chunk.fee, chunk.size) for chunk in chunks]
        assert rates == sorted(rates, reverse=True)
        for chunk in chunks:
            assert chunk.fee == sum(entry.modified_fee for entry in chunk.entries)
            assert chunk.size == sum(entry.size for entry in chunk.entries)
            assert all(entry.chunk is chunk and entry.cluster is chunk.cluster for entry in chunk.entries)
        assert list(pool.worst_first()) == chunks[::-1]


class BulkModel(PoolModel):
    """The same with places in the order that outlast what stood there, now and then given up."""

    bulk = -1

    @rule(most=st.integers(1, 3))
    def tidy(self, most: int) -> None:
        self.pool._index.tidy(most)

    @rule(start=st.integers(0, 12), count=st.integers(1, 5))
    def look(self, start: int, count: int) -> None:
        assert self.pool.chunks_between(start, start + count) == list(self.pool.chunks())[start : start + count]

    def teardown(self) -> None:
        pool_module.BULK = PoolModel.bulk


class LruKModel(PoolModel):
    """The same with the other way of eviction."""

    lruk = True

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0, 50))
    def touch(self, pick: int) -> None:
        self.pool.touch(self.model[sorted(self.model)[pick % len(self.model)]], self.now)


TestPoolModel = PoolModel.TestCase
TestPoolModel.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestBulkModel = BulkModel.TestCase
TestBulkModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLruKModel = LruKModel.TestCase
TestLruKModel.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
