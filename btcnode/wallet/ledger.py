"""The ledger of a wallet: its transactions, which outputs are its own, what spends what, and how that changes.

Chain and mempool are told to it event by event, in order; the rules by which states follow are Core's. Everything is
kept in memory and noted in the journal. Belongs to the loop thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import NamedTuple, Protocol

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx
from btcnode.wallet.journal import Journal
from btcnode.wallet.states import (
    ABANDONED,
    IN_POOL,
    INACTIVE,
    BlockConflicted,
    Confirmed,
    Inactive,
    State,
    WalletTx,
)
from btcnode.wallet.tx_records import note_state, note_tx

TRUC_VERSION = 3
FUTURE_SECONDS = 300  # that the time of a transaction may lie ahead

log = logging.getLogger("btcnode.wallet")


class OwnCoin(NamedTuple):
    """An output of the wallet's, spent or not; ``value`` in satoshi."""

    outpoint: bytes
    entry: WalletTx
    value: int
    script: bytes


class Spent(Enum):
    """How an output is spent."""

    UNSPENT = auto()
    CONFIRMED = auto()
    IN_POOL = auto()
    OUTSIDE_POOL = auto()


class Owner(Protocol):
    """The wallet around a ledger."""

    @property
    def scripts(self) -> Mapping[bytes, object]:
        """The wallet's script_pubkeys."""

    def receiving(self, tx: Tx) -> None:
        """A transaction that concerns the wallet is about to be entered: addresses that it pays to are used now."""

    def spending(self, tx: Tx) -> None:
        """A transaction is about to be entered: what it spends from is used."""

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        """Time of a block, and the latest time up to it; None for an unknown one."""

    def in_pool(self, txid: bytes) -> bool:
        """Whether the mempool has a transaction."""

    def changed(self, entry: WalletTx) -> None:
        """A transaction was entered, or again, for whoever wants to hear of it."""


