"""Blocks that do not come: asked of a second peer in time, and what that says about the first one.

A block is late by the measure of the fastest peer (``FetchStrategy.patience``). One that is needed next is asked of the
proven peer that would bring it soonest, even a few above that peer's limit; one that is needed later only of a peer
that has little to do. A block that was announced near the tip is given half a minute, because its sender may be
receiving it as well. The first answer counts; nothing is taken back, as the wire has no way to.

A peer may hold the download window up for two seconds. The time doubles with every peer that is dropped for it, since
our own line may be the cause, and shrinks again as blocks connect (Bitcoin Core's numbers, in whole seconds).
"""

from __future__ import annotations

from btcnode.protocol.blocks.block_requests import BlockRequests
from btcnode.protocol.blocks.fetch_strategy import Failure, FetchStrategy
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import (
    BLOCK_STALLING_DECAY,
    BLOCK_STALLING_TIMEOUT_DEFAULT,
    BLOCK_STALLING_TIMEOUT_MAX,
    FETCH_MOVES_PER_TICK,
    FETCH_OVERDRAFT,
    FETCH_SILENT_GRACE,
    FETCH_STALL_LATENCIES,
    FETCH_STALL_MAX,
    IDLE_BLOCK_MOVE_TIMEOUT,
    MAX_BLOCKS_TO_ANNOUNCE,
    MAX_LATE_PER_PEER,
    REQUEST_BATCH,
    TIP_BLOCK_MOVE_TIMEOUT,
)
from btcnode.protocol.peer import Peer


def remember(entries: dict[int, float], index: int, since: float, maximum: int) -> None:
    """Add ``index`` to a memory of at most ``maximum`` entries, oldest first."""
    entries.pop(index, None)
    if len(entries) >= maximum:
        del entries[next(iter(entries))]
    entries[index] = since


