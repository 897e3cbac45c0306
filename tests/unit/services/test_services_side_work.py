"""Work beside the loop: one at a time, the least served first, with rests."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from btcnode.services import side_work
from btcnode.services.side_work import REST, SideWork, gently


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_peer_that_was_served_much_waits_behind_a_new_one() -> None:
    async def run() -> list[int]:
        clock, order = Clock(), list[int]()
        work = SideWork(clock)

        async def ask(peer: int, takes: float) -> None:
            async with work.turn(peer):
                order.append(peer)
                clock.now += takes
                await asyncio.sleep(0)

        await ask(1, 5.0)
        await ask(2, 0.1)
        order.clear()
        await asyncio.gather(ask(3, 1.0), ask(1, 1.0), ask(2, 1.0), ask(4, 1.0))
        work.close()
        return order

    assert asyncio.run(run()) == [3, 4, 2, 1]


def test_who_gives_up_waiting_blocks_nobody() -> None:
    async def run() -> list[int]:
        work, order = SideWork(), list[int]()
        gate = asyncio.Event()

        async def hold() -> None:
            async with work.turn(0):
                await gate.wait()

        async def ask(peer: int) -> None:
            async with work.turn(peer):
                order.append(peer)

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        asked = [asyncio.create_task(ask(peer)) for peer in (1, 2, 3)]
        await asyncio.sleep(0)
        asked[0].cancel()
        gate.set()
        await asyncio.sleep(0)
        asked[1].cancel()
        await asyncio.gather(holder, *asked, return_exceptions=True)
        await ask(4)
        work.close()
        return order

    assert asyncio.run(run())[-2:] == [3, 4]


def test_the_thread_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_work, "STINT", -1.0)
    rests: list[float] = []

    def steps() -> Generator[None, None, str]:
        for _ in range(5):
            yield
        return "done"

    assert gently(steps, rest=rests.append) == "done"
    assert rests == [REST] * 5
