"""What a running node does once a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btcnode.node.assembling import AssembledNode
    from btcnode.node.resources import DiskWatch
    from btcnode.sync.memory_limiter import MemoryLimiter

HOUSEKEEPING_INTERVAL = 1.0  # seconds


async def keep_memory(limiter: MemoryLimiter) -> None:
    """Until cancelled: divide the memory."""
    while True:
        limiter.divide()
        await asyncio.sleep(HOUSEKEEPING_INTERVAL)


async def keep_house(node: AssembledNode, disk: DiskWatch) -> None:
    """Until cancelled: measure, raise alerts, take a sample of the sync, and let the chain see whether a flush is due.

    Raises StorageError.
    """
    machinery = node.machinery
    while True:
        disk.check(asyncio.get_running_loop().time())
        node.meter.measure()
        machinery.transactions.audit_pool()
        node.alerts.check_clock(machinery.protocol.median_time_offset())
        node.parts.sync.sample()
        node.parts.contact.check(asyncio.get_running_loop().time())
        await asyncio.sleep(HOUSEKEEPING_INTERVAL)
        machinery.driver.kick()
