"""A mempool as small as relay needs it, for simulations: parents, fees and coins count, scripts do not."""

from __future__ import annotations

from collections.abc import Iterable

from btcnode.mempool.rejection import TxResult
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import txout_value
from btcnode.primitives.tx import Tx
from btcnode.protocol.chain_view import PoolEntry
from btcnode.protocol.effects import ProcessTransactions
from btcnode.protocol.events import TransactionsProcessed, TxOutcome
from btcnode.record import struct

COIN_VALUE = 1_000_000  # satoshi of every coin in the funding set
P2A = bytes.fromhex("51024e73")
INVALID_SCRIPT = b"\x00"  # a script_sig that makes the transaction invalid


def coin(number: int) -> bytes:
    """An outpoint that every ``SmallPool`` knows as unspent, worth ``COIN_VALUE``."""
    return b"\xc0" + number.to_bytes(31, "little") + bytes(4)


def spend(
    prevouts: Iterable[bytes],
    value_in: int,
    fee: int,
    *,
    outputs: int = 1,
    witness: bytes = b"",
    script_sig: bytes = b"",
    padding: int = 0,
) -> Tx:
    """A transaction of these outpoints that pays ``fee`` and divides the rest equally among its outputs.

    ``witness`` is one stack element of the first input; ``padding`` makes the last output's script longer.
    """
    prevouts = list(prevouts)
    value = (value_in - fee) // outputs
    script = bytes([len(P2A)]) + P2A
    txouts = [value.to_bytes(8, "little") + script] * outputs
    if padding:
        long = b"\x6a" * padding
        size = bytes([padding]) if padding < 0xFD else b"\xfd" + padding.to_bytes(2, "little")
        txouts.append(bytes(8) + size + long)
    witnesses = [[witness]] + [[] for _ in prevouts[1:]] if witness else None
    return Tx(2, prevouts, [script_sig] * len(prevouts), [0xFFFFFFFD] * len(prevouts), txouts, witnesses)


def output(tx: Tx, vout: int = 0) -> bytes:
    """The outpoint of an output."""
    return tx.txid + vout.to_bytes(4, "little")


@struct(eq=False)
class SmallEntry:
    """A transaction in a ``SmallPool``."""

    tx: Tx
    txid: bytes
    wtxid: bytes
    fee: int
    vsize: int
    sequence: int
    sigop_cost: int = 0  # nobody asks: blocks here are not judged by it
    spends_coinbase: bool = False