class Ledger:
    """See the module. ``tip_height`` and ``tip_hash`` are of the last block that was told, -1 and empty before any.

    ``transactions`` by txid, in the order in which they became known. ``spends``: by outpoint the txids of those that
    spend it. ``coins``: by outpoint every output of the wallet's own. ``locked``: outpoints that no transaction is to
    spend by itself, and whether that is kept.
    """

    def __init__(self, owner: Owner, journal: Journal, name: str = "") -> None:
        self._owner = owner
        self._journal = journal
        self._name = name
        self.tip_height = -1
        self.tip_hash = b""
        self.transactions: dict[bytes, WalletTx] = {}
        self.spends: dict[bytes, list[bytes]] = {}
        self.coins: dict[bytes, OwnCoin] = {}
        self.locked: dict[bytes, bool] = {}
        self.truc_children: dict[bytes, list[WalletTx]] = {}  # by txid of a child in the mempool, its parents
        self.next_position = 0

    # -- asking --------------------------------------------------------------------------------------------------

    def is_mine(self, script: bytes) -> bool:
        """Whether a script_pubkey is the wallet's."""
        return script in self._owner.scripts

    def pays_me(self, tx: Tx) -> bool:
        """Whether an output is the wallet's."""
        scripts = self._owner.scripts
        return any(txout_script(txout) in scripts for txout in tx.txouts)

    def is_from_me(self, tx: Tx) -> bool:
        """Whether it spends a coin of the wallet's."""
        return not self.coins.keys().isdisjoint(tx.prevouts)

    def debit(self, tx: Tx) -> int:
        """Satoshi of the wallet's that it spends."""
        return sum(coin.value for prevout in tx.prevouts if (coin := self.coins.get(prevout)) is not None)

    def credit(self, tx: Tx) -> int:
        """Satoshi that it pays to the wallet."""
        scripts = self._owner.scripts
        return sum(txout_value(txout) for txout in tx.txouts if txout_script(txout) in scripts)

    def depth(self, entry: WalletTx) -> int:
        """Confirmations; negative for one that a block contradicts, 0 for any other."""
        state = entry.state
        if type(state) is Confirmed:
            return self.tip_height - state.height + 1
        if type(state) is BlockConflicted:
            return -(self.tip_height - state.height + 1)
        return 0

    def is_immature(self, entry: WalletTx) -> bool:
        """Whether it is a coinbase that cannot be spent yet."""
        return entry.is_coinbase and self.depth(entry) < COINBASE_MATURITY + 1

    def is_spent(self, outpoint: bytes) -> bool:
        """Whether a transaction that counts spends it."""
        return any(self.transactions[txid].spends for txid in self.spends.get(outpoint, ()))

    def how_spent(self, outpoint: bytes) -> Spent:
        """By what kind of transaction it is spent."""
        found = Spent.UNSPENT
        for txid in self.spends.get(outpoint, ()):
            entry = self.transactions[txid]
            if entry.is_confirmed:
                return Spent.CONFIRMED
            if entry.in_pool:
                found = Spent.IN_POOL
            elif entry.spends and found is Spent.UNSPENT:
                found = Spent.OUTSIDE_POOL
        return found

    def has_spent_output(self, tx: Tx) -> bool:
        """Whether something in the ledger spends an output of it."""
        return any(self.is_spent(outpoint) for outpoint in outpoints_of(tx))

    def conflicts(self, entry: WalletTx) -> list[bytes]:
        """Txids of others in the ledger that spend what it spends, in order of their bytes as shown."""
        found = {
            txid for prevout in entry.tx.prevouts for txid in self.spends.get(prevout, ()) if txid != entry.tx.txid
        }
        return sorted(found)

    def in_order(self) -> list[WalletTx]:
        """All transactions, in the order in which they became known."""
        return list(self.transactions.values())

    # -- entering ------------------------------------------------------------------------------------------------

    def load(self, entry: WalletTx) -> None:
        """Take in a transaction that is on disk."""
        self.transactions[entry.txid] = entry
        self.next_position = max(self.next_position, entry.position + 1)
        self._add_spends(entry)
        self._find_coins(entry)

    def add(
        self,
        tx: Tx,
        state: State,
        now: int,
        *,
        notes: Mapping[str, str] | None = None,
        old_block: bool = False,
    ) -> WalletTx:
        """Enter a transaction, or its new state; ``now`` is Unix time.

        ``notes``: of one that the wallet has made itself. ``old_block``: a rescan finds it.
        """
        self._owner.spending(tx)
        entry, txid = self.transactions.get(tx.txid), tx.txid
        new, changed = entry is None, False
        if entry is None:
            entry = WalletTx(tx, state, received=now, position=self.next_position, notes=dict(notes or {}))
            self.next_position += 1
            self.transactions[txid] = entry
            entry.smart_time = self._smart_time(entry, old_block=old_block)
            self._add_spends(entry)
        else:
            if entry.state != state:
                entry.state = state
                changed = True
            if tx.has_witness and not entry.tx.has_witness:
                entry.tx, changed = tx, True
            if notes is not None:
                entry.notes, changed = dict(notes), True
        if entry.is_coinbase and entry.is_inactive:
            self._abandon_with_descendants(entry)
        status = "new" if new else "update" if changed else "no-change"
        log.info("[%s] AddToWallet %s %s %s", self._name or "default wallet", to_display(txid), status, _state(state))
        if new or changed:
            note_tx(self._journal, entry)
        self._find_coins(entry)
        self._owner.changed(entry)
        return entry

    def sync(self, tx: Tx, state: State, now: int, *, update: bool = True, old_block: bool = False) -> bool:
        """What has become of a transaction in a block or the mempool; whether it concerns the wallet."""
        if type(state) is Confirmed:
            for prevout in tx.prevouts:
                for txid in list(self.spends.get(prevout, ())):
                    if txid != tx.txid:
                        self._mark_conflicted(state.block_hash, state.height, txid)
        existed = tx.txid in self.transactions
        if existed and not update:
            return False
        if not existed and not self.pays_me(tx) and not self.is_from_me(tx):
            return False
        self._owner.receiving(tx)
        self.add(tx, state, now, old_block=old_block)
        return True

    def _add_spends(self, entry: WalletTx) -> None:
        if entry.is_coinbase:
            return
        for prevout in entry.tx.prevouts:
            spenders = self.spends.setdefault(prevout, [])
            if entry.txid not in spenders:
                spenders.append(entry.txid)
            self.unlock_coin(prevout)
            if len(spenders) > 1:
                self._share_notes([self.transactions[txid] for txid in spenders])

    def _share_notes(self, entries: list[WalletTx]) -> None:
        """Forms of one transaction that differ in signatures only have notes and time of the oldest."""
        first = min(entries, key=lambda entry: entry.position)
        for entry in entries:
            if entry is not first and _is_equivalent(first.tx, entry.tx):
                entry.notes = dict(first.notes)
                entry.smart_time = first.smart_time

    def _find_coins(self, entry: WalletTx) -> None:
        scripts, txid = self._owner.scripts, entry.txid
        for vout, txout in enumerate(entry.tx.txouts):
            script = txout_script(txout)
            if script in scripts:
                outpoint = txid + vout.to_bytes(4, "little")
                value = txout_value(txout)
                self.coins[outpoint] = OwnCoin(outpoint, entry, value, script)

    def find_all_coins(self) -> Steps[None]:
        """The wallet has more scripts than before: look at all transactions again, in steps."""
        for entry in self.in_order():
            if self.transactions.get(entry.txid) is entry:
                self._find_coins(entry)
            yield

    def _smart_time(self, entry: WalletTx, *, old_block: bool) -> int:
        """The block's time, no earlier than that of the transaction before, no later than now (Core's rule)."""
        state = entry.state
        times = self._owner.block_times(state.block_hash) if isinstance(state, Confirmed | BlockConflicted) else None
        if times is None:
            return entry.received
        if old_block:
            return times[1]
        latest_now, latest_entry = entry.received, 0
        for other in reversed(self.transactions.values()):
            if other is not entry and other.time <= entry.received + FUTURE_SECONDS:
                latest_entry = other.time
                latest_now = max(latest_now, latest_entry)
                break
        return max(latest_entry, min(times[0], latest_now))

    # -- states --------------------------------------------------------------------------------------------------

    def _set_state(self, entry: WalletTx, state: State) -> None:
        entry.state = state
        note_state(self._journal, entry)

    def _spread(self, txid: bytes, update: Callable[[WalletTx], bool]) -> None:
        """Update a transaction, and where that changes something those that spend it."""
        todo, done = {txid: None}, set()
        while todo:
            now = next(iter(todo))
            del todo[now]
            done.add(now)
            entry = self.transactions[now]
            if update(entry):
                for outpoint in outpoints_of(entry.tx):
                    todo.update(dict.fromkeys(child for child in self.spends.get(outpoint, ()) if child not in done))

    def _mark_conflicted(self, block_hash: bytes, height: int, txid: bytes) -> None:
        if self.tip_height < 0 or height < 0:
            return
        depth = -(self.tip_height - height + 1)
        if depth >= 0:
            return

        def update(entry: WalletTx) -> bool:
            if depth >= self.depth(entry):
                return False
            self._set_state(entry, BlockConflicted(block_hash, height))
            return True

        self._spread(txid, update)

    def _abandon_with_descendants(self, entry: WalletTx) -> None:
        """A coinbase without its block, and whatever spends from it."""

        def update(found: WalletTx) -> bool:
            self._set_state(found, ABANDONED)
            return True

        self._spread(entry.txid, update)

    def abandon(self, entry: WalletTx) -> bool:
        """Give up a transaction and what spends it; False where it is in a block or the mempool."""
        if self.depth(entry) != 0 or entry.in_pool:
            return False

        def update(found: WalletTx) -> bool:
            if found.is_block_conflicted or found.is_abandoned:
                return False
            self._set_state(found, ABANDONED)
            return True

        self._spread(entry.txid, update)
        return True

    def mark_replaced(self, old: bytes, new: bytes) -> None:
        """Note that ``new`` takes the place of ``old``, which is in the ledger."""
        entry = self.transactions[old]
        entry.notes["replaced_by_txid"] = to_display(new)
        self._look_into_pool(entry)
        note_tx(self._journal, entry)

    def _look_into_pool(self, entry: WalletTx) -> None:
        if self._owner.in_pool(entry.txid):
            if not entry.in_pool:
                self._set_state(entry, IN_POOL)
        elif entry.in_pool:
            self._set_state(entry, INACTIVE)

    def remove(self, txids: Iterable[bytes]) -> None:
        """Forget transactions, which are in the ledger."""
        for txid in txids:
            entry = self.transactions.pop(txid)
            for prevout in entry.tx.prevouts:
                spenders = self.spends.get(prevout)
                if spenders is not None and txid in spenders:
                    spenders.remove(txid)
                    if not spenders:
                        del self.spends[prevout]
            for outpoint in outpoints_of(entry.tx):
                self.coins.pop(outpoint, None)
            self._journal.note("remove_tx", txid)
            self._journal.note("remove_tx_state", txid)

    # -- the mempool ---------------------------------------------------------------------------------------------

    def pool_added(self, tx: Tx, now: int) -> None:
        """The mempool has taken a transaction."""
        txid = tx.txid
        self.sync(tx, IN_POOL, now)
        entry = self.transactions.get(txid)
        if entry is not None:
            self._look_into_pool(entry)
        for prevout in tx.prevouts:
            for spender in self.spends.get(prevout, ()):
                if spender != txid:
                    self._spread(spender, lambda found: _added(found.pool_conflicts, txid))
        if tx.version == TRUC_VERSION:
            for prevout in tx.prevouts:
                parent = self.transactions.get(prevout[:32])
                if parent is not None and parent.is_unconfirmed:
                    parent.truc_child = txid
                    self.truc_children.setdefault(txid, []).append(parent)
                    self._mark_siblings(parent, txid, add=True)

    def _mark_siblings(self, parent: WalletTx, child: bytes, *, add: bool) -> None:
        """Other children of a version 3 transaction cannot be in the mempool beside this one."""

        def update(found: WalletTx) -> bool:
            return (_added if add else _taken)(found.pool_conflicts, child)

        for outpoint in outpoints_of(parent.tx):
            for txid in self.spends.get(outpoint, ()):
                if txid != child:
                    self._spread(txid, update)

    def pool_removed(self, tx: Tx, now: int, *, conflict: bool = False) -> None:
        """A transaction has left the mempool; ``conflict``: as a block contradicts it."""
        txid = tx.txid
        entry = self.transactions.get(txid)
        if entry is not None:
            self._look_into_pool(entry)
        if conflict:
            self.sync(tx, INACTIVE, now)
        for prevout in tx.prevouts:
            for spender in self.spends.get(prevout, ()):
                self._spread(spender, lambda found: _taken(found.pool_conflicts, txid))
        for parent in self.truc_children.pop(txid, ()):
            if parent.truc_child == txid:
                parent.truc_child = None
                self._mark_siblings(parent, txid, add=False)

    # -- blocks --------------------------------------------------------------------------------------------------

    def concerns(self, scripts: Iterable[bytes], prevouts: Iterable[bytes], txids: Iterable[bytes]) -> bool:
        """Whether anything of a block, or of a transaction, may concern the ledger."""
        prevouts = list(prevouts)
        txids = list(txids)
        return not (
            self._owner.scripts.keys().isdisjoint(scripts)
            and self.spends.keys().isdisjoint(prevouts)
            and self.coins.keys().isdisjoint(prevouts)
            and self.transactions.keys().isdisjoint(txids)
            and (not self.truc_children or self.truc_children.keys().isdisjoint(txids))
        )

    def block_connected(self, block_hash: bytes, height: int, txs: Iterable[tuple[int, Tx]], now: int) -> bool:
        """A block came on top; ``txs`` are those of its transactions that may concern the ledger, with their places.

        Whether any did.
        """
        self.tip_height, self.tip_hash = height, block_hash
        found = False
        for position, tx in txs:
            found = self.sync(tx, Confirmed(block_hash, height, position), now) or found
            self.pool_removed(tx, now)
        return found

    def block_disconnected(self, height: int, parent: bytes, txs: Iterable[tuple[int, Tx]], now: int) -> None:
        """The block at ``height`` went; ``parent`` is the hash of the block below, ``txs`` as when it came."""

        def update(entry: WalletTx) -> bool:
            state = entry.state
            if type(state) is not BlockConflicted or state.height < height:
                return False
            self._set_state(entry, INACTIVE)
            return True

        for position, tx in txs:
            self.sync(tx, Inactive(abandoned=position == 0), now)
            for prevout in tx.prevouts:
                for txid in self.spends.get(prevout, ()):
                    if self.transactions[txid].is_block_conflicted:
                        self._spread(txid, update)
        self.tip_height, self.tip_hash = height - 1, parent

    # -- locked coins --------------------------------------------------------------------------------------------

    def lock_coin(self, outpoint: bytes, *, keep: bool = False) -> None:
        """No transaction is to spend it unless it is named; ``keep``: after the next start either."""
        self.locked[outpoint] = self.locked.get(outpoint, False) or keep
        if keep:
            self._journal.note("lock", outpoint)

    def unlock_coin(self, outpoint: bytes) -> None:
        """Take that back."""
        if self.locked.pop(outpoint, False):
            self._journal.note("unlock", outpoint)

    def unlock_all(self) -> None:
        """Take all of that back."""
        for outpoint in list(self.locked):
            self.unlock_coin(outpoint)


def outpoints_of(tx: Tx) -> list[bytes]:
    """The outpoints of a transaction's outputs."""
    txid = tx.txid
    return [txid + vout.to_bytes(4, "little") for vout in range(len(tx.txouts))]


def _added(found: dict[bytes, None], txid: bytes) -> bool:
    if txid in found:
        return False
    found[txid] = None
    return True


def _taken(found: dict[bytes, None], txid: bytes) -> bool:
    if txid not in found:
        return False
    del found[txid]
    return True


def _is_equivalent(one: Tx, other: Tx) -> bool:
    """Whether they differ in signatures only."""
    return (one.version, one.prevouts, one.sequences, one.txouts, one.lock_time) == (
        other.version, other.prevouts, other.sequences, other.txouts, other.lock_time,
    )  # fmt: skip


def _state(state: State) -> str:
    if type(state) is Confirmed:
        return f"Confirmed (block={to_display(state.block_hash)}, height={state.height}, index={state.position})"
    if type(state) is BlockConflicted:
        return f"Conflicted (block={to_display(state.block_hash)}, height={state.height})"
    return "InMempool" if state is IN_POOL else f"Inactive (abandoned={int(state == ABANDONED)})"
