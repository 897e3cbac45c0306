"""Asking peers for the coins that blocks spend: which of whom, and when to give up on a peer (docs/swiftsync.md).

A block's coins are asked of one peer at a time, the one that owes least. Who has brought nothing for a while, or is
late with one, loses what it owes to the others; who told coins that do not fit their block is not asked again.
"""

from __future__ import annotations

from collections.abc import Iterable

from btcnode.primitives.hashes import to_display
from btcnode.protocol.agenda import NEVER, NEXT_TICK
from btcnode.protocol.blocks.late_blocks import remember
from btcnode.protocol.commands import DropSpent, FetchSpent, SpentJudged
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel, TakeSpent
from btcnode.protocol.limits import (
    CLOCK_GAP,
    LATE_EXPIRY,
    MAX_LATE_PER_PEER,
    MAX_MISSING_PER_PEER,
    MAX_SPENT_PER_PEER,
    MISSING_EXPIRY,
    NODE_NETWORK_LIMITED_MIN_BLOCKS,
    PEER_BLOCK_SLACK,
    SPENT_LATE,
    SPENT_PATIENCE,
    SPENT_SILENCE,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import Peer
from btcnode.wire.constants import MSG_BLOCK_SPENT, NODE_BLOCK_UNDO, SPENT_VERSION
from btcnode.wire.messages import BlockSpent, GetBlockSpent, NotFound


class SpentDownload:
    """Requests of all peers, by header index. How many there are is the asker's to decide."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._wanted: dict[int, None] = {}  # asked of nobody, the first ones first
        self._asked: dict[int, int] = {}  # index -> peer
        self._last_tick = ctx.steady
        self._clock_jumped = False  # since the last tick so much time passed that sockets have to be read first

    # -- what is wanted ------------------------------------------------------------------------------------------

    def on_fetch(self, command: FetchSpent) -> None:
        """The coins of these blocks are wanted; each is answered by one ``TakeSpent``, when somebody has them."""
        self._want(index for index in command.indices if index not in self._asked)
        self._ask()

    def _want(self, indices: Iterable[int]) -> None:
        """The lowest blocks come first, whatever was wanted before."""
        self._wanted = dict.fromkeys(sorted({*self._wanted, *indices}, key=self._ctx.tree.height))

    def on_drop(self, _: DropSpent) -> None:
        """Nothing is wanted any more; what is on its way may still come."""
        self._wanted.clear()
        for index, peer_id in list(self._asked.items()):
            self._release(self._ctx.peers[peer_id], index)

    def on_judged(self, verdict: SpentJudged) -> None:
        """The coins that a peer told do not go together with their block, or with what the block says itself."""
        peer = self._ctx.peers.get(verdict.peer_id)
        if peer is None:
            return
        peer.spent.refused = True
        self._give_back(peer)
        text = f"block {to_display(self._ctx.tree.hash(verdict.index))}: {verdict.reason}"
        self._ctx.punish(peer, Offence.SPENT_WRONG, text)

    # -- peers ---------------------------------------------------------------------------------------------------

    def tick(self, peer: Peer) -> float:
        """Judge the peer's pace, then ask for more; returns when the peer is looked at next."""
        ctx, state, steady = self._ctx, peer.spent, self._ctx.steady
        for entries, expiry in ((state.missing, MISSING_EXPIRY), (state.late, LATE_EXPIRY)):
            if entries and steady - entries[first := next(iter(entries))] > expiry:
                del entries[first]
        if state.in_flight and not self._clock_jumped:
            if peer.pauses or ctx.clock_held:
                state.since = steady
            elif steady - state.since > SPENT_PATIENCE:
                first = next(iter(state.in_flight))
                ctx.disconnect(peer, f"Timeout downloading spent coins of block {to_display(ctx.tree.hash(first))}")
            elif steady - state.since > SPENT_SILENCE or steady - next(iter(state.in_flight.values())) > SPENT_LATE:
                self._move(peer)
        return NEXT_TICK if state.in_flight or state.missing or state.late else NEVER

    def begin_tick(self) -> None:
        """Once for all peers."""
        steady = self._ctx.steady
        if steady == self._last_tick:
            return
        self._clock_jumped = steady - self._last_tick > CLOCK_GAP and not self._clock_jumped
        self._last_tick = steady
        self._ask()

    def forget(self, peer: Peer) -> None:
        """Nothing more is expected of the peer: its requests are free for others."""
        self._give_back(peer)
        self._ask()

    def _give_back(self, peer: Peer) -> None:
        owed = list(peer.spent.in_flight)
        for index in owed:
            self._release(peer, index)
        self._want(owed)

    def _move(self, peer: Peer) -> None:
        """Ask others for what the peer owes, as far as there are others."""
        others = [other for other in self._ctx.established() if other is not peer and self._gives(other)]
        for index in list(peer.spent.in_flight):
            other = self._least_busy(others, index)
            if other is not None:
                self._release(peer, index)
                self._send(other, index)

    def _release(self, peer: Peer, index: int) -> None:
        del self._asked[index]
        del peer.spent.in_flight[index]
        remember(peer.spent.late, index, self._ctx.steady, MAX_LATE_PER_PEER)

    # -- asking --------------------------------------------------------------------------------------------------

    def _gives(self, peer: Peer) -> bool:
        """Whether the peer offers spent coins, and may be asked for any now."""
        offers = peer.services & NODE_BLOCK_UNDO and peer.role.gives_blocks and not peer.pauses
        return bool(offers) and not peer.spent.refused and len(peer.spent.missing) < MAX_MISSING_PER_PEER

    def _least_busy(self, peers: list[Peer], index: int) -> Peer | None:
        """Of these peers the one to ask for the coins of a block; None when none can be asked."""
        able = [peer for peer in peers if len(peer.spent.in_flight) < MAX_SPENT_PER_PEER and self._has(peer, index)]
        return min(able, key=lambda peer: len(peer.spent.in_flight), default=None)

    def _has(self, peer: Peer, index: int) -> bool:
        ctx, best = self._ctx, peer.headers.best_known
        if index in peer.spent.missing or index in peer.spent.late or not ctx.has_header(index, best):
            return False
        lowest = ctx.tree.height(best) - (NODE_NETWORK_LIMITED_MIN_BLOCKS - PEER_BLOCK_SLACK)
        return not peer.is_limited or ctx.tree.height(index) > lowest

    def _ask(self) -> None:
        """Ask for what nobody was asked for, as far as peers have room."""
        if not self._wanted:
            return
        peers = [peer for peer in self._ctx.established() if self._gives(peer)]
        for index in list(self._wanted):
            if all(len(peer.spent.in_flight) >= MAX_SPENT_PER_PEER for peer in peers):
                return
            peer = self._least_busy(peers, index)
            if peer is not None:
                del self._wanted[index]
                self._send(peer, index)

    def _send(self, peer: Peer, index: int) -> None:
        state, steady = peer.spent, self._ctx.steady
        if not state.in_flight:
            state.since = steady
        self._asked[index] = peer.id
        state.in_flight[index] = steady
        self._ctx.agenda.wake(peer.id)
        self._ctx.send(peer, GetBlockSpent(SPENT_VERSION, self._ctx.tree.hash(index)))

    # -- answers -------------------------------------------------------------------------------------------------

    def on_answer(self, peer: Peer, message: BlockSpent) -> None:
        """Hand coins over, if they were asked for; the draft wants a peer disconnected that sends others."""
        ctx, state = self._ctx, peer.spent
        index = ctx.tree.find(message.block_hash)
        if index in state.in_flight:
            self._release(peer, index)
        elif index in state.late:
            if state.refused or (index not in self._asked and index not in self._wanted):
                del state.late[index]
                return  # it came from somebody else meanwhile, or is of no use any more
            if index in self._asked:
                self._release(ctx.peers[self._asked[index]], index)
            self._wanted.pop(index, None)
        else:
            ctx.punish(peer, Offence.SPENT_UNASKED, to_display(message.block_hash))
            return
        del state.late[index]
        state.since = ctx.steady
        ctx.excuse(peer)
        ctx.emit(TakeSpent(peer.id, index, message.coins))
        self._ask()

    def on_not_found(self, peer: Peer, message: NotFound) -> None:
        """The peer does not have the coins of these blocks: others are asked."""
        for kind, block_hash in message.pairs(len(message)):
            index = self._ctx.tree.find(block_hash) if kind == MSG_BLOCK_SPENT else -1
            if index in peer.spent.in_flight:
                self._release(peer, index)
                self._want((index,))
                self._ctx.log_peer(peer, LogLevel.DEBUG, f"has no spent coins of {to_display(block_hash)}")
            if peer.spent.late.pop(index, None) is not None:
                remember(peer.spent.missing, index, self._ctx.steady, MAX_MISSING_PER_PEER)
        self._ask()
