"""Transactions that peers announce and send: from inv to getdata, validation and what follows from its verdict.

Validation is an effect (``ProcessTransactions``) with a numbered answer. How many are open is limited for each peer
and for all; who sends more is not read from. What a peer leaves behind is given up where nobody has begun to check it.
Orphans whose parents came are validated one at a time for each peer, at most ``MAX_TX_WORK_PEERS`` at once, so that a
family of orphans never holds up anything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from btcnode.errors import DecodeError
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.mempool.rejection import TxResult
from btcnode.primitives.hashes import sha256d, to_display
from btcnode.primitives.scan import txid_in_steps
from btcnode.primitives.steps import at_once
from btcnode.primitives.tx import Tx
from btcnode.protocol.agenda import NEVER, Part
from btcnode.protocol.effects import LogLevel, ProcessTransactions, WithdrawTransactions
from btcnode.protocol.limits import (
    LARGE_TX,
    MAX_EXTRA_TRANSACTION_SIZE,
    MAX_GETDATA_TXS,
    MAX_PEER_TX_BYTES_IN_VALIDATION,
    MAX_PEER_TXS_IN_VALIDATION,
    MAX_TX_BYTES_IN_VALIDATION,
    MAX_TX_WORK_PEERS,
    MAX_TXS_IN_VALIDATION,
    WORK_OF_TX,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import PAUSE_TRANSACTIONS, WITHOUT_TRANSACTIONS, Peer
from btcnode.protocol.transactions.tx_download import Known, Package, TxDownload
from btcnode.record import struct
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import MSG_TX, MSG_WITNESS_FLAG, MSG_WITNESS_TX, MSG_WTX
from btcnode.wire.messages import GetData, InvItem

if TYPE_CHECKING:
    from btcnode.primitives.block import ParsedBlock
    from btcnode.primitives.steps import Steps
    from btcnode.protocol.chain_view import TxSource
    from btcnode.protocol.connections.work_budget import WorkBudget
    from btcnode.protocol.context import Context
    from btcnode.protocol.events import TransactionAdded, TransactionsProcessed, TxOutcome
    from btcnode.protocol.serving.bloom import Positions
    from btcnode.protocol.transactions.tx_relay import TxRelay
    from btcnode.wire.messages import NotFound

_NOT_JUDGED = (TxResult.UNKNOWN, TxResult.NO_MEMPOOL)
_TX_KINDS = (MSG_TX, MSG_WTX, MSG_WITNESS_TX)
DUE_IN_TICK = 2_000  # announcements that may be asked for now, or were in vain: some 10 ms, requests included, ...
DUE_IN_TURN = 200  # ... and what a peer's message may make us look at
ORPHANS_AT_ONCE = 50_000  # bytes of orphans that are parsed for another look at them, the last one beyond it included
OBJECT_SIZE = 48  # bytes of a small bytes object and the reference to it


def rejects_transactions(ctx: Context, peer: Peer) -> bool:
    """Whether the peer was told to send no transactions."""
    return peer.kind in WITHOUT_TRANSACTIONS or not (ctx.config.tx_relay or peer.permissions & Permission.RELAY)


def _names(tx: Tx) -> str:
    """Both ids, as Core's log has them."""
    return f"{to_display(tx.txid)} (wtxid={to_display(tx.wtxid)})"


def memory_of(tx: Tx) -> int:
    """About how many bytes the transaction takes as an object: its bytes twice, and an object for each part."""
    parts = 3 * len(tx.prevouts) + len(tx.txouts) + sum(map(len, tx.witnesses))
    return 500 + 2 * len(tx.raw) + OBJECT_SIZE * parts


@struct
class _Open:
    """A ProcessTransactions without an answer. ``senders`` as long as ``txs``; ``worker``: an orphan of this peer.

    ``positions``: where the one transaction stands in filters of what peers know, by its wtxid.
    """

    peer_id: int
    txs: tuple[Tx, ...]
    senders: tuple[int, ...]
    first_time: bool
    worker: int | None
    since: int
    size: int
    positions: Positions | None


