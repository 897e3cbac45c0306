from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from btcnode.shielding import shielded


def test_result_and_error_come_through() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        good: asyncio.Future[int] = loop.create_future()
        bad: asyncio.Future[int] = loop.create_future()
        loop.call_soon(good.set_result, 7)
        loop.call_soon(bad.set_exception, ValueError("no"))
        assert await shielded(good) == 7
        for _ in range(2):  # the second time it is done already
            with pytest.raises(ValueError, match="no"):
                await shielded(bad)

    asyncio.run(run())


def test_a_cancellation_does_not_reach_the_work_and_nothing_is_told_of_its_error() -> None:
    told: list[dict[str, Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        work: asyncio.Future[int] = loop.create_future()
        awaiting = asyncio.ensure_future(shielded(work))
        await asyncio.sleep(0)
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting
        assert not work.cancelled()
        work.set_exception(ValueError("seen by its holder, if by anybody"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del work, awaiting
        gc.collect()

    asyncio.run(run())
    assert not told


def test_work_that_its_holder_cancels() -> None:
    async def run() -> None:
        work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(work.cancel)
        with pytest.raises(asyncio.CancelledError):
            await shielded(work)

    asyncio.run(run())
