"""What an HTTP request is answered with: a reply, or the work that makes one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

from btcnode.tuples import NamedTuple

T = TypeVar("T")

LogBehind = Callable[[], Awaitable[None] | None]  # what is to be awaited until the log has all, None when it has

RETRY_LATER = b"Retry-After: 1\r\n"


class Reply(NamedTuple):
    """An HTTP status, the body (empty for none) and the header lines that tell its type.

    ``tail`` has what follows ``body``: large pieces that others may hold too, and that are not copied. ``rest`` gives
    what comes behind it of an answer that is too large to be held as a whole.
    """

    status: int
    body: bytes
    headers: bytes = b"Content-Type: application/json\r\n"
    rest: AsyncGenerator[bytes, None] | None = None
    tail: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of ``body`` and ``tail``."""
        return len(self.body) + sum(map(len, self.tail))


class Pending(NamedTuple):
    """A reply that takes a while. ``waits``: it may be given up when the client leaves, and needs nothing meanwhile.

    ``urgent``: it needs no turn. ``in_task``: all of it is done in a task, as its first step may set itself a time.
    """

    work: Coroutine[Any, Any, Reply]
    waits: bool = False
    urgent: bool = False
    in_task: bool = False


class _Counted:
    """What work awaits that wants to be counted before it goes on."""


COUNTED = _Counted()


@coroutine
def until_counted() -> Generator[_Counted, None, None]:
    """End the first step of some work; ``resumed`` it goes on at once."""
    yield COUNTED


@coroutine
def resumed(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """What is left of a coroutine whose first step was done elsewhere, and which has ``awaited`` something there."""
    while True:
        if awaited is COUNTED:
            step = partial(work.send, None)
        else:
            try:
                given = yield awaited
            except BaseException as error:  # it is cancelled, or closed
                step = partial(work.throw, error)
            else:
                step = partial(work.send, given)
        try:
            awaited = step()
        except StopIteration as end:
            result: T = end.value
            return result