class Stalling:
    """The time-out, and who runs into it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.timeout = BLOCK_STALLING_TIMEOUT_DEFAULT  # seconds

    def start(self, peer: Peer, grace: float = 0.0) -> None:
        """The peer holds the window up: its time begins after ``grace`` seconds, unless it runs already."""
        if peer.blocks.stalling_since is None:
            peer.blocks.stalling_since = self._ctx.mockable + grace
            self._ctx.log(LogLevel.DEBUG, "net", f"Stall started peer={peer.id}")

    def drop_overdue(self, peer: Peer) -> bool:
        """Disconnect a peer whose time is over; tells whether it was."""
        since = peer.blocks.stalling_since
        if since is None or self._ctx.mockable - since <= self.timeout:
            return False
        self._ctx.disconnect(peer, "Peer is stalling block download")
        longer = min(2 * self.timeout, BLOCK_STALLING_TIMEOUT_MAX)
        if longer != self.timeout:
            self.timeout = longer
            self._ctx.log(LogLevel.DEBUG, "net", f"Increased stalling timeout temporarily to {longer} seconds")
        return True

    def on_connected(self) -> None:
        """A block joined the active chain."""
        shorter = max(int(self.timeout * BLOCK_STALLING_DECAY), BLOCK_STALLING_TIMEOUT_DEFAULT)
        if shorter != self.timeout:
            self.timeout = shorter
            self._ctx.log(LogLevel.DEBUG, "net", f"Decreased stalling timeout to {shorter} seconds")


class LateBlocks:
    """Moves late requests to other peers."""

    def __init__(self, ctx: Context, requests: BlockRequests, strategy: FetchStrategy, stalling: Stalling) -> None:
        self._ctx = ctx
        self._requests = requests
        self._strategy = strategy
        self._stalling = stalling
        self._near_tip_since: float | None = None

    def note_distance(self) -> None:
        """The tip or the time changed: remember since when the tip is near today."""
        if not self._ctx.can_direct_fetch():
            self._near_tip_since = None
        elif self._near_tip_since is None:
            self._near_tip_since = self._ctx.steady

    def move(self, peer: Peer) -> None:
        """Ask other peers for blocks that are late, those needed next first; both answers are welcome."""
        ctx, blocks = self._ctx, peer.blocks
        patience, relaxed = self._strategy.patience(peer.id)
        moves: dict[int, list[int]] = {}
        for index, asked in list(blocks.in_flight.items())[:FETCH_MOVES_PER_TICK]:
            age = ctx.steady - max(asked, blocks.reading_since)
            if age < patience:
                break
            if ctx.tree.has_data(index):  # somebody else's answer came first
                self._write_off(peer, index)
                continue
            if self._is_announced(index, asked):
                other = self._anybody(peer, index) if age >= TIP_BLOCK_MOVE_TIMEOUT else None
            else:
                other = self._substitute(peer, index, age, relaxed, moves)
            if other is None:
                break
            moves.setdefault(other.id, []).append(index)
        for other_id, indices in moves.items():
            self._hand_over(peer, ctx.peers[other_id], indices)

    def _is_announced(self, index: int, asked: float) -> bool:
        """Whether the block was asked for as a new one near the tip, not as part of catching up."""
        near_since, tree = self._near_tip_since, self._ctx.tree
        if near_since is None or asked < near_since:
            return False
        return tree.height(tree.best_header) - self._ctx.active.height <= MAX_BLOCKS_TO_ANNOUNCE

    def _anybody(self, peer: Peer, index: int) -> Peer | None:
        """Another peer that has the block."""
        return next((p for p in self._ctx.established() if p is not peer and self._requests.can_serve(p, index)), None)

    def _idler(self, peer: Peer, index: int, moves: dict[int, list[int]]) -> Peer | None:
        """Another peer that has the block and little to do."""
        for other in self._ctx.established():
            busy = len(other.blocks.in_flight) + len(moves.get(other.id, ()))
            if other is not peer and busy < REQUEST_BATCH and self._requests.can_serve(other, index):
                return other
        return None

    def _substitute(
        self, peer: Peer, index: int, age: float, relaxed: float, moves: dict[int, list[int]]
    ) -> Peer | None:
        """The proven peer that would bring a late block soonest; after five seconds one that has little to do.

        ``age`` is how long the block was waited for; one that is not needed soon is only moved after ``relaxed``.
        """
        ctx, strategy = self._ctx, self._strategy
        distance = ctx.tree.height(index) - ctx.active.height
        best: Peer | None = None
        least = age  # who takes longer than what was lost already is no help
        for other_id in strategy.active:
            other, record = ctx.peers.get(other_id), strategy.peers[other_id]
            if other is None or other is peer or record.interval is None or record.streak:
                continue
            expected = record.expected()
            urgent = strategy.is_urgent(distance, expected)
            limit, busy = strategy.limit(other_id), len(other.blocks.in_flight) + len(moves.get(other_id, ()))
            free = busy < limit + FETCH_OVERDRAFT if urgent else age >= relaxed and busy <= limit // 2
            if expected < least and free and self._requests.can_serve(other, index):
                best, least = other, expected
        if best is None and age >= IDLE_BLOCK_MOVE_TIMEOUT:
            return self._idler(peer, index, moves)
        return best

    def _write_off(self, peer: Peer, index: int) -> None:
        """Stop waiting for a block; it is welcome if it comes."""
        asked = peer.blocks.in_flight[index]
        self._requests.release(peer, index)
        remember(peer.blocks.late, index, asked, MAX_LATE_PER_PEER)
        self._strategy.on_failure(peer.id, Failure.LATE, 1, self._ctx.steady)

    def _hand_over(self, peer: Peer, other: Peer, indices: list[int]) -> None:
        """Ask ``other`` for late blocks of ``peer``."""
        ctx = self._ctx
        for index in indices:
            self._note_stall(peer, other, index, peer.blocks.in_flight[index])
            self._write_off(peer, index)
        self._requests.ask(other, indices)
        heights = f"{ctx.tree.height(indices[0])} to {ctx.tree.height(indices[-1])}"
        ctx.log_peer(peer, LogLevel.DEBUG, f"{len(indices)} late blocks at {heights} asked of peer={other.id} too")

    def _note_stall(self, peer: Peer, other: Peer, index: int, asked: float) -> None:
        """A silent peer is stalling when it holds the tip up, and, with more patience, when it never brought a block.

        Any block from it ends that. How long it takes depends on the substitute too: if that one is slow as well, the
        fault may be with our own line.
        """
        ctx, strategy, blocks = self._ctx, self._strategy, peer.blocks
        record, substitute = strategy.peers.get(peer.id), strategy.peers.get(other.id)
        if record is None or substitute is None or substitute.latency is None:
            return
        if blocks.stalling_since is not None or record.last_arrival > asked or self._is_announced(index, asked):
            return
        patience = min(FETCH_STALL_MAX, FETCH_STALL_LATENCIES * substitute.latency)
        grace = max(0.0, patience - self._stalling.timeout)
        if ctx.tree.height(index) != ctx.active.height + 1:
            if record.interval is not None:
                return
            grace += FETCH_SILENT_GRACE
        self._stalling.start(peer, grace)
