"""Awaiting work that goes on when whoever awaits it is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(work: asyncio.Future[T]) -> T:
    """The result of ``work``, which a cancellation of this does not reach; raises what it raises.

    What it raises when nobody awaits it any more is for whoever holds it to see, as with ``asyncio.shield`` before
    Python 3.14: since then that one logs it, with a traceback, also where it is seen.
    """
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        work.add_done_callback(_see)
        raise
    return work.result()


def _see(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()
