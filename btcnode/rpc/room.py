"""Room in memory for all that HTTP clients make the node hold: one budget in bytes over all connections.

Counted are requests while they are received, what is held for requests in work, and answers until they are sent. What
a large answer needs before it is bytes (a verbose block is some hundred thousand Python objects) its handler reserves
with ``make_room`` and waits for, as long as there is not enough. Strangers, who have shown no password (REST), may take
half of all room, so that users always find some. Whoever finds nobody else with a large answer gets what he asks for:
one is always possible, however large, unless the node would have to end for it: under a container's limit what is
larger than the memory left (``Room.largest``) is refused, and large requests are read as far as there is memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from btcnode.observe.garbage import GarbageRest
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.places import Place
from btcnode.rpc.reply import until_counted
from btcnode.shielding import shielded
from btcnode.side_processes import SideProcesses, Work
from btcnode.tuples import NamedTuple

M = TypeVar("M")
T = TypeVar("T")

ELSEWHERE_BYTES = 50_000  # of a block, which takes ten milliseconds: it is handed over in half of one
SLICE_MONO = 0.005  # seconds of a request's work on the loop between two turns of everybody else
ROOM_BYTES = 256 * 1024 * 1024
VERBOSE_FACTOR = 66  # memory of a block as JSON while it is made, to its bytes: small outputs 65, 110 at worst
REQUEST_FACTOR = 5  # of a request while it is read, a long string with its copies, to its bytes
HEX_FACTOR = 6  # of bytes as hex, with the copies on the way
MEMPOOL_ENTRY_BYTES = 6000  # of an entry of the mempool as JSON while it is made
TXID_BYTES = 350  # of a txid as JSON
QUICK_TURN_S = 0.002
MANY_OBJECTS_BYTES = 2_000_000  # of a request or an answer as objects: tens of thousands

_garbage = GarbageRest()


class _Switching:
    """Has Python's threads take shorter turns while one works beside the loop.

    Whatever the loop asks the system for costs it the interpreter, and it waits for the other thread's turn to end:
    with the usual 5 ms a new connection, which takes half a dozen such questions, waited for longer than its answer.
    Not always, since a thread that works beside a busy loop comes to less the shorter its turns are.
    """

    def __init__(self) -> None:
        self._at_work = 0
        self._usual = 0.0

    def begin(self) -> None:
        """A thread begins."""
        if not self._at_work:
            self._usual = sys.getswitchinterval()
            sys.setswitchinterval(QUICK_TURN_S)
        self._at_work += 1

    def end(self) -> None:
        """It has ended."""
        self._at_work -= 1
        if not self._at_work:
            sys.setswitchinterval(self._usual)


_switching = _Switching()


class _Wish(NamedTuple):
    """What somebody waits for."""

    ticket: Ticket
    size: int
    granted: asyncio.Future[None]
    since_mono: float


class Room:
    """The budget: ``limit`` bytes, of which ``used`` are taken, ``used_by_strangers`` among them."""

    def __init__(self, limit: int = ROOM_BYTES, processes: SideProcesses | None = None) -> None:
        self.limit = limit
        self.processes = processes  # where what is large is done, if there are any
        self.used = 0
        self.used_by_strangers = 0
        self.largest = sys.maxsize  # bytes that one answer may take
        self._free = sys.maxsize  # bytes that were not taken when somebody looked last
        self._granted = 0  # bytes that were granted to answers, which are there already, or not yet
        self._large = 0  # tickets that were granted room
        self._unsent = 0  # bytes of answers that wait to be read
        self._wishes: deque[_Wish] = deque()
        self.benches = asyncio.Lock(), asyncio.Lock()  # where large answers are made: for strangers, for users
        self.desk = asyncio.Lock()  # where users' large requests are read: a block may be among them
        self.lectern = asyncio.Lock()  # where batches are read on the loop: it would be at nothing else with many

    def offer(self, free: int, least: int) -> None:
        """So many bytes are not taken now; one answer of ``least`` is always possible."""
        self._free = max(free, least)
        self.largest = max(free + self._granted, least)
        if self._wishes:
            self._grant()

    def refuses(self, size: int, *, trusted: bool) -> bool:
        """Whether a request of which ``size`` bytes have come is too large: for users, or strangers, or the memory."""
        if REQUEST_FACTOR * size > self.largest:
            return True
        return self.used >= self.limit or (not trusted and self.used_by_strangers >= self.limit // 2)

    @property
    def wanted(self) -> tuple[int, float]:
        """Bytes that are missing for who has waited longest, and since when he waits (monotonic); zeros for nobody."""
        if not self._wishes:
            return 0, 0.0
        wish = self._wishes[0]
        return max(1, self.used + wish.size - self.limit), wish.since_mono

    def change(self, size: int, *, trusted: bool, unsent: bool = False) -> None:
        """Count ``size`` bytes more, or less. ``unsent``: they are of an answer that is ready."""
        self.used += size
        if not trusted:
            self.used_by_strangers += size
        if unsent:
            self._unsent += size
        if size < 0 and self._wishes:
            self._grant()

    def _fits(self, size: int, ticket: Ticket) -> bool:
        if self._granted - ticket.granted + size > self._free:  # what others were granted may not be there yet
            return False
        if not self._large and not self._unsent:
            return True
        if not ticket.trusted and self.used_by_strangers + size > self.limit // 2:
            return False
        return self.used + size <= self.limit

    def _give(self, size: int, ticket: Ticket) -> None:
        self._large += not ticket.granted
        self._granted += size
        ticket.grant(size)
        self.change(size, trusted=ticket.trusted)

    async def reserve(self, size: int, ticket: Ticket) -> None:
        """Wait until there are ``size`` bytes for a ticket. Users come before strangers, each in their order.

        Raises RpcError when there is no memory for so many.
        """
        if size > self.largest - ticket.granted:
            raise self._refusal(size)
        if self._fits(size, ticket) and not any(wish.ticket.trusted or not ticket.trusted for wish in self._wishes):
            self._give(size, ticket)
            return
        wish = _Wish(ticket, size, asyncio.get_running_loop().create_future(), monotonic())
        place = len(self._wishes)
        if ticket.trusted:
            place = sum(other.ticket.trusted for other in self._wishes)
        self._wishes.insert(place, wish)
        try:
            await wish.granted
        except asyncio.CancelledError:
            if wish in self._wishes:
                self._wishes.remove(wish)
            raise

    def _refusal(self, size: int) -> RpcError:
        return RpcError(
            RpcCode.OUT_OF_MEMORY,
            f"Out of memory: the answer takes about {size >> 20} MiB while it is made, {self.largest >> 20} MiB are"
            " left",
        )

    def give_back(self, ticket: Ticket) -> None:
        """A ticket needs nothing any more of what it was granted."""
        if ticket.granted:
            size, ticket.granted = ticket.granted, 0
            self._large -= 1
            self._granted -= size
            self.change(-size, trusted=ticket.trusted)

    def _grant(self) -> None:
        passed: list[_Wish] = []
        while self._wishes:
            wish = self._wishes.popleft()
            if wish.granted.cancelled():
                continue
            if wish.size > self.largest - wish.ticket.granted:  # there is less than when it came
                wish.granted.set_exception(self._refusal(wish.size))
            elif self._fits(wish.size, wish.ticket):
                self._give(wish.size, wish.ticket)
                wish.granted.set_result(None)
            else:
                passed.append(wish)
                if wish.ticket.trusted:  # nobody passes a user
                    break
        self._wishes.extendleft(reversed(passed))


class Ticket:
    """What one request in work holds. ``granted`` bytes were reserved, ``held`` are there in any case.

    While it is much, the garbage collector rests.
    """

    __slots__ = ("_closed", "_rests", "_uses", "granted", "held", "place", "room", "trusted")

    def __init__(self, room: Room, *, trusted: bool, place: Place | None = None) -> None:
        self.room = room
        self.place = place  # among those in work, if it needs one
        self.trusted = trusted
        self.granted = 0
        self.held = 0
        self._rests = False
        self._uses = 1  # until it is closed
        self._closed = False

    def grant(self, size: int) -> None:
        """``size`` bytes more were reserved."""
        self.granted += size
        self._rest_if_large()

    def _rest_if_large(self) -> None:
        if not self._rests and self.held + self.granted > MANY_OBJECTS_BYTES:
            self._rests = True
            _garbage.begin()

    def hold(self, size: int) -> None:
        """Count ``size`` bytes more that are held until the end."""
        self.held += size
        self.room.change(size, trusted=self.trusted)
        self._rest_if_large()

    def close(self) -> None:
        """The request is not in work any more."""
        self.room.give_back(self)
        self.hold(-self.held)
        if not self._closed:
            self._closed = True
            self.leave()

    def use(self) -> None:
        """A thread begins to work for the request, and may do so when it is not in work any more."""
        self._uses += 1

    def leave(self) -> None:
        """The thread has ended."""
        self._uses -= 1
        if not self._uses and self._rests:
            self._rests = False
            _garbage.end()


_ticket: ContextVar[Ticket | None] = ContextVar("ticket", default=None)
_in_first_step: ContextVar[list[bool]] = ContextVar("in_first_step")
_large: ContextVar[bool] = ContextVar("large", default=False)


@contextmanager
def working(ticket: Ticket) -> Iterator[None]:
    """Inside, in this task, ``make_room`` reserves for ``ticket``."""
    token = _ticket.set(ticket)
    try:
        yield
    finally:
        _ticket.reset(token)
        ticket.close()


def first_step(work: Coroutine[Any, Any, Any]) -> Any:
    """Do what of some work can be done at once, before anything is counted for it; returns what it awaits then.

    What asks for room, a thread or a process ends the step: the rest is to be gone on with (``resumed``) as a request
    in work, with a ticket. Raises StopIteration with the result when there is no rest, and what the work raises.
    """
    here = [True]
    token = _in_first_step.set(here)
    try:
        return work.send(None)
    finally:
        here.clear()  # also for tasks that were begun meanwhile
        _in_first_step.reset(token)


async def _own_ticket() -> Ticket | None:
    """The ticket of the request in work, None where nobody counts for it; what was begun without one gets it first."""
    if _in_first_step.get(()):
        await until_counted()
    return _ticket.get()


async def make_room(size: int) -> None:
    """Wait until an answer may take about ``size`` bytes. A request that nobody counts for goes on at once.

    Raises RpcError when there is no memory for it.
    """
    ticket = await _own_ticket() if size > 0 else None
    if ticket is not None:
        await ticket.room.reserve(size, ticket)


def has_room() -> bool:
    """Whether room was made for a large answer."""
    ticket = _ticket.get()
    return ticket is not None and ticket.granted > 0


@asynccontextmanager
async def _alone(place: Callable[[Ticket], asyncio.Lock]) -> AsyncIterator[None]:
    """Inside, nobody else is at that place; a request that nobody counts for needs none."""
    ticket = await _own_ticket()
    if ticket is None:
        yield
        return
    async with place(ticket):
        yield


def at_lectern() -> AbstractAsyncContextManager[None]:
    """Inside, no other request is read on the loop in slices."""
    return _alone(lambda ticket: ticket.room.lectern)


def on_bench() -> AbstractAsyncContextManager[None]:
    """Inside, nobody of the same kind (users, strangers) works on a larger answer: on the loop in slices, or beside it.

    ``beside`` waits for the same bench: not inside.
    """
    return _alone(lambda ticket: ticket.room.benches[ticket.trusted])


async def beside(work: Callable[[], T], *, reading: bool = False) -> T:
    """Run ``work`` in a thread: one piece of users' at a time, and one of strangers'.

    Python runs one thread at a time, and the loop waits for its turn behind every one that is busy: with many of them
    it would hardly come to anything else. Work whose client is gone keeps its place on the bench to its end. Users'
    requests are read (``reading``) while others' answers are made, which may take minutes.
    """
    ticket = await _own_ticket()
    if ticket is None:
        return await asyncio.to_thread(work)
    room, held = ticket.room, [work]
    bench = room.desk if reading and ticket.trusted else room.benches[ticket.trusted]
    del work
    await bench.acquire()
    return await _start(ticket, bench, held)


async def elsewhere(work: Work, *parts: bytes) -> tuple[bytes, ...] | None:
    """What a function of some module makes of bytes, in a process beside the node; one of strangers' at a time.

    None where the caller is to do it: it is little, or there is no process for it, or that has failed.
    """
    ticket = await _own_ticket() if sum(map(len, parts)) >= ELSEWHERE_BYTES else None
    if ticket is None or ticket.room.processes is None:
        return None
    if ticket.trusted:
        return await _elsewhere(ticket.room.processes, work, parts)
    async with ticket.room.benches[False]:
        return await _elsewhere(ticket.room.processes, work, parts)


async def _elsewhere(processes: SideProcesses, work: Work, parts: Sequence[bytes]) -> tuple[bytes, ...] | None:
    answer = processes.submit(work, parts)
    found = None if answer is None else await asyncio.wrap_future(answer)
    return None if found is None else tuple(found)


async def of_a_moment(take: Callable[[], M], work: Callable[[M], T]) -> T:
    """``beside`` for work on what ``take`` finds, which is called on the loop when the bench is free.

    So many who want much of the same moment do not all stop the loop for it, one right after the other.
    """
    ticket = await _own_ticket()
    if ticket is None:
        return await asyncio.to_thread(work, take())
    bench = ticket.room.benches[ticket.trusted]
    await bench.acquire()
    try:
        held: list[Callable[[], T]] = [partial(work, take())]
    except BaseException:
        bench.release()
        raise
    return await _start(ticket, bench, held)


async def _start(ticket: Ticket, bench: asyncio.Lock, held: list[Callable[[], T]]) -> T:
    """Have the only one of ``held`` done in a thread, and then the bench left."""
    ticket.use()
    _switching.begin()

    def ended(done: asyncio.Future[T]) -> None:
        bench.release()
        _switching.end()
        ticket.leave()
        if not done.cancelled():
            done.exception()  # nobody else may be there to hear of it

    # what the work holds is let go of at its end, not when the thread comes to it
    running = asyncio.get_running_loop().run_in_executor(None, copy_context().run, lambda: held.pop()())
    running.add_done_callback(ended)
    return await shielded(running)


@contextmanager
def large_request() -> Iterator[None]:
    """Inside, in this task, ``aside`` does not work on the loop's thread."""
    token = _large.set(True)
    try:
        yield
    finally:
        _large.reset(token)


async def aside(work: Callable[[], T]) -> T:
    """Do ``work``, which reads nothing that changes: beside the loop if the request is a large one, else at once."""
    return await beside(work) if _large.get() else work()


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with a turn for everybody else after some milliseconds: for what has to be done on the loop."""
    begun = monotonic()
    for item in items:
        yield item
        if monotonic() - begun > SLICE_MONO:
            await asyncio.sleep(0)
            begun = monotonic()


def only_waits() -> None:
    """The request in work needs nothing but an event from now on."""
    ticket = _ticket.get()
    if ticket is not None and ticket.place is not None:
        ticket.place.wait()


def keep(size: int) -> None:
    """Part of the answer is bytes now, ``size`` of them; what was reserved to make them is free again."""
    ticket = _ticket.get()
    if ticket is not None:
        ticket.hold(size)
        ticket.room.give_back(ticket)


def forget(size: int) -> None:
    """Bytes that were kept have gone to the client."""
    ticket = _ticket.get()
    if ticket is not None:
        ticket.hold(-size)
