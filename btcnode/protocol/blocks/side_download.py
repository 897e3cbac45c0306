"""Asking peers for something that goes with a block: which of whom, and when to give up on a peer.

A block's item is asked of one peer at a time, the one that owes least. Who has brought nothing for a while, or is
late with one, loses what it owes to the others; who told what does not fit its block is not asked again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from btcnode.primitives.hashes import to_display
from btcnode.protocol.agenda import NEVER, NEXT_TICK
from btcnode.protocol.blocks.late_blocks import remember
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import (
    CLOCK_GAP,
    LATE_EXPIRY,
    MAX_FRUITLESS,
    MAX_LATE_PER_PEER,
    MAX_MISSING_PER_PEER,
    MISSING_EXPIRY,
    NODE_NETWORK_LIMITED_MIN_BLOCKS,
    PEER_BLOCK_SLACK,
    SIDE_LATE,
    SIDE_PATIENCE,
    SIDE_SILENCE,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import Peer, SideState
from btcnode.wire.codec import Message
from btcnode.wire.messages import NotFound


class SideDownload(ABC):
    """Requests of all peers, by header index. How many there are is the asker's to decide."""

    what: ClassVar[str]  # in the log
    service: ClassVar[int]  # bit of who gives it
    not_found: ClassVar[int]  # its type in notfound
    unasked: ClassVar[Offence]
    wrong: ClassVar[Offence]
    most_per_peer: ClassVar[int]  # requests without an answer
    most: ClassVar[int] = 1 << 30  # of all peers together
    missing_expiry: ClassVar[float] = MISSING_EXPIRY

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._wanted: dict[int, None] = {}  # asked of nobody, the first ones first
        self._asked: dict[int, int] = {}  # index -> peer
        self._last_tick = ctx.steady
        self._clock_jumped = False  # since the last tick so much time passed that sockets have to be read first

    @abstractmethod
    def state(self, peer: Peer) -> SideState:
        """Where a peer's requests are noted."""

    @abstractmethod
    def request(self, index: int) -> Message:
        """The message that asks for it."""

    # -- what is wanted ------------------------------------------------------------------------------------------

    def _want(self, indices: Iterable[int]) -> None:
        """The lowest blocks come first, whatever was wanted before."""
        self._wanted = dict.fromkeys(sorted({*self._wanted, *indices}, key=self._ctx.tree.height))

    def _refuse(self, peer: Peer, index: int, reason: str) -> None:
        """What the peer told does not go together with the block: it is not asked again."""
        self.state(peer).refused = True
        peer.last_given = 0.0
        self._note_failure(peer)
        self._give_back(peer)
        self._ctx.punish(peer, self.wrong, f"block {to_display(self._ctx.tree.hash(index))}: {reason}")

    # -- peers ---------------------------------------------------------------------------------------------------

    def tick(self, peer: Peer) -> float:
        """Judge the peer's pace, then ask for more; returns when the peer is looked at next."""
        ctx, state, steady = self._ctx, self.state(peer), self._ctx.steady
        for entries, expiry in ((state.missing, self.missing_expiry), (state.late, LATE_EXPIRY)):
            if entries and steady - entries[first := next(iter(entries))] > expiry:
                del entries[first]
        if state.in_flight and not self._clock_jumped:
            if peer.pauses or ctx.clock_held:
                state.since = steady
            elif steady - state.since > SIDE_PATIENCE:
                first = next(iter(state.in_flight))
                name = to_display(ctx.tree.hash(first))
                self._note_failure(peer)
                ctx.disconnect(peer, f"Timeout downloading {self.what} of block {name}")
            elif steady - state.since > SIDE_SILENCE or steady - next(iter(state.in_flight.values())) > SIDE_LATE:
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

    def _note_failure(self, peer: Peer) -> None:
        if self.service & self._ctx.providers.wanted:
            self._ctx.providers.failed(peer.address, self._ctx.steady)

    def _give_back(self, peer: Peer) -> None:
        owed = list(self.state(peer).in_flight)
        for index in owed:
            self._release(peer, index)
        self._want(owed)

    def _move(self, peer: Peer) -> None:
        """Ask others for what the peer owes, as far as there are others."""
        others = [other for other in self._ctx.established() if other is not peer and self.gives(other)]
        for index in list(self.state(peer).in_flight):
            other = self._least_busy(others, index)
            if other is not None:
                self._release(peer, index)
                self._send(other, index)

    def _release(self, peer: Peer, index: int) -> None:
        state = self.state(peer)
        del self._asked[index]
        del state.in_flight[index]
        remember(state.late, index, self._ctx.steady, MAX_LATE_PER_PEER)

    # -- asking --------------------------------------------------------------------------------------------------

    def gives(self, peer: Peer) -> bool:
        """Whether the peer offers such items, and may be asked for any now."""
        state = self.state(peer)
        offers = peer.services & self.service and peer.role.gives_blocks and not peer.pauses
        return bool(offers) and not state.refused and len(state.missing) < MAX_MISSING_PER_PEER

    def _least_busy(self, peers: list[Peer], index: int) -> Peer | None:
        """Of these peers the one to ask for the item of a block; None when none can be asked."""
        able = [peer for peer in peers if self._has_room(peer) and self._has(peer, index)]
        return min(able, key=lambda peer: len(self.state(peer).in_flight), default=None)

    def _has_room(self, peer: Peer) -> bool:
        return len(self.state(peer).in_flight) < self.most_per_peer

    def _has(self, peer: Peer, index: int) -> bool:
        ctx, state, best = self._ctx, self.state(peer), peer.headers.best_known
        if index in state.missing or index in state.late or not ctx.has_header(index, best):
            return False
        lowest = ctx.tree.height(best) - (NODE_NETWORK_LIMITED_MIN_BLOCKS - PEER_BLOCK_SLACK)
        return not peer.is_limited or ctx.tree.height(index) > lowest

    def _ask(self) -> None:
        """Ask for what nobody was asked for, as far as peers have room."""
        if not self._wanted:
            return
        peers = [peer for peer in self._ctx.established() if self.gives(peer)]
        for index in list(self._wanted):
            if len(self._asked) >= self.most or not any(map(self._has_room, peers)):
                return
            peer = self._least_busy(peers, index)
            if peer is not None:
                del self._wanted[index]
                self._send(peer, index)

    def _send(self, peer: Peer, index: int) -> None:
        state, steady = self.state(peer), self._ctx.steady
        if not state.in_flight:
            state.since = steady
        self._asked[index] = peer.id
        state.in_flight[index] = steady
        self._ctx.agenda.wake(peer.id)
        self._ctx.send(peer, self.request(index))

    # -- answers -------------------------------------------------------------------------------------------------

    def _arrived(self, peer: Peer, block_hash: bytes) -> int:
        """Note that a peer has told something; the header index where it is of use, else -1."""
        ctx, state = self._ctx, self.state(peer)
        index = ctx.tree.find(block_hash)
        if index in state.in_flight:
            self._release(peer, index)
        elif index in state.late:
            if state.refused or (index not in self._asked and index not in self._wanted):
                del state.late[index]
                return -1  # it came from somebody else meanwhile, or is of no use any more
            if index in self._asked:
                self._release(ctx.peers[self._asked[index]], index)
            self._wanted.pop(index, None)
        else:
            ctx.punish(peer, self.unasked, to_display(block_hash))
            return -1
        del state.late[index]
        state.since = peer.last_given = ctx.steady
        state.fruitless = 0
        ctx.providers.gave(peer.address)
        ctx.excuse(peer)
        return index

    def on_not_found(self, peer: Peer, message: NotFound) -> None:
        """The peer does not have the items of these blocks: others are asked."""
        state = self.state(peer)
        for kind, block_hash in message.pairs(len(message)):
            index = self._ctx.tree.find(block_hash) if kind == self.not_found else -1
            if index in state.in_flight:
                self._release(peer, index)
                self._want((index,))
                self._ctx.log_peer(peer, LogLevel.DEBUG, f"has no {self.what} of {to_display(block_hash)}")
            if state.late.pop(index, None) is not None:
                remember(state.missing, index, self._ctx.steady, MAX_MISSING_PER_PEER)
                state.fruitless += 1
                if state.fruitless == MAX_FRUITLESS:
                    self._note_failure(peer)
        self._ask()
