"""The life of a mempool: transactions of every kind under options of every kind, blocks, reorganisations, restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from btcnode.primitives.hashes import from_display, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from tests.lib.ancestry import ListAncestry
from tests.lib.block_lab import LabCoin
from tests.lib.mempool_lab import FREE, START, MempoolLab, coins_of, pay
from tests.lib.rpc_diff.text import Raw
from tests.lib.tx_fuzz import KINDS, TxFuzzer

from .pair import Pair

FREE_COINS = 300
REFRESH_S = 6  # after which a template is made anew
MOST_IN_POOL = 150
LOOK_CLOSER = 4  # every so many steps everything is compared
RATES: tuple[Any, ...] = (0, 0, 0, 0, 0, 0, None, Raw("0.0001"), Raw("0.00000500"), "0.01")
BURNS: tuple[Any, ...] = (21_000_000, 21_000_000, 21_000_000, None, 0, Raw("0.00000001"), Raw("0.00000999"))
DELTAS = (-(10**6), -10_000, -1000, -300, -10, -1, 1, 10, 300, 1000, 10_000, 10**6, 10**9)
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("-minrelaytxfee=0", "-minrelaytxfee=0.00000001", "-minrelaytxfee=0.00001", "-minrelaytxfee=0.00003"),
    ("-incrementalrelayfee=0", "-incrementalrelayfee=0.00000001", "-incrementalrelayfee=0.00001"),
    ("-dustrelayfee=0", "-dustrelayfee=0.00000001", "-dustrelayfee=0.00001", "-dustrelayfee=0.0001"),
    ("-bytespersigop=0", "-bytespersigop=1", "-bytespersigop=100", "-bytespersigop=2000"),
    ("-datacarrier=0", "-datacarriersize=0", "-datacarriersize=1", "-datacarriersize=83", "-datacarriersize=1000000"),
    ("-permitbaremultisig=0",),
    ("-acceptnonstdtxn=1",),
    ("-limitclustercount=1", "-limitclustercount=2", "-limitclustercount=5", "-limitclustercount=20"),
    ("-limitclustersize=1", "-limitclustersize=2", "-limitclustersize=100"),
    ("-blockmintxfee=0", "-blockmintxfee=0.00003", "-blockmaxweight=8000", "-blockmaxweight=30000"),
    ("-mempoolexpiry=1", "-mempoolexpiry=2"),
    ("-blocksonly=1",),
)  # fmt: skip


class World(MempoolLab):
    """The lab's chain, which can go back and on from below its tip."""

    def take(self, raw: bytes) -> None:
        """The block is the tip now."""
        self.lab.adopt(raw)
        self.raws.append(raw)
        self.tip = self.tree.append(raw)

    def back_to(self, height: int) -> None:
        """The block at ``height`` is the tip."""
        self.lab = self.lab.branch(height)
        self.raws = self.raws[:height]
        self.tree = ListAncestry()
        for raw in (self.params.genesis_block, *self.raws):
            self.tip = self.tree.append(raw)


