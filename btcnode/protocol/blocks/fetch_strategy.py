"""How many blocks to ask of whom: adapts to what peers have shown.

Every block asked for has one outcome: it arrives, or it fails (it is late and was asked of somebody else, the peer said
notfound, the block was broken, the connection ended). After each batch of outcomes the whole is judged: a success rate
over 0.9 with a mean latency under a second grows the blocks in flight for each peer (8 to 64, 32 at first) and the
number of peers asked (4 to 16, 8 at first); a rate under 0.7 shrinks both.

Within these limits each peer gets what it delivers in about a second, so that slow ones have few blocks on their way,
and only blocks that are needed no sooner than it can bring them. An unproven peer is asked for 16 at most (Bitcoin
Core's figure for everybody); one that owes late blocks gets nothing more until it delivers.

Pure state: times are seconds of ``Context.steady``, handed in as ``now``. The attributes are what the metrics show.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from enum import Enum

from btcnode.counting import Histogram
from btcnode.protocol.limits import (
    BLOCK_DOWNLOAD_WINDOW,
    FETCH_BLOCKS_MAX,
    FETCH_BLOCKS_MIN,
    FETCH_BLOCKS_START,
    FETCH_BLOCKS_STEP,
    FETCH_GROW_LATENCY,
    FETCH_GROW_SUCCESS,
    FETCH_HORIZON,
    FETCH_IDLE,
    FETCH_MAX_REMEMBERED,
    FETCH_PATIENCE_LATENCIES,
    FETCH_PATIENCE_MIN,
    FETCH_PATIENCE_UNPROVEN,
    FETCH_PEERS_MAX,
    FETCH_PEERS_MIN,
    FETCH_PEERS_START,
    FETCH_REST_BASE,
    FETCH_REST_MAX,
    FETCH_SHRINK_SUCCESS,
    FETCH_UNKNOWN_RATE,
    FETCH_UNPROVEN_LATENCY,
    IDLE_BLOCK_MOVE_TIMEOUT,
    MAX_BLOCKS_IN_TRANSIT_PER_PEER,
)
from btcnode.record import struct

LATENCY_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # upper bounds in seconds
SMOOTHING = 0.125  # weight of the newest of a peer's intervals, latencies and outcomes
MIN_INTERVAL = 1e-5  # seconds between blocks, below any clock's use
MIN_PER_PEER = 2  # keeps the wire of a proven peer busy while it answers


class Failure(Enum):
    """Why a block that was asked for did not come; the value is the metrics' label."""

    LATE = "late"
    NOT_FOUND = "notfound"
    INVALID = "invalid"
    GONE = "disconnected"


@struct
class PeerFetch:
    """What one peer has shown.

    ``latency`` (seconds from request to answer) and ``interval`` (seconds of the peer's work for one block) are moving
    averages, None until the first block; ``success`` is one of outcomes, 1 at first.
    """

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    received_bytes: int = 0
    latency: float | None = None
    interval: float | None = None
    success: float = 1.0
    streak: int = 0  # failures since the last block
    open: int = 0  # requests without an outcome
    last_asked: float = 0.0  # or when it became one of those that are asked
    last_arrival: float = 0.0
    rests: int = 0
    resting_until: float = 0.0
    standing: float = 1.0  # from the peer's score: 1 for what everybody begins with, 0 to 2

    @property
    def score(self) -> float:
        """Blocks a second, weighted with reliability and promptness; 0 for a peer that brought nothing yet."""
        if self.interval is None or self.latency is None:
            return 0.0
        return self.standing * self.success / (max(self.interval, MIN_INTERVAL) * (1.0 + self.latency))

    @property
    def tried(self) -> bool:
        """Whether any request has had an outcome."""
        return bool(self.succeeded or self.failed)

    def expected(self) -> float:
        """Seconds in which a block asked for now would be there."""
        if self.interval is None or self.latency is None:
            return FETCH_UNPROVEN_LATENCY
        return max(self.latency, self.interval * (self.open + 1))


