"""A wallet's ledger beside one that looks at everything anew: random payments, blocks, conflicts, reorganisations."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from btcnode.primitives.coin import txout_script
from btcnode.primitives.tx import Tx
from tests.unit.wallet.test_wallet_ledger import CHANGE, MINE, OTHER, Bench, out, pay

OWN = (MINE, CHANGE)


class WalletMachine(RuleBasedStateMachine):
    """``pool`` is the mempool in order, ``known`` what the wallet saw; the active chain lies above an empty block.

    ``spendable`` are outpoints with their transaction, of all that was ever made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.bench.mine()
        self.pool: dict[bytes, Tx] = {}
        self.made: list[tuple[Tx, int]] = []
        self.known: dict[bytes, Tx] = {}
        self.abandoned: set[bytes] = set()
        self.serial = 0
        self.fork = 0

    # -- the world

    @property
    def chain(self) -> dict[bytes, Tx]:
        return {tx.txid: tx for block in self.bench.blocks for tx in block}

    def spent_in(self, txs: dict[bytes, Tx]) -> dict[bytes, Tx]:
        return {prevout: tx for tx in txs.values() for prevout in tx.prevouts}

    def with_descendants(self, tx: Tx) -> Iterator[Tx]:
        """Those in the mempool, children first."""
        for child in list(self.pool.values()):
            if any(prevout[:32] == tx.txid for prevout in child.prevouts):
                yield from self.with_descendants(child)
        if tx.txid in self.pool:
            yield tx

    def leave(self, tx: Tx, *, conflict: bool = False) -> None:
        for gone in self.with_descendants(tx):
            if self.pool.pop(gone.txid, None) is not None:
                self.bench.drop(gone, conflict=conflict)

    def enter(self, tx: Tx) -> bool:
        chain = self.chain
        if tx.txid in chain or tx.txid in self.pool:
            return False
        spent = self.spent_in(chain)
        if any(prevout in spent for prevout in tx.prevouts):
            return False
        parents = {prevout[:32] for prevout in tx.prevouts if prevout[0] != 0xFE}
        if not parents <= chain.keys() | self.pool.keys():
            return False
        for prevout in tx.prevouts:
            rival = self.spent_in(self.pool).get(prevout)
            if rival is not None:
                if any(tx_parent == rival.txid for tx_parent in parents):
                    return False
                self.leave(rival)
        if not parents <= chain.keys() | self.pool.keys():
            return False
        self.note(tx)
        self.pool[tx.txid] = tx
        self.bench.pool(tx)
        return True

    def note(self, tx: Tx) -> None:
        """The wallet has seen it, if it concerns it."""
        own = {
            out(known, vout)
            for known in self.known.values()
            for vout, txout in enumerate(known.txouts)
            if txout_script(txout) in OWN
        }
        if any(txout_script(txout) in OWN for txout in tx.txouts) or own & set(tx.prevouts):
            self.known[tx.txid] = tx
            self.abandoned.discard(tx.txid)

    # -- what happens

    @rule(data=st.data(), outputs=st.lists(st.sampled_from((MINE, CHANGE, OTHER)), min_size=1, max_size=3))
    def somebody_pays(self, data: st.DataObject, outputs: list[bytes]) -> None:
        self.serial += 1
        spends = [b"\xfe" + self.serial.to_bytes(35, "little")]  # a coin from elsewhere
        place = data.draw(st.integers(-len(self.made) - 1, len(self.made) - 1))
        if place >= 0:
            spends = [out(*self.made[place])]
        tx = pay(*((self.serial * 100 + n, script) for n, script in enumerate(outputs)), spends=tuple(spends))
        if self.enter(tx):
            self.made += [(tx, vout) for vout in range(len(outputs))]

    @rule(data=st.data())
    def a_block_comes(self, data: st.DataObject) -> None:
        txs: list[Tx] = []
        for tx in self.pool.values():
            parents = {prevout[:32] for prevout in tx.prevouts}
            if not parents & (self.pool.keys() - {other.txid for other in txs}) and data.draw(st.booleans()):
                txs.append(tx)
        for tx in txs:
            del self.pool[tx.txid]
        self.bench.mine(*txs, fork=self.fork)

    @rule(data=st.data())
    def a_block_contradicts(self, data: st.DataObject) -> None:
        if not self.pool:
            return
        victim = data.draw(st.sampled_from(list(self.pool.values())))
        if any(prevout[:32] in self.pool for prevout in victim.prevouts):
            return
        self.serial += 1
        rival = pay((self.serial * 100, data.draw(st.sampled_from((MINE, OTHER)))), spends=tuple(victim.prevouts))
        self.made.append((rival, 0))
        self.leave(victim, conflict=True)
        self.note(rival)
        self.bench.mine(rival, fork=self.fork)

    @rule(depth=st.integers(1, 3))
    def the_chain_is_left(self, depth: int) -> None:
        left: list[Tx] = []
        for _ in range(min(depth, len(self.bench.blocks) - 1)):
            left = [*self.bench.blocks[-1], *left]
            self.bench.undo()
        self.fork += 1
        for tx in left:
            self.abandoned.discard(tx.txid)
        for tx in left:
            for gone in [rival for prevout in tx.prevouts if (rival := self.spent_in(self.pool).get(prevout))]:
                self.leave(gone)
            if not self.enter(tx):
                for child in list(self.pool.values()):
                    if any(prevout[:32] == tx.txid for prevout in child.prevouts):
                        self.leave(child)

    @rule(data=st.data())
    def the_mempool_forgets(self, data: st.DataObject) -> None:
        if self.pool:
            self.leave(data.draw(st.sampled_from(list(self.pool.values()))))

    @rule(data=st.data())
    def the_user_gives_up(self, data: st.DataObject) -> None:
        if not self.known:
            return
        tx = data.draw(st.sampled_from(list(self.known.values())))
        if self.naive_state(tx) != "inactive" or tx.txid in self.abandoned:
            return
        assert self.bench.ledger.abandon(self.bench.ledger.transactions[tx.txid])
        todo = [tx]
        while todo:
            now = todo.pop()
            if self.naive_state(now) == "inactive" and now.txid not in self.abandoned:
                self.abandoned.add(now.txid)
                todo += [
                    known
                    for known in self.known.values()
                    if any(prevout[:32] == now.txid for prevout in known.prevouts)
                ]

    # -- what must hold

    def naive_state(self, tx: Tx) -> str:
        if tx.txid in self.chain:
            return "confirmed"
        if tx.txid in self.pool:
            return "pool"
        return "conflicted" if self.contradicted(tx) else "inactive"

    def contradicted(self, tx: Tx) -> bool:
        spent = self.spent_in(self.chain)
        for prevout in tx.prevouts:
            other = spent.get(prevout)
            if other is not None and other.txid != tx.txid:
                return True
            parent = self.known.get(prevout[:32])
            if parent is not None and parent.txid not in self.chain and self.contradicted(parent):
                return True
        return False

    @invariant()
    def states_are_those_of_the_world(self) -> None:
        ledger = self.bench.ledger
        assert ledger.transactions.keys() == self.known.keys()
        for txid, tx in self.known.items():
            entry, naive = ledger.transactions[txid], self.naive_state(tx)
            assert entry.is_confirmed == (naive == "confirmed")
            assert entry.in_pool == (naive == "pool")
            assert entry.pool_conflicts.keys() <= self.pool.keys()
            if naive == "inactive":
                assert not entry.is_block_conflicted
            if naive == "conflicted" and txid not in self.abandoned:
                assert entry.is_block_conflicted

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        """Confirmed coins that neither chain nor mempool spends are there; what the mempool spends is not."""
        chain, gone = self.chain, {**self.spent_in(self.chain), **self.spent_in(self.pool)}
        sure = {
            out(tx, vout): int.from_bytes(txout[:8], "little")
            for tx in chain.values()
            for vout, txout in enumerate(tx.txouts)
            if txout_script(txout) in OWN and out(tx, vout) not in gone
        }
        held = {prevout for tx in self.known.values() for prevout in tx.prevouts}  # by own inactive ones, perhaps
        found = {
            outpoint: coin.value
            for outpoint, coin in self.bench.ledger.coins.items()
            if coin.entry.is_confirmed and not self.bench.ledger.is_spent(outpoint)
        }
        assert found.items() <= sure.items()
        assert {key for key in sure if key not in held} <= found.keys()


TestWallet = WalletMachine.TestCase
TestWallet.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
