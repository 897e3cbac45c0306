"""What a node remembers of its last hours for people who look in later: blocks, reorganisations, fees, the disk.

Blocks are noted as events of the chain; the mempool and the disk are looked at once a minute. Everything is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import field
from pathlib import Path

from btcnode.chain.events import BlockConnected, BlockDisconnected, ChainEvent
from btcnode.mempool.pool import Mempool
from btcnode.record import record, struct
from btcnode.services.clock import Clock
from btcnode.services.disk_space import scarcest
from btcnode.services.fee_survey import FeeSurvey, survey
from btcnode.sync.driver import ChainDriver

MOST_BLOCKS = 30
MOST_REORGANISATIONS = 12
MOST_BRANCH = 20  # blocks of a branch that are remembered
LOOK_INTERVAL = 60.0  # seconds
HOURS_OF_FEES = 3
HOURS_OF_DISK = 24
LEAST_TREND = 600.0  # seconds of looks at the disk before they say something


@record
class Connected:
    """A block that became the tip: header index, Unix time, steady seconds, bytes."""

    index: int
    height: int
    unix: int
    steady: float
    txs: int
    size: int


@struct
class Reorganisation:
    """Header indices of blocks that were left (from the old tip down) and of those in their place (upwards)."""

    unix: int
    depth: int = 0
    left: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)


class DiskTrend:
    """How fast the free bytes of a disk become fewer; the newest ``HOURS_OF_DISK`` count."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=int(HOURS_OF_DISK * 3600 / LOOK_INTERVAL))

    @property
    def free(self) -> int | None:
        """Free bytes at the last look."""
        return self._looks[-1][1] if self._looks else None

    def add(self, steady: float, free: int) -> None:
        """A look at ``steady`` seconds."""
        self._looks.append((steady, free))

    def bytes_per_second(self) -> float | None:
        """By how much the free bytes fall, never below 0; None before there is enough to judge by."""
        if not self._looks or self._looks[-1][0] - self._looks[0][0] < LEAST_TREND:
            return None
        (then, before), (now, after) = self._looks[0], self._looks[-1]
        return max(0.0, (before - after) / (now - then))


class Recent:
    """Listens from its construction on; ``keep`` looks once a minute."""

    def __init__(self, driver: ChainDriver, pool: Mempool, clock: Clock, folders: Iterable[Path]) -> None:
        """``folders`` are those that the disk must have room for."""
        self.blocks: deque[Connected] = deque(maxlen=MOST_BLOCKS)
        self.reorganisations: deque[Reorganisation] = deque(maxlen=MOST_REORGANISATIONS)
        self.fees: deque[tuple[int, list[int]]] = deque(maxlen=int(HOURS_OF_FEES * 3600 / LOOK_INTERVAL))
        self.survey = FeeSurvey(0)
        self.disk = DiskTrend()
        self._open: Reorganisation | None = None  # blocks were left, and their place is not taken yet
        self._pool = pool
        self._clock = clock
        self._folders = tuple(folders)
        self._steady: Callable[[], float] = asyncio.get_running_loop().time
        driver.listen(self._on_events)

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        for event in chain_events:
            if isinstance(event, BlockConnected):
                size = len(event.block.raw)
                self.blocks.append(
                    Connected(event.index, event.height, self._clock.now(), self._steady(), event.txs, size)
                )
                self._join(event.index)
            elif isinstance(event, BlockDisconnected):
                self._leave(event.index)

    def _leave(self, index: int) -> None:
        if self._open is None or self._open.joined:
            self._open = Reorganisation(self._clock.now())
            self.reorganisations.append(self._open)
        self._open.depth += 1
        if len(self._open.left) < MOST_BRANCH:
            self._open.left.append(index)

    def _join(self, index: int) -> None:
        """Of the new branch as many blocks are noted as of the old one, and one more."""
        one = self._open
        if one is None:
            return
        if len(one.joined) <= len(one.left):
            one.joined.append(index)
        else:
            self._open = None

    async def note_state(self) -> None:
        """See how the mempool and the disk are now."""
        await self.look_at_pool()
        self.fees.append((self._clock.now(), self.survey.vbytes))
        try:
            free = (await asyncio.to_thread(scarcest, *self._folders)).free
        except OSError:  # whether the node can go on is for who watches the disk to say
            return
        self.disk.add(self._steady(), free)

    async def look_at_pool(self) -> None:
        """Make a new survey, unless nothing has changed."""
        if self.survey.version != self._pool.version:
            self.survey = await survey(self._pool)

    async def keep(self) -> None:
        """Look once a minute, until cancelled."""
        while True:
            await self.note_state()
            await asyncio.sleep(LOOK_INTERVAL)
