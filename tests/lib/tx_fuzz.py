"""Random transactions for mempools: sound ones, and ones that break a rule of consensus or policy, mostly only one.

Everything comes from the seed, so that the same sequence can be shown to two nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.script.scriptparse import push_data
from btcnode.script.signatures import pubkey_create
from btcnode.testing.templates import Spendable, seckey
from tests.lib.block_lab import LabCoin, alter
from tests.lib.mempool_lab import ANCHOR, FREE, START, MempoolLab, bare, coins_of, p2sh, p2wsh, pay

_DROP = b"\x75"
_TRUE = b"\x51"
_KEY = pubkey_create(seckey(1))
_LONG_KEY = pubkey_create(seckey(1), compressed=False)
_CHECKSIGS_16 = b"\x00\x63" + b"\xac" * 16 + b"\x68\x51"  # sixteen sigops, none of them executed

KINDS: dict[str, Spendable] = {
    "anchor": ANCHOR,
    "p2sh-true": p2sh(_TRUE),
    "p2sh-16-sigops": p2sh(_CHECKSIGS_16),
    "p2sh-15-sigops": p2sh(_CHECKSIGS_16.replace(b"\xac" * 16, b"\xac" * 15)),
    "p2sh-reserved": p2sh(_TRUE, b"\x50"),
    "p2sh-free-witness": p2sh(FREE.script_pubkey, witness=[_TRUE]),
    "p2sh-taproot": p2sh(b"\x51\x20" + bytes(32)),
    "p2wsh-80": p2wsh(_DROP + _TRUE, bytes(80)),
    "p2wsh-81": p2wsh(_DROP + _TRUE, bytes(81)),
    "p2wsh-100-items": p2wsh(b"\x6d" * 50 + _TRUE, *[b""] * 100),
    "p2wsh-101-items": p2wsh(b"\x6d" * 50 + _DROP + _TRUE, *[b""] * 101),
    "p2wsh-3600": p2wsh((push_data(bytes(500)) + _DROP) * 7 + b"\x61" * 71 + _TRUE),
    "p2wsh-3601": p2wsh((push_data(bytes(500)) + _DROP) * 7 + b"\x61" * 79 + _TRUE),
    "p2wsh-minimal-if": p2wsh(b"\x63\x51\x67\x51\x68", b"\x02"),
    "p2wsh-dirty-stack": p2wsh(_TRUE, _TRUE),
    "p2wsh-false": p2wsh(b"\x00"),
    "p2wsh-nop10": p2wsh(b"\xb9" + _TRUE),
    "p2wsh-cltv": p2wsh(b"\x02\xe8\x03\xb1" + _DROP + _TRUE),
    "bare-true": bare(_TRUE),
    "bare-unknown-program": bare(b"\x52\x02\x12\x34"),
    "bare-p2pk": bare(push_data(_KEY) + b"\xac", push_data(b"\x30\x01")),
    "bare-multisig": bare(_TRUE + push_data(_KEY) + _TRUE + b"\xae", b"\x00\x00"),
    "bare-v0-21": bare(b"\x00\x15" + bytes(21)),
}  # fmt: skip


class TxFuzzer:
    """Makes transactions on a lab's coins. Tell it by ``adopt`` and ``forget`` what has entered and left the pool."""

    def __init__(self, lab: MempoolLab, rng: Random) -> None:
        self.lab = lab
        self._rng = rng
        self._seen: list[Tx] = []
        self.pool: dict[bytes, Tx] = {}
        self._spent: dict[bytes, LabCoin] = {}
        self._unconfirmed: list[LabCoin] = []
        self._bends: list[Callable[[], Tx]] = [
            self._plain, self._plain, self._kind, self._kind, self._kind, self._low_fee, self._version, self._lock_time,
            self._relative_lock, self._dust, self._data, self._output_script, self._values, self._inputs, self._missing,
            self._coinbase, self._below_out, self._flipped, self._stripped, self._witness, self._script_sig,
            self._again, self._replace, self._replace, self._replace, self._spends_conflict, self._truc, self._truc,
            self._truc, self._ephemeral, self._ephemeral, self._chain, self._chain, self._chain, self._large,
            self._sigops, self._small,
        ]  # fmt: skip

    # -- the outside ---------------------------------------------------------------------------------------------

    def next(self) -> Tx:
        """Another transaction."""
        tx = self._rng.choice(self._bends)()
        self._seen.append(tx)
        return tx

    def package(self) -> list[Tx]:
        """Some transactions to be judged together, mostly parents and a child."""
        rng = self._rng
        version = rng.choice((1, 2, 2, 3, 3))
        parents = [self._parent(version) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        txs = list(parents)
        coins = [rng.choice(coins_of(parent)) for parent in parents if coins_of(parent)]
        for parent in parents:
            dust = [coin for coin in coins_of(parent, ANCHOR) if rng.random() < 0.8]
            coins += dust
        if rng.random() < 0.2:
            coins.append(self._coin())
        if rng.random() < 0.15 and self._unconfirmed:
            coins.append(rng.choice(self._unconfirmed))
        if coins:
            size = 40 if rng.random() < 0.1 else 1
            fee = rng.choice((0, 10, 50, 300, 1000, 5000))
            txs.append(pay(coins, fee, size, version=version if rng.random() < 0.85 else rng.choice((2, 3))))
        bend = rng.random()
        if bend < 0.06:
            rng.shuffle(txs)
        elif bend < 0.1:
            txs.append(rng.choice(txs))
        elif bend < 0.14:
            txs.append(self._plain())
        elif bend < 0.2 and coins_of(txs[-1]):
            txs.append(pay(coins_of(txs[-1])[:1], 300, version=version))
        elif bend < 0.24:
            txs[-1] = alter(txs[-1], witnesses=[[*stack, b"\x01"] for stack in txs[-1].witnesses])
        elif bend < 0.26:
            txs += [self._plain() for _ in range(26)]
        elif bend < 0.3 and self.pool:
            txs.insert(0, rng.choice(list(self.pool.values())))
        self._seen += txs
        return txs

    def adopt(self, tx: Tx) -> None:
        """The transaction is in the pool."""
        self.pool[tx.txid] = tx
        self._unconfirmed += coins_of(tx)

    def keep(self, txids: set[bytes]) -> None:
        """Only these are in the pool."""
        self.pool = {txid: tx for txid, tx in self.pool.items() if txid in txids}
        self._unconfirmed = [coin for coin in self._unconfirmed if coin.outpoint[:32] in txids]

    # -- coins ---------------------------------------------------------------------------------------------------

    def _coin(self) -> LabCoin:
        coin = self.lab.coin()
        if self._rng.random() < 0.7:
            self.lab.free.append(coin)  # may be spent twice
        self._spent[coin.outpoint] = coin
        return coin

    def _any_coin(self) -> LabCoin:
        if self._unconfirmed and self._rng.random() < 0.4:
            coin = self._rng.choice(self._unconfirmed)
            self._spent[coin.outpoint] = coin
            return coin
        return self._coin()

    def _fee(self) -> int:
        return self._rng.choice((20, 50, 100, 300, 1000, 3000))

    def _parent(self, version: int) -> Tx:
        rng = self._rng
        if rng.random() < 0.3:
            return pay([self._coin()], 0, extra=[make_txout(0, ANCHOR.script_pubkey)], version=version)
        return pay([self._any_coin()], rng.choice((0, 0, 1, 5, 20, 500)), rng.choice((1, 2)), version=version)

    # -- transactions --------------------------------------------------------------------------------------------

    def _plain(self) -> Tx:
        coins = {coin.outpoint: coin for coin in (self._any_coin() for _ in range(self._rng.choice((1, 1, 2, 3))))}
        return pay(list(coins.values()), self._fee(), self._rng.choice((1, 2, 3)))

    def _kind(self) -> Tx:
        kind = self._rng.choice(list(self.lab.kinds))
        coin = self._rng.choice(list(self.lab.kinds[kind]))
        self._spent[coin.outpoint] = coin
        return pay([coin], self._fee(), lock_time=self._rng.choice((0, 0, 100)))

    def _low_fee(self) -> Tx:
        return pay([self._any_coin()], self._rng.randrange(0, 30), self._rng.choice((1, 2)))

    def _version(self) -> Tx:
        return pay([self._any_coin()], self._fee(), version=self._rng.choice((0, 1, 2, 3, 4, 0x7FFFFFFF, 0xFFFFFFFF)))

    def _lock_time(self) -> Tx:
        height, rng = self.lab.height, self._rng
        median = self.lab.tree.median_time_past(self.lab.tip)
        lock_time = rng.choice((height, height + 1, height + 2, median - 1, median, median + 1, START * 2, 499_999_999))
        sequence = rng.choice((0xFFFFFFFE, 0xFFFFFFFD, SEQUENCE_FINAL))
        return pay([self._coin()], self._fee(), lock_time=lock_time, sequence=sequence)

    def _relative_lock(self) -> Tx:
        rng = self._rng
        depth = rng.choice((0, 1, 2, 3, 4, 5, 10, 0xFFFF)) | rng.choice((0, 0, 1 << 22))
        version = rng.choice((1, 2, 2, 3, 0xFFFFFFFF))
        return pay([self._any_coin()], self._fee(), version=version, sequence=depth | rng.choice((0, 0, 0, 1 << 31)))

    def _dust(self) -> Tx:
        rng = self._rng
        scripts = (FREE.script_pubkey, b"\x00\x14" + bytes(20), b"\x51\x20" + bytes(32), ANCHOR.script_pubkey,
                   b"\xa9\x14" + bytes(20) + b"\x87", b"\x76\xa9\x14" + bytes(20) + b"\x88\xac",
                   push_data(_KEY) + b"\xac", b"\x6a\x01\x01", b"\x53\x02\x01\x02")  # fmt: skip
        edges = (0, 239, 240, 293, 294, 329, 330, 539, 540, 545, 546, 575, 576)
        extra = [make_txout(rng.choice(edges), rng.choice(scripts)) for _ in range(rng.choice((1, 1, 2)))]
        return pay([self._coin()], rng.choice((0, 0, 300)), extra=extra)

    def _data(self) -> Tx:
        rng = self._rng
        sizes = [rng.choice((0, 1, 40, 80, 83, 500, 33_000, 49_990, 90_000)) for _ in range(rng.choice((1, 1, 2, 3)))]
        scripts = [b"\x6a" + (push_data(bytes(size)) if size else b"") for size in sizes]
        if rng.random() < 0.2:
            scripts[0] += rng.choice((b"\x50", b"\x61", b"\x4c", b"\x05\x01"))
        return pay([self._coin()], rng.choice((300, 10_000, 15_000)), extra=[make_txout(0, s) for s in scripts])

    def _output_script(self) -> Tx:
        rng, n = self._rng, self._rng.choice((1, 2, 3, 4))
        keys = [rng.choice((_KEY, _LONG_KEY)) for _ in range(n)]
        counts = (
            bytes(
                (0x50 + rng.choice((0, 1, n))),
            )
            + b"".join(map(push_data, keys))
            + bytes((0x50 + n,))
        )
        script = rng.choice((
            counts + b"\xae", counts + b"\xae", b"", _TRUE, b"\x6a", push_data(_KEY) + b"\xac",
            push_data(_LONG_KEY) + b"\xac", push_data(b"\x05" + _KEY[1:]) + b"\xac",
            push_data(b"\x06" + _LONG_KEY[1:]) + b"\xac", b"\x00\x15" + bytes(21), b"\x60\x28" + bytes(40),
            b"\x60\x29" + bytes(41), b"\x4c\x14" + bytes(20), b"\xa9\x14" + bytes(20) + b"\x88", bytes(10_001),
        ))  # fmt: skip
        return pay([self._coin()], self._fee(), extra=[make_txout(2000, script)])

    def _values(self) -> Tx:
        value = self._rng.choice((-1, -(2**63), 2_100_000_000_000_000, 2_100_000_000_000_001, 2**63 - 1))
        tx = pay([self._coin()], 300, 2)
        return alter(tx, txouts=[*tx.txouts, make_txout(value, FREE.script_pubkey)])

    def _inputs(self) -> Tx:
        tx = pay([self._coin(), self._coin()], 300, 2)
        how = self._rng.randrange(4)
        if how == 0:
            return alter(tx, prevouts=[tx.prevouts[0]] * 2)
        if how == 1:
            return alter(tx, prevouts=[tx.prevouts[0], NULL_OUTPOINT])
        if how == 2:
            return alter(tx, txouts=[])
        script = bytes(self._rng.choice((1, 2, 100, 101)))
        return Tx(2, [NULL_OUTPOINT], [script], [SEQUENCE_FINAL], tx.txouts)

    def _missing(self) -> Tx:
        tx = pay([self._any_coin(), self._coin()], 300)
        wrong = (
            tx.prevouts[0][:32] + b"\x09\x00\x00\x00" if self._rng.random() < 0.5 else bytes(31) + b"\x01" + bytes(4)
        )
        return alter(tx, prevouts=[wrong, tx.prevouts[1]])

    def _coinbase(self) -> Tx:
        height = self._rng.choice((self.lab.height, self.lab.height - 98, self.lab.height - 99, self.lab.height - 100))
        coin = self.lab.lab.coinbases[height]
        how = bare(coin.script_pubkey)
        return pay([LabCoin(coin.outpoint, coin.value, coin.script_pubkey, height, how), self._coin()], 300)

    def _below_out(self) -> Tx:
        return pay([self._any_coin()], -self._rng.choice((1, 100, 123_456_789)))

    def _flipped(self) -> Tx:
        tx = self._kind()
        where = self._rng.randrange(len(tx.raw) - 8) + 4
        raw = bytearray(tx.raw)
        raw[where] ^= 1 << self._rng.randrange(8)
        try:
            flipped = Tx.parse(bytes(raw))
        except ValueError:
            return tx
        return flipped if flipped.prevouts and flipped.raw == bytes(raw) else tx

    def _stripped(self) -> Tx:
        return alter(self._kind(), witnesses=None)

    def _witness(self) -> Tx:
        tx, rng = self._kind(), self._rng
        stacks = [list(stack) for stack in tx.witnesses] or [[] for _ in tx.prevouts]
        item = rng.choice((b"", b"\x01", b"\x50\x01", bytes(81), bytes(521), b"\xc0" + bytes(32)))
        stacks[0].insert(rng.randrange(len(stacks[0]) + 1), item)
        return alter(tx, witnesses=stacks)

    def _script_sig(self) -> Tx:
        tx, rng = self._kind(), self._rng
        old = tx.script_sigs[0]
        new = rng.choice((
            b"", b"\x61", old + b"\x61", b"\x00" + old, b"\x50" + old, b"\x4c" + old, push_data(bytes(521)) + old,
            _TRUE * 1001 + old, bytes(1650), bytes(1651), b"\x01\x01" + old, old[:-1],
        ))  # fmt: skip
        return alter(tx, script_sigs=[new, *tx.script_sigs[1:]])

    def _again(self) -> Tx:
        if not self._seen:
            return self._plain()
        tx = self._rng.choice(list(self.pool.values()) if self.pool and self._rng.random() < 0.6 else self._seen)
        if tx.witnesses and self._rng.random() < 0.5:
            return alter(tx, witnesses=[[b"\x02", *stack] for stack in tx.witnesses])
        return tx

    def _replace(self) -> Tx:
        """Conflicts with one to three transactions of the pool, for about what they and their own relay cost."""
        spent = [self._spent[o] for tx in self.pool.values() for o in tx.prevouts if o in self._spent]
        if not spent:
            return self._plain()
        rng = self._rng
        coins = {coin.outpoint: coin for coin in (rng.choice(spent) for _ in range(rng.choice((1, 1, 2, 3))))}
        if rng.random() < 0.3:
            coin = self._any_coin()
            coins[coin.outpoint] = coin
        fee = rng.choice((20, 100, 310, 320, 1000, 1010, 1020, 3000, 3020, 6000, 10_000))
        return pay(list(coins.values()), fee, rng.choice((1, 1, 2, 20)), version=rng.choice((2, 2, 2, 3)))

    def _spends_conflict(self) -> Tx:
        for tx in self.pool.values():
            inputs = [self._spent[o] for o in tx.prevouts if o in self._spent]
            made = coins_of(tx)
            if inputs and made and self._rng.random() < 0.3:
                return pay([inputs[0], made[0]], self._rng.choice((100, 9000)))
        return self._plain()

    def _truc(self) -> Tx:
        rng = self._rng
        version = rng.choice((3, 3, 3, 2))
        young = [coin for coin in self._unconfirmed if self.pool[coin.outpoint[:32]].version == 3]
        coins = [self._coin()]
        if young and rng.random() < 0.75:
            coins = [rng.choice(young)]
            self._spent[coins[0].outpoint] = coins[0]
            if rng.random() < 0.3:
                coins.append(self._any_coin())
        coins = list({coin.outpoint: coin for coin in coins}.values())
        return pay(
            coins, rng.choice((20, 300, 1000, 5000, 20_000)), rng.choice((1, 2, 2, 22, 23, 240)), version=version
        )

    def _ephemeral(self) -> Tx:
        """A parent with dust, or a child that spends it or not."""
        rng = self._rng
        dusty = [tx for tx in self.pool.values() if coins_of(tx, ANCHOR)]
        if dusty and rng.random() < 0.5:
            parent = rng.choice(dusty)
            coins = coins_of(parent)[:1] + (coins_of(parent, ANCHOR) if rng.random() < 0.6 else [])
            return pay(coins, 2000, version=parent.version)
        extra = [make_txout(rng.choice((0, 239, 240)), ANCHOR.script_pubkey) for _ in range(rng.choice((1, 1, 2)))]
        return pay([self._coin()], rng.choice((0, 0, 100)), extra=extra, version=rng.choice((2, 3)))

    def _chain(self) -> Tx:
        """Deeper into the newest cluster."""
        if not self._unconfirmed:
            return self._plain()
        coins = self._rng.sample(
            self._unconfirmed[-6:], k=min(len(self._unconfirmed[-6:]), self._rng.choice((1, 1, 2)))
        )
        for coin in coins:
            self._spent[coin.outpoint] = coin
        return pay(coins, self._fee(), 2)

    def _large(self) -> Tx:
        """About as heavy as is relayed."""
        script = b"\x6a" + push_data(bytes(self._rng.randrange(99_870, 99_900)))
        return pay([self._coin()], 20_000, extra=[make_txout(0, script)])

    def _sigops(self) -> Tx:
        script = _TRUE + push_data(_KEY) + _TRUE + b"\xae"
        count = self._rng.choice((1, 10, 100, 200, 201))
        return pay([self._coin()], self._rng.choice((300, 40_000)), extra=[make_txout(576, script)] * count)

    def _small(self) -> Tx:
        size = self._rng.choice((0, 1, 2, 3, 4, 5))
        tx = pay([self._coin()], 300)
        return alter(tx, txouts=[make_txout(0, b"\x6a" + b"\x51" * size)])
