"""How far the node has come: figures over time, and log lines of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic

from btcnode.record import record

log = logging.getLogger("btcnode.validation")

RATE_WINDOW_S = 60.0
PLAIN_INTERVAL_S = 30.0
SYNCED_PROGRESS = 0.99999
MIB = 1 << 20
MAX_SHOWN_DAYS = 999
LEAST_WINDOW_S = 5.0  # before it nothing is said of the time left
SAMPLES = 30  # of a line in the log
FRESH_BLOCKS = 9  # times the time between blocks: once in two months a tip is older on mainnet
STATES = {
    "idle": "waits for peers",
    "import": "imports blocks from files",
    "headers-presync": "weighs a chain of headers",
    "headers": "fetches headers",
    "blocks": "fetches and checks blocks",
    "catching-up": "fetches the newest blocks",
    "synced": "has all blocks that its peers know",
    "stalled": "stalled: peers send neither headers nor blocks",
    "shutting-down": "stops",
}
"""What a state of the synchronisation means, for people."""


@record
class Snapshot:
    """The node at one moment. Times are Unix seconds; ``status`` is what it is busy with before and after it is ready.

    ``loaded``: the figures of the chain are there. ``state`` is a key of ``STATES``. ``advice``: what to try without
    peers.
    """

    network: str
    now: int
    status: str | None = None
    blocks: int = 0
    headers: int = 0
    tip_time: int = 0
    header_time: int = 0
    target_spacing: int = 600
    progress: float = 0.0
    transactions: int = 0
    peers_in: int = 0
    peers_out: int = 0
    cache_bytes: int = 0
    cache_coins: int = 0
    cache_limit: int = 0
    bytes_received: int = 0
    loaded: bool = True
    state: str = "idle"
    advice: str | None = None

    @property
    def tip_age(self) -> int:
        """Seconds since the time in the tip's header."""
        return max(0, self.now - self.tip_time)

    @property
    def in_sync(self) -> bool:
        """Whether peers say that nothing is missing, and the tip is as young as tips are."""
        fresh = self.tip_age <= FRESH_BLOCKS * self.target_spacing
        return self.state == "synced" and fresh and self.peers_in + self.peers_out > 0


@record
class Rates:
    """Figures per second over the last minute of work, and the seconds left (None where nothing can be said)."""

    blocks: float = 0.0
    headers: float = 0.0
    transactions: float = 0.0
    bytes_received: float = 0.0
    seconds_left: float | None = None


def headers_progress(snapshot: Snapshot) -> float:
    """Share of the headers that are here, 0 to 1, from the age of the newest one (as Core estimates it)."""
    missing = max(0, snapshot.now - snapshot.header_time) / max(1, snapshot.target_spacing)
    return snapshot.headers / (snapshot.headers + missing) if snapshot.headers else 0.0


class RateMeter:
    """Remembers snapshots of the last minute, from the last moment on in which nothing had begun yet."""

    def __init__(self, window: float = RATE_WINDOW_S) -> None:
        self._window = window
        self._seen: deque[tuple[float, Snapshot]] = deque()

    def add(self, steady: float, snapshot: Snapshot) -> Rates:
        """Take in a snapshot; the rates since the oldest one remembered."""
        seen = self._seen
        if not snapshot.loaded:
            seen.clear()
            return Rates()
        if seen and _same(seen[0][1], snapshot):
            seen.clear()  # no work so far: its window begins here
        seen.append((steady, snapshot))
        while len(seen) > 2 and steady - seen[0][0] > self._window:
            seen.popleft()
        start, first = seen[0]
        seconds = steady - start
        if seconds <= 0:
            return Rates()
        speed = (snapshot.progress - first.progress) / seconds
        moving = snapshot.blocks > first.blocks and speed > 0 and snapshot.progress < SYNCED_PROGRESS
        left = _missing(snapshot) / speed if moving and seconds >= LEAST_WINDOW_S else None
        return Rates(
            blocks=max(0, snapshot.blocks - first.blocks) / seconds,
            headers=max(0, snapshot.headers - first.headers) / seconds,
            transactions=max(0, snapshot.transactions - first.transactions) / seconds,
            bytes_received=max(0, snapshot.bytes_received - first.bytes_received) / seconds,
            seconds_left=left,
        )


def _missing(snapshot: Snapshot) -> float:
    """Share of all transactions that lies in blocks whose headers are here, and the blocks are not. What comes
    after the newest header is no work that is left: where that one is old, it would be nearly all."""
    beyond = max(0, snapshot.now - snapshot.header_time)
    until_header = max(0, snapshot.header_time - snapshot.tip_time)
    whole = beyond + until_header
    return (1 - snapshot.progress) * (until_header / whole if whole else 1.0)


def _same(one: Snapshot, other: Snapshot) -> bool:
    """Whether nothing was done between two snapshots."""
    return (one.blocks, one.headers, one.bytes_received) == (other.blocks, other.headers, other.bytes_received)


def duration(seconds: float | None) -> str:
    """Days, hours, minutes and seconds, the two largest of them."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days > MAX_SHOWN_DAYS:
        return f"more than {MAX_SHOWN_DAYS} d"
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plain_line(snapshot: Snapshot, rates: Rates) -> str:
    """One line of figures for the log."""
    left = f" eta={duration(rates.seconds_left)}" if rates.seconds_left is not None else ""
    return (
        f"Progress: blocks={snapshot.blocks} headers={snapshot.headers} progress={snapshot.progress:.6f}"
        f" tx/s={rates.transactions:.0f} blocks/s={rates.blocks:.1f} peers={snapshot.peers_in + snapshot.peers_out}"
        f" cache={snapshot.cache_bytes / MIB:.1f}MiB({snapshot.cache_coins}txo){left}"
    )


async def log_progress(snapshot: Callable[[], Snapshot], interval: float = PLAIN_INTERVAL_S) -> None:
    """Write a line of figures every ``interval`` seconds until cancelled; silent while nothing changes."""
    meter = RateMeter(interval)
    last = (-1, -1)
    while True:
        for _ in range(SAMPLES):
            rates = meter.add(monotonic(), now := snapshot())
            await asyncio.sleep(interval / SAMPLES)
        if now.status is None and (now.blocks, now.headers) != last and now.progress < SYNCED_PROGRESS:
            log.info(plain_line(now, rates))
        last = (now.blocks, now.headers)
