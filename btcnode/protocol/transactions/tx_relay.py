"""Telling peers of transactions, and giving them those that they were told of.

Announcements wait in one heap per peer, best feerate first, and leave in small portions at random times: one timer
for all inbound peers of a network (mean 5 s), one for each outbound peer (mean 2 s), as Bitcoin Core does it, so that
who watches cannot tell what came when. A turn takes as many entries as it sends (at most 1000) and a few that turn out
to be needless; it never walks over or sorts the queue, however long a spy lets it grow. Parents go before children.

Where nothing waits the timers rest, and the peer costs nothing: the time until the next event of a Poisson process is
the same whenever one begins to wait, so it is drawn when something is queued.

A peer may ask for what was in the mempool when it was last told of anything, while its timer rests also for what was
there ``TX_INVENTORY_REST`` seconds ago, and for what the newest block confirmed.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from btcnode.primitives.steps import Steps
from btcnode.protocol.agenda import NEVER, NEXT_TICK, Part
from btcnode.protocol.limits import (
    FILTERED_AT_ONCE,
    INBOUND_INVENTORY_BROADCAST_INTERVAL,
    INVENTORY_BROADCAST_GROWTH,
    INVENTORY_BROADCAST_MAX,
    INVENTORY_BROADCAST_TARGET,
    INVENTORY_WORK_MAX,
    MAX_TX_INVENTORY,
    OUTBOUND_INVENTORY_BROADCAST_INTERVAL,
    REBROADCAST_INTERVAL_MIN,
    REBROADCAST_INTERVAL_SPREAD,
    REBROADCAST_PER_TICK,
    TX_INVENTORY_REST,
    TX_KNOWN_BITS_LOG2,
    TX_KNOWN_HASHES,
    TX_KNOWN_PER_GENERATION,
)
from btcnode.protocol.peer import WITHOUT_TRANSACTIONS, Peer, TxState
from btcnode.protocol.serving.bloom import BloomHasher, Positions, RollingBloom
from btcnode.protocol.serving.offered_services import offers_bloom
from btcnode.protocol.serving.pieces import Meter
from btcnode.protocol.serving.tx_filter import match_steps
from btcnode.protocol.transactions.pool_snapshots import PoolSnapshots
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import MAX_INV_SIZE, MSG_TX, MSG_WTX
from btcnode.wire.messages import Inv, InvItem

if TYPE_CHECKING:
    from btcnode.primitives.block import ParsedBlock
    from btcnode.protocol.chain_view import PoolEntry, TxSource
    from btcnode.protocol.context import Context
    from btcnode.protocol.serving.upload_budget import UploadBudget

ENTRY_COST = 5  # units of work to look at an entry of the mempool


class TxRelay:
    """Announcements of transactions to all peers that want them."""

    def __init__(self, ctx: Context, source: TxSource, upload: UploadBudget) -> None:
        self._ctx = ctx
        self._upload = upload
        self._source = source
        self._snapshots = PoolSnapshots(source)
        shift = ctx.config.memory_shift
        self._hasher = BloomHasher(ctx.rng.randbytes(16), TX_KNOWN_BITS_LOG2 - shift, TX_KNOWN_HASHES)
        self._known_per_generation = TX_KNOWN_PER_GENERATION >> shift
        self._peers: dict[int, Peer] = {}
        self._next_inbound: dict[int, float] = {}  # by network
        self._again: list[bytes] = []  # txids of those that are announced again now
        self._next_again = ctx.steady + self._pause_again()  # on no mocked clock
        # the mempool's sequence from a moment on; the first one holds TX_INVENTORY_REST seconds ago
        self._sequences: deque[tuple[float, int]] = deque([(ctx.mockable, source.sequence)])
        self._block: ParsedBlock | None = None
        self._block_index: dict[bytes, int] = {}

    def _pause_again(self) -> float:
        return REBROADCAST_INTERVAL_MIN + self._ctx.rng.random() * REBROADCAST_INTERVAL_SPREAD

    # -- peers ---------------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> None:
        """The handshake is complete: from now on the peer is told of transactions, if it wants that."""
        if not (peer.relay or offers_bloom(self._ctx, peer)) or peer.kind in WITHOUT_TRANSACTIONS:
            return
        known = RollingBloom(b"", self._known_per_generation, hasher=self._hasher)
        group = int.from_bytes(self._ctx.groups.group(peer.address), "little")
        sequence = self._source.sequence
        # its first turn is this one, and there is nothing: what comes a moment later waits as with everybody
        peer.tx = TxState(known, sequence, 0.0, group, last_sequence=sequence, at_rest=True)
        if peer.relay:
            self._peers[peer.id] = peer

    def enable(self, peer: Peer) -> None:
        """A filter makes the peer want transactions."""
        peer.relay = True
        self._peers[peer.id] = peer

    def forget(self, peer: Peer) -> None:
        """The connection is gone."""
        self._peers.pop(peer.id, None)
        if peer.tx is not None and peer.tx.answer is not None:
            peer.tx.answer.readers -= 1

    def knows(self, peer: Peer, tx_hash: bytes) -> Positions | None:
        """The peer has this transaction (a wtxid or txid, as it announces): it need not be told.

        Returns where the hash stands in filters of what peers know, None when the peer has none.
        """
        if peer.tx is None:
            return None
        positions = self._hasher.positions(tx_hash)
        if not peer.tx.known.has(positions):
            peer.tx.known.put(positions)
        return positions

    def on_mempool(self, peer: Peer) -> None:
        """BIP35: tell all that is in the mempool, to light clients and to those that the user allows it."""
        ctx, problem = self._ctx, ""
        if not peer.permissions & Permission.MEMPOOL:
            if not offers_bloom(ctx, peer):
                problem = "mempool request with bloom filters disabled"
            elif self._upload.reached(int(self._ctx.unix), historical=False):
                problem = "mempool request with bandwidth limit reached"
        if problem:
            if not peer.no_ban:
                ctx.disconnect(peer, problem)
        elif peer.tx is not None:
            peer.tx.mempool_wanted = True
            self._rouse(peer, peer.tx)

    # -- queueing ------------------------------------------------------------------------------------------------

    def announce(self, entry: PoolEntry, positions: Positions | None = None, sender: int | None = None) -> None:
        """Let all peers know of a transaction of the mempool in their next turn, but for its ``sender``.

        ``positions``: its wtxid's, if known (see ``knows``).
        """
        item = (-self._source.chunk_feerate(entry), entry.wtxid)
        by_wtxid, by_txid = positions, None
        for peer in self._peers.values():
            if peer.id == sender:
                continue
            state = peer.tx
            assert state is not None
            if peer.wtxid_relay:
                positions = by_wtxid = by_wtxid or self._hasher.positions(entry.wtxid)
            else:
                positions = by_txid = by_txid or self._hasher.positions(entry.txid)
            if state.known.has(positions):
                continue
            if state.at_rest:
                self._rouse(peer, state)
            if len(state.queue) < MAX_TX_INVENTORY:
                heapq.heappush(state.queue, item)
            else:
                self._replace(state.queue, item)

    def _replace(self, queue: list[tuple[float, bytes]], item: tuple[float, bytes]) -> None:
        """Put an entry into a full queue in place of a worse one, as far as a few leaves of the heap show one."""
        half = len(queue) // 2  # who has no children in a heap is behind it
        at = max((half + self._ctx.rng.randrange(len(queue) - half) for _ in range(4)), key=queue.__getitem__)
        if item >= queue[at]:
            return
        while at and queue[(at - 1) // 2] > item:
            queue[at] = queue[(at - 1) // 2]
            at = (at - 1) // 2
        queue[at] = item

    # -- turns ---------------------------------------------------------------------------------------------------

    def forward(self, seconds: int) -> None:
        """Announce again what nobody has asked for as if so much time had passed."""
        self._next_again -= seconds

    def begin_tick(self) -> None:
        """Every 10 to 15 minutes announce again what nobody has asked for, a few at a time."""
        self._note_sequence()
        if self._ctx.steady >= self._next_again:
            self._next_again = self._ctx.steady + self._pause_again()
            self._again = sorted(self._source.unbroadcast(), reverse=True)
        for _ in range(min(REBROADCAST_PER_TICK, len(self._again))):
            entry = self._source.find_tx(self._again.pop(), False)
            if entry is not None:  # else it has left the mempool since
                self.announce(entry)

    def _note_sequence(self) -> None:
        """Remember how far the mempool is now, and no more than what peers at rest have to do with."""
        sequences, mockable = self._sequences, self._ctx.mockable
        if sequences[-1][1] != self._source.sequence:
            sequences.append((mockable, self._source.sequence))
        while len(sequences) > 1 and sequences[1][0] <= mockable - TX_INVENTORY_REST:
            sequences.popleft()

    def _next_turn(self, peer: Peer) -> float:
        mockable, rng = self._ctx.mockable, self._ctx.rng
        if not peer.inbound:
            return mockable + rng.expovariate(1 / OUTBOUND_INVENTORY_BROADCAST_INTERVAL)
        network = int(peer.address.network)
        timer = self._next_inbound.get(network, 0.0)
        if timer <= mockable:
            timer = mockable + rng.expovariate(1 / INBOUND_INVENTORY_BROADCAST_INTERVAL)
            self._next_inbound[network] = timer
        return timer

    def tick(self, peer: Peer) -> float:
        """When the time has come, have what waits announced at the peer's turn; peers with noban need not wait.

        Returns when the peer is looked at next.
        """
        state = peer.tx
        if state is None or peer.send_full or not peer.role.is_told:
            return NEVER
        if not peer.no_ban and (state.at_rest or self._ctx.mockable < state.next_send):
            return NEVER if state.at_rest else state.next_send
        if state.queue or self._has_more(state):
            state.due = True
            self._ctx.ask_for_turn(peer)
        else:
            state.last_sequence = self._source.sequence
        if peer.no_ban:
            return NEXT_TICK
        one_turn_does = len(state.queue) <= INVENTORY_BROADCAST_TARGET and not self._has_more(state)
        state.at_rest = one_turn_does
        if one_turn_does:
            return NEVER
        state.next_send = self._next_turn(peer)
        return state.next_send

    @staticmethod
    def _has_more(state: TxState) -> bool:
        """Whether something waits beside the queue."""
        return bool(state.mempool_wanted or state.to_match or state.steps is not None or state.found)

    def _rouse(self, peer: Peer, state: TxState) -> None:
        """Something waits for the peer from now on."""
        if state.at_rest:
            state.at_rest = False
            state.next_send = self._next_turn(peer)
            self._ctx.agenda.set(peer.id, int(Part.ANNOUNCING), state.next_send)

    def on_turn(self, peer: Peer) -> None:
        """It is the peer's turn: announce what is due, go on with what is asked for; not while it does not read."""
        state = peer.tx
        if state is None or peer.send_full or not peer.role.is_told:
            return
        if state.due:
            state.due = False
            self._begin(peer, state)
        if state.steps is not None:
            try:
                next(state.steps)
            except StopIteration:
                state.steps = None
        if state.steps is None or len(state.found) >= INVENTORY_BROADCAST_MAX:
            self._send_found(peer, state)
        if state.steps is not None:
            self._ctx.ask_for_turn(peer)
        if state.queue or state.to_match:
            self._rouse(peer, state)

    def _begin(self, peer: Peer, state: TxState) -> None:
        """Take what is due; what a filter has to look at, and the answer to a mempool message, takes several turns."""
        if state.mempool_wanted and state.answer is None:
            state.answer = self._snapshots.take(self._ctx.mockable, state.first_sequence)
            state.mempool_wanted = state.answer is None
            state.answered = 0
        if state.queue:
            self._announce_queued(peer, state)
        if state.steps is None and (state.answer is not None or state.to_match):
            state.steps = self._look_through(peer, state, Meter())
        state.last_sequence = self._source.sequence

    def _send_found(self, peer: Peer, state: TxState) -> None:
        found, state.found = state.found, []
        for start in range(0, len(found), MAX_INV_SIZE):
            items = tuple(found[start : start + MAX_INV_SIZE])
            self._ctx.send(peer, Inv(items), droppable=not state.found_asked)
        if found:
            state.last_sequence = self._source.sequence
        state.found_asked = state.answer is not None

    def _look_through(self, peer: Peer, state: TxState, meter: Meter) -> Steps[None]:
        """Match what waits for the peer's filter, then go on with the answer to its mempool message."""
        while state.to_match or state.answer is not None:
            queued = bool(state.to_match)
            wtxid = state.to_match[0] if queued else self._next_asked(state)
            entry, filter_ = self._source.by_wtxid().get(wtxid), state.filter
            if entry is not None and self._looks_at(peer, state, entry, queued=queued):
                wanted = filter_ is None or (yield from match_steps(filter_, entry.tx, meter))
                if state.filter is not filter_:
                    continue  # it was changed meanwhile: by the new one
                if wanted:
                    item = _item(peer, entry)
                    state.known.add(item.hash)
                    state.found.append(item)
                    state.found_asked = state.found_asked or not queued
            if queued:
                state.to_match.popleft()
            else:
                state.answered += 1
            if meter.spent(ENTRY_COST):
                yield

    def _looks_at(self, peer: Peer, state: TxState, entry: PoolEntry, *, queued: bool) -> bool:
        """Whether the peer may be told of a transaction; of what it asked for also when it knows it."""
        if entry.fee * 1000 < peer.fee_filter * entry.vsize:
            return False
        return not queued or not state.known.has(self._hasher.positions(_item(peer, entry).hash))

    def _next_asked(self, state: TxState) -> bytes:
        """The wtxid that the answer goes on with; empty when that was all."""
        assert state.answer is not None
        wtxid = state.answer.at(state.answered)
        if not wtxid:
            state.answer.readers -= 1
            state.answer = None
        return wtxid

    def _announce_queued(self, peer: Peer, state: TxState) -> None:
        """Take the best entries of the queue, more of them the longer it is."""
        queue, room = state.queue, FILTERED_AT_ONCE - len(state.to_match)
        wanted = INVENTORY_BROADCAST_TARGET + len(queue) // 1000 * INVENTORY_BROADCAST_GROWTH
        end = len(state.found) + min(wanted, INVENTORY_BROADCAST_MAX)
        work = INVENTORY_WORK_MAX if state.filter is None else room
        while queue and work > 0 and len(state.found) < end:
            work -= 1
            entry = self._source.find_tx(heapq.heappop(queue)[1], True)
            if entry is not None:
                self._announce_with_parents(peer, state, entry)

    def _announce_with_parents(self, peer: Peer, state: TxState, entry: PoolEntry) -> None:
        """Announce a transaction the peer does not know, after its parents that it was not told of yet.

        Parents from before the peer's time are left out; it asks for them. A cluster has at most 64 transactions.
        """
        stack = [(entry, False)]
        while stack:
            entry, parents_told = stack.pop()
            item = _item(peer, entry)
            positions = self._hasher.positions(item.hash)
            if state.known.has(positions) or entry.fee * 1000 < peer.fee_filter * entry.vsize:
                continue
            if not parents_told:
                parents = [p for p in self._source.parents(entry) if p.sequence >= state.first_sequence]
                if parents:
                    stack.append((entry, True))
                    stack += [(parent, False) for parent in parents]
                    continue
            if state.filter is not None:
                state.to_match.append(entry.wtxid)
            else:
                state.known.put(positions)
                state.found.append(item)
                self._ctx.delays.transaction_told(entry.wtxid, self._ctx.steady)

    # -- serving -------------------------------------------------------------------------------------------------

    def may_ask(self, peer: Peer) -> bool:
        """Whether requests for transactions are answered at all; those of others are ignored."""
        return peer.tx is not None

    def _told_until(self, state: TxState) -> int:
        """The mempool's sequence below which the peer may ask for anything."""
        return max(state.last_sequence, self._sequences[0][1]) if state.at_rest else state.last_sequence

    def find(self, peer: Peer, tx_hash: bytes, by_wtxid: bool, *, witness: bool) -> bytes | None:
        """The serialised transaction if the peer may know that we have it; it counts as asked for then.

        Those of the newest block are not parsed for it: one can have a million witness elements.
        """
        entry = self._source.find_tx(tx_hash, by_wtxid)
        if entry is not None and peer.tx is not None and entry.sequence < self._told_until(peer.tx):
            self._source.asked_for(entry.txid, peer.tx.group)
            return entry.tx.raw if witness else entry.tx.stripped()
        if self._block is None:
            return None
        if not self._block_index:
            for i, (txid, wtxid) in enumerate(zip(self._block.txids, self._block.wtxids, strict=True)):
                self._block_index[txid] = self._block_index[wtxid] = i
        i = self._block_index.get(tx_hash, -1)
        if i < 0 or (self._block.wtxids if by_wtxid else self._block.txids)[i] != tx_hash:
            return None
        return self._block.tx_raw(i) if witness else self._block.tx_stripped(i)

    def block_connected(self, block: ParsedBlock) -> None:
        """Transactions of the newest block may still be asked for."""
        self._block = block
        self._block_index = {}


def _item(peer: Peer, entry: PoolEntry) -> InvItem:
    """The transaction as this peer is told of transactions."""
    return InvItem(MSG_WTX, entry.wtxid) if peer.wtxid_relay else InvItem(MSG_TX, entry.txid)