class FetchStrategy:
    """Limits on requests, and the records that they are made from. ``log`` takes one line for each decision.

    ``blocks_limit``: blocks in flight for one peer; ``peers_limit``: peers asked at a time; ``active``: these peers.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.blocks_limit = FETCH_BLOCKS_START
        self.peers_limit = FETCH_PEERS_START
        self.peers: dict[int, PeerFetch] = {}
        self.active: dict[int, None] = {}  # in the order of admission
        self.requests_sent = 0
        self.requests_succeeded = 0
        self.requests_failed: dict[str, int] = {kind.value: 0 for kind in Failure}
        self.latencies = Histogram(LATENCY_BUCKETS)  # from getdata to the block
        self.growths = 0
        self.shrinks = 0
        self.connect_rate = 0.0  # blocks connected a second
        self._connected = 0
        self._connected_since = 0.0
        self._batch_succeeded = 0
        self._batch_failed = 0
        self._batch_latency = 0.0
        self._keys: dict[int, Hashable] = {}
        self._remembered: dict[Hashable, PeerFetch] = {}  # of connections that ended; 256 x 500 B

    # -- peers come and go ---------------------------------------------------------------------------------------

    def add(self, peer_id: int, key: Hashable) -> None:
        """A peer that may be asked; ``key`` (its address) finds what it showed on an earlier connection."""
        known = self._remembered.pop(key, None)
        record = PeerFetch()
        if known is not None:
            record = replace(record, latency=known.latency, interval=known.interval, success=known.success)
            record.streak, record.rests, record.resting_until = known.streak, known.rests, known.resting_until
            self._log(f"peer={peer_id} is known to block download: score {record.score:.1f}, streak {record.streak}")
        self.peers[peer_id] = record
        self._keys[peer_id] = key

    def retire(self, peer_id: int) -> None:
        """The peer is asked for nothing for the time being: another may take its place."""
        self.active.pop(peer_id, None)

    def remove(self, peer_id: int) -> None:
        """The connection is gone; what was asked of it must have been reported as failed before."""
        record = self.peers.pop(peer_id, None)
        self.active.pop(peer_id, None)
        key = self._keys.pop(peer_id, None)
        if record is not None and record.tried:
            if len(self._remembered) >= FETCH_MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[key] = record

    # -- what happens --------------------------------------------------------------------------------------------

    def on_sent(self, peer_id: int, count: int, now: float) -> None:
        """``count`` blocks were asked of the peer."""
        self.requests_sent += count
        record = self.peers.get(peer_id)
        if record is not None:
            record.sent += count
            record.open += count
            record.last_asked = now

    def on_cancelled(self, peer_id: int, count: int) -> None:
        """``count`` open requests to the peer are of no interest any more: as if they had not been made."""
        self.requests_sent -= count
        record = self.peers.get(peer_id)
        if record is not None:
            record.sent -= count
            record.open -= count

    def on_arrival(self, peer_id: int, asked: float, size: int, now: float, *, late: bool = False) -> None:
        """A block that the peer was asked for at ``asked`` is there; ``late``: it counted as failed already."""
        latency = max(0.0, now - asked)
        record = self.peers.get(peer_id)
        if record is not None:
            self._measure(record, asked, latency, size, now)
            if not late:
                record.open -= 1
                record.succeeded += 1
        if late:
            return
        self.requests_succeeded += 1
        self.latencies.add(latency)
        if record is not None:
            record.success += SMOOTHING * (1.0 - record.success)
        self._batch_succeeded += 1
        self._batch_latency += latency
        self._judge()

    def _measure(self, record: PeerFetch, asked: float, latency: float, size: int, now: float) -> None:
        interval = max(0.0, now - max(asked, record.last_arrival))
        if record.latency is None or record.interval is None:
            record.latency, record.interval = latency, interval
        else:
            record.latency += SMOOTHING * (latency - record.latency)
            record.interval += SMOOTHING * (interval - record.interval)
        record.last_arrival = now
        record.received_bytes += size
        record.streak = 0

    def on_failure(self, peer_id: int, kind: Failure, count: int, now: float) -> None:
        """``count`` open requests to the peer ended without a block (``INVALID``: with a broken one)."""
        if not count:
            return
        self.requests_failed[kind.value] += count
        record = self.peers.get(peer_id)
        if record is not None:
            # gone again, and nothing came on either connection: it comes back at once if nobody else is known
            again = kind is Failure.GONE and record.interval is None and record.streak > 0
            record.failed += count
            record.streak += count
            record.success *= (1.0 - SMOOTHING) ** count
            if kind is not Failure.INVALID:
                record.open -= count
                if again:
                    self._rest(peer_id, record, now)
            elif record.resting_until > now:  # more of what was under way: that peer is dealt with
                return
            else:
                self._rest(peer_id, record, now)
        self._batch_failed += count
        self._judge()

    def _rest(self, peer_id: int, record: PeerFetch, now: float) -> None:
        """Ask nothing more of the peer for a minute, twice as long each time."""
        pause = min(FETCH_REST_MAX, FETCH_REST_BASE * 2**record.rests)
        record.rests = min(record.rests + 1, 16)
        record.resting_until = now + pause
        self.active.pop(peer_id, None)
        self._log(f"peer={peer_id} is not asked for blocks for {pause:.0f} s")

    def on_connected(self, count: int, now: float) -> None:
        """``count`` blocks joined the active chain."""
        self._connected += count
        elapsed = now - self._connected_since
        if elapsed > 5.0:  # a pause tells nothing of the pace
            self._connected, self._connected_since = 0, now
        elif elapsed >= 0.5:
            rate = self._connected / elapsed
            self.connect_rate += (0.5 if self.connect_rate else 1.0) * (rate - self.connect_rate)
            self._connected, self._connected_since = 0, now

    # -- judging -------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Grow or shrink once a batch of outcomes is complete."""
        succeeded, failed = self._batch_succeeded, self._batch_failed
        total = succeeded + failed
        if total < self.blocks_limit:
            return
        rate = succeeded / total
        latency = self._batch_latency / succeeded if succeeded else 0.0
        self._batch_succeeded = self._batch_failed = 0
        self._batch_latency = 0.0
        blocks, peers = self.blocks_limit, self.peers_limit
        if rate > FETCH_GROW_SUCCESS and latency < FETCH_GROW_LATENCY:
            self.blocks_limit = min(FETCH_BLOCKS_MAX, blocks + FETCH_BLOCKS_STEP)
            self.peers_limit = min(FETCH_PEERS_MAX, peers + 1)
            self.growths += (self.blocks_limit, self.peers_limit) != (blocks, peers)
        elif rate < FETCH_SHRINK_SUCCESS:
            self.blocks_limit = max(FETCH_BLOCKS_MIN, blocks * 3 // 4)
            self.peers_limit = max(FETCH_PEERS_MIN, peers - 1)
            self.shrinks += (self.blocks_limit, self.peers_limit) != (blocks, peers)
            while len(self.active) > self.peers_limit:
                self._dismiss(min(self.active, key=lambda i: self.peers[i].score), "fewer peers are asked")
        if (self.blocks_limit, self.peers_limit) != (blocks, peers):
            self._log(
                f"block requests: success {rate:.2f}, latency {latency:.3f} s:"
                f" {self.blocks_limit} blocks a peer, {self.peers_limit} peers"
            )

    def _dismiss(self, peer_id: int, why: str) -> None:
        del self.active[peer_id]
        self._log(f"peer={peer_id} is no longer asked for blocks: {why} (score {self.peers[peer_id].score:.1f})")

    # -- decisions -----------------------------------------------------------------------------------------------

    def admits(self, peer_id: int, now: float) -> bool:
        """Whether the peer is, or now becomes, one of those that are asked; it may take the place of a worse one."""
        if peer_id in self.active:
            return True
        record = self.peers.get(peer_id)
        if record is None or record.resting_until > now:
            return False
        if len(self.active) >= self.peers_limit:
            worst = self._replaceable(record, now)
            if worst is None:
                return False
            self._dismiss(worst, f"peer={peer_id} takes its place")
        self.active[peer_id] = None
        record.last_asked = now
        self._log(f"peer={peer_id} is asked for blocks: {len(self.active)} of {self.peers_limit} peers")
        return True

    def _replaceable(self, record: PeerFetch, now: float) -> int | None:
        """The active peer that makes room for ``record``: one that idles or is silent, or one that is clearly worse."""
        peers = self.peers
        for peer_id in self.active:
            rival = peers[peer_id]
            idle = now - rival.last_asked
            if not rival.open and idle > FETCH_IDLE:
                return peer_id
            silent = rival.interval is None and rival.sent > 0 and idle > FETCH_PATIENCE_UNPROVEN
            if silent and not record.streak:
                return peer_id
        worst = min(self.active, key=lambda i: peers[i].score)
        if not peers[worst].tried:
            return None
        if record.tried:
            score = record.score
        else:  # nobody knows: worth a try in the place of one that is far below the others
            score = sum(peers[i].score for i in self.active) / len(self.active)
        return worst if score > 2 * peers[worst].score else None

    def limit(self, peer_id: int) -> int:
        """Blocks that the peer may have in flight."""
        record = self.peers.get(peer_id)
        if record is None:
            return 0
        if record.interval is None:
            return 1 if record.streak else min(MAX_BLOCKS_IN_TRANSIT_PER_PEER, self.blocks_limit)
        wanted = min(1.0, record.standing) * record.success * FETCH_HORIZON / max(record.interval, MIN_INTERVAL)
        return max(MIN_PER_PEER, min(self.blocks_limit, int(wanted)))

    def fastest(self, *, but: int = -1) -> int:
        """The active peer that would bring a block soonest, leaving ``but`` out; -1 when nobody has shown anything."""
        best, least = -1, 0.0
        for peer_id in self.active:
            record = self.peers[peer_id]
            if peer_id == but or record.interval is None or record.streak:
                continue
            expected = record.expected()
            if best < 0 or expected < least:
                best, least = peer_id, expected
        return best

    def is_tried(self, peer_id: int) -> bool:
        """Whether any request to the peer has had an outcome."""
        record = self.peers.get(peer_id)
        return record is not None and record.tried

    def has_other(self, peer_id: int) -> bool:
        """Whether another active peer did not fail last time."""
        return any(other != peer_id and not self.peers[other].streak for other in self.active)

    def lead(self, peer_id: int, fastest: int) -> int:
        """How many blocks above the tip the peer starts, because blocks below are needed before it can bring them.

        ``fastest`` is the peer that fetches those; 0 when the peer is about as fast.
        """
        record, best = self.peers.get(peer_id), self.peers.get(fastest)
        if record is None or best is None:
            return 0
        expected = record.expected()
        if expected <= 2 * best.expected() + 0.1:
            return 0
        return min(BLOCK_DOWNLOAD_WINDOW * 3 // 4, int(1.5 * expected * self.connect_rate))

    def patience(self, peer_id: int) -> tuple[float, float]:
        """Seconds after which the peer's block is late when it is needed next, and when it is not."""
        latencies = [
            record.latency
            for other in self.active
            if other != peer_id and (record := self.peers[other]).latency is not None and not record.streak
        ]
        if not latencies:
            return IDLE_BLOCK_MOVE_TIMEOUT, IDLE_BLOCK_MOVE_TIMEOUT
        known = self.peers.get(peer_id)
        own = known.latency if known is not None else None
        least = FETCH_PATIENCE_UNPROVEN if own is None else FETCH_PATIENCE_MIN
        urgent = min(IDLE_BLOCK_MOVE_TIMEOUT, max(least, FETCH_PATIENCE_LATENCIES * min(latencies)))
        return urgent, max(2 * urgent, 2 * (own or 0.0))

    def is_urgent(self, distance: int, expected: float) -> bool:
        """Whether a block this far above the tip is needed about as soon as a substitute brings it."""
        rate = self.connect_rate or FETCH_UNKNOWN_RATE
        return distance <= max(MAX_BLOCKS_IN_TRANSIT_PER_PEER, rate * (2 * expected + 0.5))
