"""Blocks that wait to be checked and stored: by arrival, in siege by standing; nobody is lost when one gives up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from btcnode.chain.standing import Standing
from btcnode.sync.store_queue import StoreQueue

BRINGERS = [Standing.UNASKED, Standing.PROVEN, Standing.BAD, Standing.ASKED, Standing.PROVEN]


@pytest.mark.parametrize(("siege", "order"), [(False, [0, 1, 2, 3, 4]), (True, [1, 4, 3, 0, 2])])
def test_order(siege: bool, order: list[int]) -> None:
    async def run() -> list[int]:
        queue = StoreQueue(lambda: 1, lambda: siege)
        came: list[int] = []
        gate = asyncio.Event()

        async def first() -> None:
            async with queue.place(lambda: Standing.OWN):
                await gate.wait()

        async def other(number: int, standing: Standing) -> None:
            async with queue.place(lambda: standing):
                came.append(number)
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(first())]
        tasks += [asyncio.create_task(other(n, standing)) for n, standing in enumerate(BRINGERS)]
        await asyncio.sleep(0)
        assert len(queue) == len(BRINGERS)
        gate.set()
        await asyncio.gather(*tasks)
        assert not len(queue)
        return came

    assert asyncio.run(run()) == order


def test_who_gives_up_leaves_the_place_to_others() -> None:
    async def run() -> int:
        queue = StoreQueue(lambda: 1, lambda: False)
        done = 0

        async def one() -> None:
            nonlocal done
            async with queue.place(lambda: Standing.OWN):
                await asyncio.sleep(0)
                done += 1

        tasks = [asyncio.create_task(one()) for _ in range(30)]
        for number in range(0, 30, 3):
            for _ in range(number % 4):
                await asyncio.sleep(0)
            tasks[number].cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        gave_up = sum(task.cancelled() for task in tasks)
        assert done + gave_up == len(tasks) and gave_up
        async with queue.place(lambda: Standing.OWN):
            return len(queue)

    assert asyncio.run(run()) == 0
