"""Long work on the loop thread, with turns for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import monotonic
from typing import TypeVar

from btcnode.primitives.steps import Steps

TURN_SECONDS = 0.005

T = TypeVar("T")


async def in_turns(steps: Steps[T]) -> T:
    """The result of all steps, others having their turns after some milliseconds."""
    begun = monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if monotonic() - begun > TURN_SECONDS:
            await asyncio.sleep(0)
            begun = monotonic()


async def each_in_turn(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, others having their turns after some milliseconds."""
    begun = monotonic()
    for item in items:
        yield item
        if monotonic() - begun > TURN_SECONDS:
            await asyncio.sleep(0)
            begun = monotonic()
