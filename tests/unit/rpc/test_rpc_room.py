"""Room for answers: what is larger than the memory that a container leaves is refused, not waited for."""

from __future__ import annotations

import asyncio

import pytest

from btcnode.rpc.errors import RpcError
from btcnode.rpc.room import ROOM_BYTES, Room, Ticket, make_room, working

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
