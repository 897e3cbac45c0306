"""The mempool by fee rate, and what the next blocks would take of it: walked in slices, however large it is."""

from __future__ import annotations

import asyncio
from dataclasses import field

from btcnode.mempool.pool import Mempool
from btcnode.record import struct

BOUNDS = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 80.0, 100.0, 200.0, 500.0)  # sat/vB
SLICE = 1000  # chunks that are looked at in one turn of the loop: about half a millisecond
BLOCK_WEIGHT = 3_992_000  # weight units, as miners fill blocks
MOST_BLOCKS = 8  # that are told; what is behind them is in the histogram


@struct
class ProjectedBlock:
    """What a block would take: transactions, weight units, satoshi of fees; ``low`` and ``high`` rates in sat/vB."""

    txs: int = 0
    weight: int = 0
    fees: int = 0
    high: float = 0.0
    low: float = 0.0


@struct
class FeeSurvey:
    """``vbytes`` has one figure for each range of ``BOUNDS``: below the first, ..., above the last."""

    version: int
    vbytes: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    blocks: list[ProjectedBlock] = field(default_factory=list)


async def survey(pool: Mempool) -> FeeSurvey:
    """Walk all chunks, best first. What comes or goes meanwhile may count twice or not at all."""
    found = FeeSurvey(pool.version)
    start, place = 0, len(BOUNDS)
    block = ProjectedBlock()
    while chunks := pool.chunks_between(start, start + SLICE):
        for chunk in chunks:
            rate = 4 * chunk.fee / chunk.size
            while place and rate < BOUNDS[place - 1]:
                place -= 1
            found.vbytes[place] += chunk.size // 4
            if block.weight + chunk.size > BLOCK_WEIGHT and len(found.blocks) < MOST_BLOCKS:
                found.blocks.append(block)
                block = ProjectedBlock()
            if not block.txs:
                block.high = rate
            block.low = rate
            block.txs += len(chunk.entries)
            block.weight += chunk.size
            block.fees += chunk.fee
        start += len(chunks)
        await asyncio.sleep(0)
    if block.txs and len(found.blocks) < MOST_BLOCKS:
        found.blocks.append(block)
    return found
