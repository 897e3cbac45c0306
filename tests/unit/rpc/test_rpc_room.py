"""Room for answers: what is larger than the memory that a container leaves is refused, not waited for."""

from __future__ import annotations

import asyncio

import pytest

from btcnode.rpc.errors import RpcError
from btcnode.rpc.room import ROOM_BYTES, Room, Ticket, beside, make_room, on_bench, working

MIB = 1 << 20


def test_one_answer_of_any_size_is_possible_where_nothing_ends_the_node() -> None:
    room = Room()

    async def reserve() -> None:
        await room.reserve(100 * ROOM_BYTES, Ticket(room, trusted=True))

    asyncio.run(reserve())
    assert room.used == 100 * ROOM_BYTES


def test_an_answer_that_memory_does_not_suffice_for_is_refused() -> None:
    room = Room()
    room.largest = 80 * MIB

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