class PoolLife:
    """A random life, from a seed. ``step`` leads it on; both nodes are compared after each step."""

    def __init__(self, pair: Pair, rng: Random) -> None:
        self.pair = pair
        self.rng = rng
        self.world = World(KINDS, free=FREE_COINS)
        self.fuzzer = TxFuzzer(self.world, rng)
        self.known: dict[bytes, Tx] = {}  # every transaction that was made
        self.steps = 0
        self.branches: list[list[bytes]] = []  # blocks that were taken back: their bytes, from height 1

    def begin(self) -> None:
        """Both get the chain."""
        for raw in self.world.raws:
            self.pair.both("submitblock", raw.hex())

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step, and what is to be seen of it."""
        makers: tuple[tuple[int, Callable[[], None]], ...] = (
            (14, self._send),
            (3, self._test),
            (6, self._submit_package),
            (2, self._test_package),
            (4, self._coinbase),
            (3, self._locked),
            (3, self._prioritise),
            (3, self._mine),
            (2, self._undo),
            (1, self._redo),
            (1, self._time),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        maker()
        self.steps += 1
        self._look()

    def restart(self) -> None:
        """Both with other options; the pool comes back as far as these let it."""
        pair = self.pair
        rows = self.rng.sample(OPTIONS, self.rng.choice((0, 1, 1, 2, 3)))
        kept, pair.options = pair.options, [self.rng.choice(row) for row in rows]
        if pair.restart():
            pair.options = kept
            pair.restart()
        self._look()

    def _keep(self, txs: Sequence[Tx]) -> None:
        for tx in txs:
            self.known[tx.txid] = tx

    def _send(self) -> None:
        tx = self.fuzzer.next()
        self._keep([tx])
        if len(self.fuzzer.pool) >= MOST_IN_POOL and self.rng.random() < 0.7:
            self.pair.both("testmempoolaccept", [tx.raw.hex()], 0)
        else:
            self.pair.both("sendrawtransaction", tx.raw.hex(), self.rng.choice(RATES), self.rng.choice(BURNS))

    def _test(self) -> None:
        tx = self.fuzzer.next()
        self._keep([tx])
        self.pair.both("testmempoolaccept", [tx.raw.hex()], self.rng.choice(RATES))

    def _package(self) -> list[str]:
        txs = self.fuzzer.package()
        self._keep(txs)
        return [tx.raw.hex() for tx in txs]

    def _submit_package(self) -> None:
        self.pair.both("submitpackage", self._package(), self.rng.choice(RATES), self.rng.choice(BURNS))

    def _test_package(self) -> None:
        self.pair.both("testmempoolaccept", self._package(), self.rng.choice(RATES))

    def _coinbase(self) -> None:
        """Spend a coinbase that is about ripe."""
        world, rng = self.world, self.rng
        height = world.height - 99 + rng.choice((0, 0, 0, -1, -2, 1, 2))
        coin = world.lab.coinbases.get(height)
        if coin is not None and coin.script_pubkey == FREE.script_pubkey:
            ripe = LabCoin(coin.outpoint, coin.value, coin.script_pubkey, height, FREE)
            self._give(pay([ripe], rng.choice((300, 1000)), rng.choice((1, 2))))

    def _locked(self) -> None:
        """Spend with a lock that has just opened, so that a reorganisation closes it."""
        world, rng = self.world, self.rng
        coin = world.coin()
        median = world.tree.median_time_past(world.tip)
        age = max(0, world.height - coin.height)
        kind = rng.randrange(4)
        if kind == 0:
            tx = pay([coin], 300, lock_time=world.height - rng.choice((0, 0, 1)), sequence=0xFFFFFFFD)
        elif kind == 1:
            tx = pay([coin], 300, lock_time=median - rng.choice((1, 1, 2, 600)), sequence=0xFFFFFFFD)
        elif kind == 2:
            tx = pay([coin], 300, sequence=min(0xFFFF, age + rng.choice((0, 1, 1, 2))))
        else:
            since = median - world.tree.median_time_past(max(0, coin.height - 1))
            units = max(0, since // 512 + rng.choice((-1, 0, 0, 1)))
            tx = pay([coin], 300, sequence=1 << 22 | min(0xFFFF, units))
        self._give(tx)

    def _give(self, tx: Tx) -> None:
        self._keep([tx])
        self.pair.both("sendrawtransaction", tx.raw.hex(), 0, 21_000_000)

    def _prioritise(self) -> None:
        rng = self.rng
        pool = list(self.fuzzer.pool)
        txid = rng.choice(pool) if pool and rng.random() < 0.85 else rng.choice(list(self.known) or [bytes(32)])
        self.pair.both("prioritisetransaction", to_display(txid), None, rng.choice(DELTAS))

    def _time(self) -> None:
        self.pair.sets(self.pair.now + self.rng.choice((1, 60, 1200, 4000, 2 * 3600)))

    # -- blocks --------------------------------------------------------------------------------------------------

    def _mine(self) -> None:
        """Some of the pool, with its ancestors, and perhaps what conflicts with another part of it."""
        rng, pair = self.rng, self.pair
        order = [from_display(txid) for txid in pair.same("getrawmempool")]
        share = rng.choice((0.0, 0.2, 0.5, 1.0))
        chosen: dict[bytes, Tx] = {}
        for txid in order:
            tx = self.known[txid]
            parents = {prevout[:32] for prevout in tx.prevouts} & set(order)
            if parents <= chosen.keys() and rng.random() < share and len(chosen) < 40:
                chosen[txid] = tx
        if rng.random() < 0.4:
            self._rival(chosen, order)
        self._extend(list(chosen.values()))

    def _rival(self, chosen: dict[bytes, Tx], order: Sequence[bytes]) -> None:
        """Take one into the block that spends a confirmed coin which another in the pool spends, too."""
        spent = {prevout for tx in chosen.values() for prevout in tx.prevouts}
        for txid in order:
            for prevout in self.known[txid].prevouts:
                coin = self.fuzzer._spent.get(prevout)
                if coin is None or prevout in spent or prevout[:32] in set(order) or coin.how is not FREE:
                    continue
                if self.rng.random() < 0.3:
                    tx = pay([coin], 500, 2)
                    self._keep([tx])
                    chosen[tx.txid] = tx
                    return

    def _extend(self, txs: Sequence[Tx]) -> None:
        world = self.world
        world.lab.now = self.pair.now
        raw = world.lab.block(*txs, script_pubkey=FREE.script_pubkey)
        if self.pair.both("submitblock", raw.hex()) is None:
            world.take(raw)
            for tx in txs:
                world.free.extend(coin for coin in coins_of(tx) if self.rng.random() < 0.5)

    def _undo(self) -> None:
        """Take blocks back; perhaps others follow in their place."""
        rng, world = self.rng, self.world
        depth = rng.choice((1, 1, 1, 2, 3, 5))
        height = max(113, world.height - depth)
        if height == world.height:
            return
        self.branches.append(list(world.raws))
        name = to_display(header_hash(world.raws[height][:HEADER_SIZE]))
        self.pair.both("invalidateblock", name)
        self._follow()
        self._look()
        for _ in range(rng.choice((0, 0, 1, depth))):
            self._mine()
            self._look()

    def _redo(self) -> None:
        """Have a branch that was taken back be good again."""
        if not self.branches:
            return
        raws = self.branches.pop(self.rng.randrange(len(self.branches)))
        self.pair.both("reconsiderblock", to_display(header_hash(raws[-1][:HEADER_SIZE])))
        self._follow()

    def _follow(self) -> None:
        """Be where the nodes are."""
        self.pair.settle()
        best = self.pair.same("getbestblockhash")
        chains = [self.world.raws, *self.branches]
        raws: list[bytes] = []
        height = int(self.pair.same("getblockcount"))
        name = best
        for at in range(height, 0, -1):
            known = next((c for c in chains if len(c) >= at and _name(c[at - 1]) == name), None)
            if known is not None:
                raws = known[:at] + raws
                break
            text = self.pair.theirs("getblock", name, 0)
            raws.insert(0, bytes.fromhex(text))
            name = to_display(raws[0][4:36])
        common = 0
        for one, two in zip(raws, self.world.raws, strict=False):
            if one != two:
                break
            common += 1
        self.world.back_to(common)
        for raw in raws[common:]:
            self.world.take(raw)

    # -- looking -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        pair = self.pair
        pool = pair.same("getrawmempool")
        held = {from_display(txid) for txid in pool}
        for txid in held - self.fuzzer.pool.keys():
            self.fuzzer.adopt(self.known[txid])
        self.fuzzer.keep(held)
        if self.steps % LOOK_CLOSER:
            return
        pair.sets(pair.now + REFRESH_S)
        for method in ("getmempoolinfo", "getmempoolfeeratediagram", "getprioritisedtransactions", "getmininginfo"):
            pair.same(method)
        pair.same("getrawmempool", True)
        pair.same("getblocktemplate", {"rules": ["segwit"]})
        for txid in self.rng.sample(pool, min(3, len(pool))):
            for method in ("getmempoolcluster", "getmempoolancestors", "getmempooldescendants"):
                pair.same(method, txid)


def _name(raw: bytes) -> str:
    return to_display(header_hash(raw[:HEADER_SIZE]))


def live(pair: Pair, rng: Random, steps: int) -> None:
    """A whole life. Raises Difference."""
    assert pair.now == START
    life = PoolLife(pair, rng)
    life.begin()
    for step in range(1, steps + 1):
        life.step()
        if step % 60 == 0:
            life.restart()