class SmallPool:
    """A TxSource that also judges: coins of ``coin()`` exist, whoever spends them first keeps them.

    ``feerate`` is the minimum in satoshi per kvB; what pays less is RECONSIDERABLE. Work is counted: ``lookups`` of
    ``find_tx``, ``judged`` transactions. What blocks spend is not kept: a coin that a block has spent and the pool did
    not is there for whoever spends it again.
    """

    def __init__(self, *, feerate: int = 1000) -> None:
        self.feerate = feerate
        self.entries: dict[bytes, SmallEntry] = {}  # by txid
        self._by_wtxid: dict[bytes, SmallEntry] = {}
        self._spent: dict[bytes, bytes] = {}
        self._unbroadcast: dict[bytes, None] = {}
        self._confirmed: dict[bytes, Tx] = {}  # by txid
        self.sequence = 1
        self.lookups = 0
        self.judged = 0

    # -- TxSource ------------------------------------------------------------------------------------------------

    def find_tx(self, tx_hash: bytes, by_wtxid: bool) -> SmallEntry | None:
        """By txid or wtxid."""
        self.lookups += 1
        return self._by_wtxid.get(tx_hash) if by_wtxid else self.entries.get(tx_hash)

    def by_wtxid(self) -> dict[bytes, SmallEntry]:
        """All of them."""
        return self._by_wtxid

    def parents(self, entry: PoolEntry) -> list[SmallEntry]:
        """Those in the pool, each once."""
        txids = dict.fromkeys(prevout[:32] for prevout in entry.tx.prevouts)
        return [self.entries[txid] for txid in txids if txid in self.entries]

    def chunk_feerate(self, entry: PoolEntry) -> float:
        """The transaction's own: there are no chunks here."""
        return entry.fee / entry.vsize

    def in_order(self) -> list[SmallEntry]:
        """As they came, so parents come first."""
        return list(self.entries.values())

    def best(self, count: int) -> list[SmallEntry]:
        """The first that came."""
        return self.in_order()[:count]

    def minimum_feerate(self) -> int:
        """As told."""
        return self.feerate

    def relay_feerate(self) -> int:
        """As told."""
        return self.feerate

    def unbroadcast(self) -> list[bytes]:
        """Those that were added by ``add_unbroadcast`` and are here."""
        return [txid for txid in self._unbroadcast if txid in self.entries]

    def add_unbroadcast(self, txid: bytes) -> None:
        """The user's transaction, which nobody has asked for yet."""
        self._unbroadcast[txid] = None

    def asked_for(self, txid: bytes, group: int) -> None:
        """Somebody has."""
        self._unbroadcast.pop(txid, None)

    # -- judging -------------------------------------------------------------------------------------------------

    def _value(self, outpoint: bytes, extra: dict[bytes, Tx]) -> int | None:
        if outpoint[0] == 0xC0 and outpoint[32:] == bytes(4):
            return COIN_VALUE
        entry = self.entries.get(outpoint[:32])
        tx = entry.tx if entry is not None else extra.get(outpoint[:32]) or self.confirmed_tx(outpoint[:32])
        vout = int.from_bytes(outpoint[32:], "little")
        if tx is None or vout >= len(tx.txouts):
            return None
        return txout_value(tx.txouts[vout])

    def _judge(self, tx: Tx, extra: dict[bytes, Tx]) -> tuple[TxResult | None, str, int]:
        """What is wrong with a transaction apart from its feerate, and its fee."""
        self.judged += 1
        if tx.txid in self.entries or self.confirmed_tx(tx.txid) is not None:
            return TxResult.CONFLICT, "txn-already-in-mempool", 0
        total = 0
        for prevout in tx.prevouts:
            value = self._value(prevout, extra)
            if value is None:
                return TxResult.MISSING_INPUTS, "bad-txns-inputs-missingorspent", 0
            if prevout in self._spent:
                return TxResult.MEMPOOL_POLICY, "txn-mempool-conflict", 0
            total += value
        if INVALID_SCRIPT in tx.script_sigs:
            return TxResult.CONSENSUS, "mandatory-script-verify-flag-failed", 0
        return None, "", total - sum(txout_value(txout) for txout in tx.txouts)

    def judge(self, effect: ProcessTransactions) -> TransactionsProcessed:
        """Carry the effect out."""
        txs = effect.txs
        extra: dict[bytes, Tx] = {tx.txid: tx for tx in txs}
        verdicts = [self._judge(tx, extra if effect.package else {}) for tx in txs]
        fee, size = sum(v[2] for v in verdicts), sum(tx.vsize for tx in txs)
        if fee * 1000 < self.feerate * size:
            verdicts = [v if v[0] else (TxResult.RECONSIDERABLE, "min relay fee not met", 0) for v in verdicts]
        if any(v[0] for v in verdicts) and effect.package:
            verdicts = [v if v[0] else (TxResult.RECONSIDERABLE, "transaction failed", 0) for v in verdicts]
        for tx, verdict in zip(txs, verdicts, strict=True):
            if verdict[0] is None and not effect.test:
                self.add(tx, verdict[2])
        results = tuple(TxOutcome(t.txid, t.wtxid, v[0], v[1]) for t, v in zip(txs, verdicts, strict=True))
        return TransactionsProcessed(effect.peer_id, effect.number, results)

    def add(self, tx: Tx, fee: int = 1000) -> SmallEntry:
        """Take a transaction in, whatever it is worth."""
        entry = SmallEntry(tx, tx.txid, tx.wtxid, fee, tx.vsize, self.sequence)
        self.put(entry)
        for prevout in tx.prevouts:
            self._spent[prevout] = tx.txid
        return entry

    def put(self, entry: SmallEntry) -> None:
        """Have an entry that may be others' too; what it spends is not looked at."""
        self.sequence += 1
        self.entries[entry.txid] = self._by_wtxid[entry.wtxid] = entry

    # -- blocks --------------------------------------------------------------------------------------------------

    def confirmed_tx(self, txid: bytes) -> Tx | None:
        """The transaction if a block of the chain has it."""
        return self._confirmed.get(txid)

    def transactions_of(self, block: ParsedBlock) -> list[Tx]:
        """All transactions of a block."""
        return [block.tx(n) for n in range(block.n_tx)]

    def keep_confirmed(self, block: ParsedBlock) -> None:
        """The chain has the transactions of this block."""
        self._confirmed |= {tx.txid: tx for tx in self.transactions_of(block)}

    def drop_confirmed(self, block: ParsedBlock) -> None:
        """The chain has them no more."""
        for txid in block.txids:
            self._confirmed.pop(txid, None)

    def connected(self, block: ParsedBlock) -> None:
        """Let go of what a block confirms and contradicts."""
        self.keep_confirmed(block)
        for txid in block.txids:
            if txid in self.entries:
                self.remove(txid)
        for prevout in block.prevouts():
            if prevout in self._spent:
                self._remove_with_children(self._spent[prevout])

    def disconnected(self, block: ParsedBlock) -> None:
        """What a block confirmed comes back, in its order, as far as its coins are there."""
        self.drop_confirmed(block)
        for tx in self.transactions_of(block)[1:]:
            verdict, _, fee = self._judge(tx, {})
            if verdict is None:
                self.add(tx, fee)

    def _remove_with_children(self, txid: bytes) -> None:
        gone = [txid]
        while gone:
            entry = self.entries.get(gone.pop())
            if entry is not None:
                outputs = (output(entry.tx, vout) for vout in range(len(entry.tx.txouts)))
                gone += [self._spent[outpoint] for outpoint in outputs if outpoint in self._spent]
                self.remove(entry.txid)

    def remove(self, txid: bytes) -> None:
        """Let a transaction go."""
        entry = self.entries.pop(txid)
        self._by_wtxid.pop(entry.wtxid, None)  # a subclass may have one table for both names
        self.sequence += 1
        for prevout in entry.tx.prevouts:
            self._spent.pop(prevout, None)
