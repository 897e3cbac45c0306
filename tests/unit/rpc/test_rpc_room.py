"""Room for answers: what is larger than the memory that a container leaves is refused, not waited for."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import Any

import pytest

from btcnode.rpc.errors import RpcError
from btcnode.rpc.reply import COUNTED, resumed
from btcnode.rpc.room import (
    MANY_OBJECTS_BYTES,
    QUICK_TURN_S,
    ROOM_BYTES,
    Room,
    Ticket,
    beside,
    first_step,
    has_room,
    make_room,
    on_bench,
    working,
)
from tests.lib.process import until

MIB = 1 << 20


def test_one_answer_of_any_size_is_possible_where_nothing_ends_the_node() -> None:
    room = Room()

    async def reserve() -> None:
        ticket = Ticket(room, trusted=True)
        await room.reserve(100 * ROOM_BYTES, ticket)
        assert room.used == 100 * ROOM_BYTES
        ticket.close()

    asyncio.run(reserve())
    assert room.used == 0


def test_an_answer_that_memory_does_not_suffice_for_is_refused() -> None:
    room = Room()
    room.offer(80 * MIB, 0)

    async def reserve() -> None:
        ticket = Ticket(room, trusted=True)
        with working(ticket):
            await make_room(80 * MIB)
            with pytest.raises(RpcError, match="about 81 MiB while it is made, 80 MiB are left") as refused:
                await make_room(81 * MIB)
            assert refused.value.code == -7
            assert ticket.granted == 80 * MIB

    asyncio.run(reserve())
    assert room.used == 0


def test_answers_together_take_no_more_than_is_left() -> None:
    room = Room()
    room.offer(80 * MIB, 0)

    async def reserve() -> list[str]:
        told: list[str] = []
        answered = asyncio.Event()

        async def one(name: str, size: int) -> None:
            ticket = Ticket(room, trusted=True)
            with working(ticket):
                try:
                    await make_room(size)
                    told.append(f"{name} begins")
                    await answered.wait()
                    assert room.used <= 80 * MIB
                except RpcError as error:
                    told.append(f"{name}: {error.code}")

        first, second = (asyncio.create_task(one(name, 60 * MIB)) for name in ("first", "second"))
        await asyncio.sleep(0)
        assert told == ["first begins"]  # 256 MiB are for answers, and 20 are left
        third = asyncio.create_task(one("third", 50 * MIB))
        await asyncio.sleep(0)
        room.offer(-5 * MIB, 0)  # what the first one was granted is there, and others have taken 25
        answered.set()
        await asyncio.gather(first, second)
        assert told == ["first begins", "second: -7"]  # how much of it is free again the next look will tell
        room.offer(55 * MIB, 0)
        await third
        return told

    assert asyncio.run(reserve()) == ["first begins", "second: -7", "third begins"]
    assert room.used == 0


async def _roomy() -> str:
    await make_room(0)  # nothing to be counted
    await make_room(10)
    return "counted" if has_room() else "by nobody"


async def _in_thread() -> str:
    return await beside(lambda: "beside")


async def _at_bench() -> str:
    async with on_bench():
        return "at the bench"


@pytest.mark.parametrize(
    ("work", "told"),
    [(_roomy, "counted"), (_in_thread, "beside"), (_at_bench, "at the bench")],
    ids=["counted", "beside", "at the bench"],
)
def test_what_has_to_be_counted_ends_the_first_step(work: Any, told: str) -> None:
    async def two_steps() -> None:
        room = Room()
        begun = work()
        awaited = first_step(begun)
        assert awaited is COUNTED and not room.used and not room.benches[False].locked()
        with working(Ticket(room, trusted=False)):
            assert await resumed(begun, awaited) == told

    asyncio.run(two_steps())


def test_a_task_that_was_begun_in_a_first_step_is_none() -> None:
    async def inner() -> str:
        await asyncio.sleep(0)
        return await _roomy()

    async def outer() -> str:
        return await asyncio.create_task(inner())

    async def two_steps() -> None:
        begun = outer()
        assert await resumed(begun, first_step(begun)) == "by nobody"

    asyncio.run(two_steps())


def test_a_request_that_reserves_twice_waits_for_nobody_but_others() -> None:
    room = Room()
    room.offer(80 * MIB, 0)

    async def reserve() -> None:
        with working(Ticket(room, trusted=True)):
            await make_room(47 * MIB)
            room.offer(20 * MIB, 0)
            await make_room(20 * MIB)
            room.offer(0, 0)
            with pytest.raises(RpcError, match="about 1 MiB"):
                await make_room(MIB)

    asyncio.run(reserve())
    assert room.used == 0


def test_a_request_is_read_as_far_as_there_is_memory_for_it() -> None:
    room = Room()
    assert not room.refuses(32 * MIB, trusted=True)
    room.offer(20 * MIB, 8 * MIB)
    assert not room.refuses(4 * MIB, trusted=True) and room.refuses(5 * MIB, trusted=True)
    room.offer(0, 8 * MIB)
    assert not room.refuses(MIB, trusted=True) and room.refuses(2 * MIB, trusted=True)
    room.change(ROOM_BYTES, trusted=True)
    assert room.refuses(1, trusted=True)


def test_strangers_larger_answers_are_made_one_after_the_other_and_users_beside_them() -> None:
    room, at_work = Room(), {True: 0, False: 0}
    seen: list[tuple[int, int]] = []

    async def one(*, trusted: bool) -> None:
        with working(Ticket(room, trusted=trusted)):
            async with on_bench():
                at_work[trusted] += 1
                for _ in range(3):
                    seen.append((at_work[True], at_work[False]))
                    await asyncio.sleep(0)
                at_work[trusted] -= 1
            await beside(lambda: None)  # the bench is free again

    async def all_at_once() -> None:
        await asyncio.gather(*(one(trusted=n % 4 == 0) for n in range(12)))

    asyncio.run(all_at_once())
    assert len(seen) == 36 and max(users for users, _ in seen) == max(strangers for _, strangers in seen) == 1
    assert (1, 1) in seen


def test_work_whose_client_is_gone_keeps_its_place_to_its_end() -> None:
    room, may_end = Room(), threading.Event()
    order: list[str] = []

    def long() -> None:
        may_end.wait(10)
        order.append("first")

    async def one(work: str) -> None:
        with working(Ticket(room, trusted=True)):
            await beside(long if work == "long" else lambda: order.append("second"))

    async def both() -> None:
        first = asyncio.create_task(one("long"))
        await asyncio.sleep(0)
        second = asyncio.create_task(one("short"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        await asyncio.sleep(0.05)
        assert not order and first.cancelled()
        may_end.set()
        await second

    asyncio.run(both())
    assert order == ["first", "second"]


def test_threads_take_shorter_turns_while_one_works_beside_the_loop() -> None:
    usual, room = sys.getswitchinterval(), Room()
    seen: list[float] = []

    async def one(*, trusted: bool) -> None:
        with working(Ticket(room, trusted=trusted)):
            await beside(lambda: seen.append(sys.getswitchinterval()))

    async def both() -> None:
        await asyncio.gather(one(trusted=True), one(trusted=False))

    asyncio.run(both())
    assert seen == [pytest.approx(QUICK_TURN_S)] * 2 and sys.getswitchinterval() == usual > QUICK_TURN_S


def test_an_error_beside_the_loop_is_the_callers() -> None:
    def wrong() -> None:
        raise RpcError(-1, "no")

    async def ask() -> None:
        with working(Ticket(Room(), trusted=True)):
            with pytest.raises(RpcError, match="no"):
                await beside(wrong)
            await beside(lambda: None)

    asyncio.run(ask())


def test_the_collector_rests_while_large_ones_are_made() -> None:
    room, may_end = Room(), threading.Event()
    seen: list[bool] = []

    async def work(ticket: Ticket) -> None:
        with working(ticket):
            await beside(lambda: may_end.wait(10))

    async def ask() -> None:
        small, large, granted = (Ticket(room, trusted=True) for _ in range(3))
        small.hold(MANY_OBJECTS_BYTES)
        seen.append(gc.isenabled())
        large.hold(MANY_OBJECTS_BYTES + 1)
        await room.reserve(MANY_OBJECTS_BYTES + 1, granted)
        seen.append(gc.isenabled())
        for ticket in (small, large, large):
            ticket.close()
        seen.append(gc.isenabled())  # there is one more
        task = asyncio.create_task(work(granted))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        seen.append(gc.isenabled())  # a thread works for it
        may_end.set()
        await until(gc.isenabled)
        seen.append(gc.isenabled())

    asyncio.run(ask())
    assert seen == [True, False, False, False, True]