class TxIntake:
    """Downloads of transactions, and their validation."""

    def __init__(self, ctx: Context, source: TxSource, relay: TxRelay, work: WorkBudget) -> None:
        self._ctx = ctx
        self._work_budget = work
        self._source = source
        self._relay = relay
        self.download = TxDownload(source, ctx.rng, memory_shift=ctx.config.memory_shift)
        self.extra: deque[Tx] = deque(maxlen=ctx.config.extra_transactions)  # for compact blocks, the newest last
        self._open: dict[int, _Open] = {}
        self._next_number = 1
        self._busy: dict[bytes, int] = {}  # txids and wtxids in validation -> how often
        self._heirs: dict[bytes, int] = {}  # wtxids in validation -> another peer that has sent the same meanwhile
        self._bytes = 0
        self._work: dict[int, None] = {}  # peers with orphans to be looked at again, in turn
        self._working: dict[int, None] = {}  # those of them whose orphan is in validation

    # -- peers ---------------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> None:
        """The handshake is complete."""
        peer.tx_inv_at = self._ctx.steady
        self.download.connected(
            peer.id,
            preferred=peer.blocks.preferred,
            privileged=bool(peer.permissions & Permission.RELAY),
            wtxid_relay=peer.wtxid_relay,
        )

    def withdraw(self, peer: Peer) -> None:
        """The peer is asked for nothing for the time being: who else announced the same is asked."""
        self.download.tracker.disconnected(peer.id)

    def forget(self, peer: Peer) -> None:
        """The connection is gone; what it sent is judged for another peer that sent it too, or if that has begun."""
        self.download.disconnected(peer.id)
        self._work.pop(peer.id, None)
        given_up = [number for number in peer.unjudged.txs() if not self._inherit(number)]
        if given_up:
            self._ctx.emit(WithdrawTransactions(tuple(given_up)))

    def _inherit(self, number: int) -> bool:
        """Take a transaction that is being judged as another peer's, if there is one."""
        open_ = self._open[number]
        heir = self._ctx.peers.get(self._heirs.get(open_.txs[0].wtxid, -1))
        if heir is None or not heir.role.is_heard:
            return False
        self._open[number] = replace(open_, peer_id=heir.id, senders=(heir.id,), positions=None)
        self._count(heir, number, open_.size)
        self._limit(heir)
        return True

    def has_work(self, peer_id: int) -> bool:
        """Whether orphans of the peer wait for another look."""
        return peer_id in self._work

    # -- announcements and requests ------------------------------------------------------------------------------

    def on_announced(self, peer: Peer, tx_hash: bytes, by_wtxid: bool) -> None:
        """A transaction was announced, by wtxid or by txid."""
        ctx = self._ctx
        self._relay.knows(peer, tx_hash)
        if not ctx.is_initial_block_download():
            self.download.announced(peer.id, tx_hash, by_wtxid, ctx.mockable)

    def on_not_found(self, peer: Peer, message: NotFound) -> None:
        """The peer has not what it was asked for: others are asked."""
        for kind, tx_hash in message.pairs(len(message)):
            if kind in _TX_KINDS:
                self.download.tracker.answered(peer.id, tx_hash)

    def begin_tick(self) -> None:
        """Requests expire, and what may be asked for now is."""
        self.download.tracker.advance(self._ctx.mockable, DUE_IN_TICK)
        for peer_id in self.download.tracker.askable:
            self._ctx.agenda.wake(peer_id, Part.REQUESTS)

    def tick(self, peer: Peer) -> float:
        """Ask the peer; who can be asked for something next is looked at then."""
        self._ask(peer)  # what is due was looked at once for all peers
        return NEVER

    def request(self, peer: Peer) -> None:
        """Ask the peer for what it is the best to be asked for."""
        tracker = self.download.tracker
        if peer.role.gives_transactions and tracker.waiting(peer.id):
            tracker.advance(self._ctx.mockable, DUE_IN_TURN)
            self._ask(peer)

    def _ask(self, peer: Peer) -> None:
        if not peer.role.gives_transactions:
            return
        wanted = self.download.requests(peer.id, self._ctx.mockable, self._busy, MAX_GETDATA_TXS)
        if wanted:
            by_txid = MSG_TX | (MSG_WITNESS_FLAG if peer.serves_witnesses else 0)
            items = (InvItem(MSG_WTX if by_wtxid else by_txid, tx_hash) for tx_hash, by_wtxid in wanted)
            self._ctx.send(peer, GetData(tuple(items)))

    # -- transactions --------------------------------------------------------------------------------------------

    def on_tx(self, peer: Peer, raw: bytes) -> Steps[list[bytes]]:
        """A transaction came by itself, of any size; returns its wtxid if it was looked at."""
        if len(raw) < LARGE_TX:
            return self.on_small(peer, ((raw, b""),))
        if not self._listens(peer):
            return []
        wtxid = sha256d(raw)
        if self.download.tracker.is_requested(peer.id, wtxid):
            self._ctx.excuse(peer)
        try:
            if len(raw) > MAX_STANDARD_TX_WEIGHT and self._ctx.config.require_standard:
                yield from self._refuse_unread(peer, raw, wtxid)
                return []
            if self._is_answered(peer, wtxid, self.download.known(wtxid, True)):
                self._answered(peer, wtxid, (yield from txid_in_steps(raw)))
                return [wtxid]
            self._ctx.delays.transaction_came(wtxid, self._ctx.steady)
            tx = yield from Tx.parse_in_steps(raw)
        except DecodeError as error:
            self._cannot_read(peer, raw, error)
            return []
        tx.is_hashed(raw, wtxid)
        if self._is_expected(peer, tx.txid):
            self._ctx.excuse(peer)
        self._take(peer, tx, None)  # time has passed since we have asked what is known of it
        self._limit(peer)
        return [tx.wtxid]

    def on_small(self, peer: Peer, txs: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """Transactions below ``LARGE_TX`` bytes came one behind the other: their bytes and these bytes' double hash.

        That may be empty: not computed yet. Returns the wtxids of those that were looked at.
        """
        if not self._listens(peer):
            return []
        seen: list[bytes] = []
        count = asked_for = 0
        asks = self.download.tracker.has_announced(peer.id)
        for raw, digest in txs:
            if not peer.role.is_heard:
                break  # one of them has cost it the connection
            wtxid = digest or sha256d(raw)
            count += 1
            expected = asks and self._is_expected(peer, wtxid)
            asked_for += expected
            try:
                tx, known = self._read_small(peer, raw, wtxid)
            except DecodeError as error:
                self._cannot_read(peer, raw, error)
                continue
            if tx is not None:
                if asks and not expected and self._is_expected(peer, tx.txid):
                    asked_for += 1
                wtxid = tx.wtxid
                self._take(peer, tx, known)
            seen.append(wtxid)
        if asked_for:
            self._ctx.excuse(peer, asked_for / count)
        self._limit(peer)
        return seen

    def _listens(self, peer: Peer) -> bool:
        """Whether transactions of the peer are looked at."""
        if rejects_transactions(self._ctx, peer):
            self._ctx.disconnect(peer, "transaction sent in violation of protocol")
            return False
        return not self._ctx.is_initial_block_download()

    def _is_expected(self, peer: Peer, tx_hash: bytes) -> bool:
        """Whether the peer was asked for it by this hash."""
        tracker = self.download.tracker
        return tracker.has_announced(peer.id) and tracker.is_requested(peer.id, tx_hash)

    def _read_small(self, peer: Peer, raw: bytes, wtxid: bytes) -> tuple[Tx | None, Known | None]:
        """Decode a transaction unless its hash says that it is of no use, and tell what is known of it.

        Raises DecodeError.
        """
        known = self.download.known(wtxid, True)
        if self._is_answered(peer, wtxid, known):
            self._answered(peer, wtxid, at_once(txid_in_steps(raw)))
            return None, None
        self._ctx.delays.transaction_came(wtxid, self._ctx.steady)
        tx = Tx.parse_at(raw, 0)[0]
        tx.is_hashed(raw, wtxid)
        return tx, known if tx.wtxid == wtxid else None  # else there are bytes behind the transaction

    def _is_answered(self, peer: Peer, wtxid: bytes, known: Known) -> bool:
        """Whether the peer brings nothing new; what is being judged may be its own then."""
        if (known is not Known.FOR_GOOD and wtxid not in self._busy) or peer.permissions & Permission.FORCE_RELAY:
            return False
        self._note_heir(wtxid, peer)
        return True

    def _cannot_read(self, peer: Peer, raw: bytes, error: DecodeError) -> None:
        text = f"ProcessMessages(tx, {len(raw)} bytes): Exception '{error}' caught"
        self._ctx.log(LogLevel.DEBUG, "net", text)
        self._ctx.punish(peer, Offence.MESSAGE_PAYLOAD, "tx")

    def _take(self, peer: Peer, tx: Tx, known: Known | None) -> None:
        """Have a transaction judged unless it is; ``known``: what was found out of its wtxid just now."""
        wtxid = tx.wtxid
        if wtxid in self._busy:
            self._note_heir(wtxid, peer)
            self._answered(peer, wtxid, tx.txid)
            return
        known_at = self._relay.knows(peer, wtxid if peer.wtxid_relay else tx.txid)
        judge, package = self.download.received(peer.id, tx, known)
        if (judge or package is not None) and self._bytes >= 2 * MAX_TX_BYTES_IN_VALIDATION:
            return  # as if it had not come: other peers that have it are asked
        if judge:
            positions = known_at if peer.wtxid_relay else None
            self._validate(peer.id, (tx,), (peer.id,), first_time=True, positions=positions)
        elif package is not None:
            self._validate_package(package)
        elif peer.permissions & Permission.FORCE_RELAY:
            entry, name = self._source.find_tx(tx.txid, False), _names(tx)
            if entry is not None:
                self._ctx.log(LogLevel.DEBUG, "net", f"Force relaying tx {name} from peer={peer.id}")
                self._relay.announce(entry)
            else:
                text = f"Not relaying non-mempool transaction {name} from forcerelay peer={peer.id}"
                self._ctx.log(LogLevel.DEBUG, "net", text)

    def _note_heir(self, wtxid: bytes, peer: Peer) -> None:
        """The peer has sent a transaction that may be in validation already."""
        if wtxid in self._busy:
            self._heirs[wtxid] = peer.id

    def _answered(self, peer: Peer, wtxid: bytes, txid: bytes) -> None:
        """The peer sent what we have already."""
        self._relay.knows(peer, wtxid if peer.wtxid_relay else txid)
        self.download.tracker.answered(peer.id, wtxid)
        self.download.tracker.answered(peer.id, txid)

    def _refuse_unread(self, peer: Peer, raw: bytes, wtxid: bytes) -> Steps[None]:
        """A weight is never less than the size: this one is beyond the limit, whatever its witness has."""
        txid = yield from txid_in_steps(raw)
        self.download.tracker.answered(peer.id, txid)
        self.download.refused_unread(wtxid)
        text = f"{to_display(txid)} (wtxid={to_display(wtxid)}) from peer={peer.id} was not accepted: tx-size"
        self._ctx.log(LogLevel.DEBUG, "mempoolrej", text)

    def _validate_package(self, package: Package) -> None:
        if not any(tx.wtxid in self._busy for tx in package.txs):
            self._validate(package.senders[0], package.txs, package.senders, first_time=False)

    def _validate(
        self,
        peer_id: int,
        txs: tuple[Tx, ...],
        senders: tuple[int, ...],
        *,
        first_time: bool,
        worker: int | None = None,
        positions: Positions | None = None,
    ) -> None:
        """Hand transactions over for validation; ``positions`` as ``_Open`` has them."""
        number = self._next_number
        self._next_number += 1
        size = sum(map(memory_of, txs))
        self._open[number] = _Open(peer_id, txs, senders, first_time, worker, self._source.sequence, size, positions)
        busy = self._busy
        for tx in txs:
            for tx_hash in (tx.wtxid, tx.txid):
                busy[tx_hash] = busy.get(tx_hash, 0) + 1
        self._bytes += size
        peer = self._ctx.peers.get(peer_id)
        if peer is not None:
            self._count(peer, number if first_time else None, size)
            if not first_time:
                self._limit(peer)
        self._ctx.effects.append(ProcessTransactions(peer_id, number, txs, len(txs) > 1))

    def _count(self, peer: Peer, number: int | None, size: int) -> None:
        """The peer has another one in validation, of ``size`` bytes; ``number`` None: an orphan or a package of it."""
        if number is None:
            peer.unjudged.again += 1
        else:
            peer.unjudged.add_tx(number)
        peer.txs_in_validation += 1
        peer.tx_bytes_in_validation += size

    def _limit(self, peer: Peer) -> None:
        """Do not read from the peer while too much is in validation, some of it its own: a verdict on that ends it."""
        if peer.txs_in_validation and self._is_too_much(peer):
            self._ctx.pause(peer, PAUSE_TRANSACTIONS)

    def _is_too_much(self, peer: Peer) -> bool:
        if len(self._open) >= MAX_TXS_IN_VALIDATION or self._bytes >= MAX_TX_BYTES_IN_VALIDATION:
            return True
        return (
            peer.txs_in_validation >= MAX_PEER_TXS_IN_VALIDATION
            or peer.tx_bytes_in_validation >= MAX_PEER_TX_BYTES_IN_VALIDATION
        )

    def _close(self, number: int) -> _Open | None:
        """Take the open question ``number`` away, and let its peer go on when half of its limit is free."""
        closed = self._open.pop(number, None)
        if closed is None:
            return None
        busy = self._busy
        for tx in closed.txs:
            for tx_hash in (tx.wtxid, tx.txid):
                count = busy.pop(tx_hash)
                if count > 1:
                    busy[tx_hash] = count - 1
                elif self._heirs:
                    self._heirs.pop(tx_hash, None)
        self._bytes -= closed.size
        peer = self._ctx.peers.get(closed.peer_id)
        if peer is not None:
            if closed.first_time:
                peer.unjudged.end_tx(number)
            else:
                peer.unjudged.again -= 1
            peer.txs_in_validation -= 1
            peer.tx_bytes_in_validation -= closed.size
            if (
                2 * peer.txs_in_validation <= MAX_PEER_TXS_IN_VALIDATION
                and 2 * peer.tx_bytes_in_validation <= MAX_PEER_TX_BYTES_IN_VALIDATION
            ):
                self._ctx.resume(peer, PAUSE_TRANSACTIONS)
        return closed

    # -- verdicts ------------------------------------------------------------------------------------------------

    def on_processed(self, event: TransactionsProcessed) -> None:
        """Validation is through with what we asked for under this number; other numbers are ignored."""
        closed = self._close(event.number)
        if closed is None:
            return
        outcomes = {outcome.wtxid: outcome for outcome in event.results}
        judged = [outcomes.get(tx.wtxid) for tx in closed.txs]
        if len(judged) > 1 and any(outcome is None or outcome.result is not None for outcome in judged):
            self.download.package_refused(closed.txs)
        # children first: one that was accepted with its parent needs no other look
        for tx, sender, outcome in zip(closed.txs[::-1], closed.senders[::-1], judged[::-1], strict=True):
            if outcome is None or outcome.result in _NOT_JUDGED:
                continue
            if outcome.result is None:
                self._on_accepted(tx, sender, outcome, closed)
            else:
                self._on_refused(tx, sender, outcome, closed)
        if closed.worker is not None:
            self._working.pop(closed.worker, None)
            if self.download.orphanage.has_work(closed.worker):
                self._work[closed.worker] = None
        if self._work:
            self._reconsider_orphans()

    def _on_accepted(self, tx: Tx, sender: int, outcome: TxOutcome, closed: _Open) -> None:
        for peer_id in self.download.accepted(tx):
            self._work[peer_id] = None
        for replaced in outcome.replaced:
            self._keep_extra(replaced)
        entry = self._source.find_tx(tx.wtxid, True)
        if entry is not None:
            self._relay.announce(entry, closed.positions, sender if closed.first_time else None)
        peer = self._ctx.peers.get(sender)
        if peer is not None and closed.first_time:
            peer.last_tx_unix = int(self._ctx.unix)
            peer.conduct.useful += 0.1
            self._work_budget.useful(peer, WORK_OF_TX)

    def _on_refused(self, tx: Tx, sender: int, outcome: TxOutcome, closed: _Open) -> None:
        assert outcome.result is not None
        refused = self.download.refused(
            tx, outcome.result, sender, first_time=closed.first_time, now=self._ctx.mockable, since=closed.since
        )
        peer = self._ctx.peers.get(sender)
        if peer is not None:
            text = f"{_names(tx)} from peer={peer.id} was not accepted: {outcome.reason}"
            self._ctx.log(LogLevel.DEBUG, "mempoolrej", text)
            if refused.hopeless:
                self._ctx.log(LogLevel.DEBUG, "mempool", f"not keeping orphan with rejected parents {_names(tx)}")
            for txid in refused.parents:
                self._relay.knows(peer, txid)
        if refused.is_news:
            self._keep_extra(tx)
        if refused.worker is not None:
            self._work[refused.worker] = None
        if refused.package is not None:
            self._validate_package(refused.package)

    def block_connected(self, block: ParsedBlock) -> None:
        """Confirmed transactions are not asked for, and orphans that spend what the block spends are dropped."""
        erased = self.download.block_connected(block)
        if erased:
            text = f"Erased {erased} orphan transaction(s) included or conflicted by block"
            self._ctx.log(LogLevel.DEBUG, "txpackages", text)

    def _keep_extra(self, tx: Tx) -> None:
        if len(tx.raw) < MAX_EXTRA_TRANSACTION_SIZE:
            self.extra.append(tx)

    def _reconsider_orphans(self) -> None:
        """Validate orphans whose parents came, for a few peers at a time, in turn; each verdict leads to the next."""
        orphanage, room = self.download.orphanage, ORPHANS_AT_ONCE
        for peer_id in list(self._work):
            if len(self._working) >= MAX_TX_WORK_PEERS or room <= 0:
                return
            del self._work[peer_id]
            if peer_id in self._working:
                continue  # comes back when that one is through
            wtxid = orphanage.take_work(peer_id)
            while wtxid is not None and (wtxid in self._busy or self._source.find_tx(wtxid, True) is not None):
                wtxid = orphanage.take_work(peer_id)
            tx = orphanage.get(wtxid) if wtxid is not None else None
            if tx is not None:
                room -= len(tx.raw)
                self._working[peer_id] = None
                self._validate(peer_id, (tx,), (peer_id,), first_time=False, worker=peer_id)

    def on_added(self, event: TransactionAdded) -> None:
        """The user's transaction is in the mempool: announce it, and look at its orphaned children."""
        entry = self._source.find_tx(event.wtxid, True)
        if entry is not None:
            self._relay.announce(entry)
            for peer_id in self.download.accepted(entry.tx):
                self._work[peer_id] = None
            self._reconsider_orphans()
