"""What an HTTP request is answered with: a reply, or the work that makes one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, NamedTuple

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
