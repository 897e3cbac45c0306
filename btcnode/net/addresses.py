"""Socket addresses and texts to ``NetAddress`` and back; name look-ups."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from threading import BoundedSemaphore, Thread
from typing import Any

from btcnode.errors import DecodeError
from btcnode.wire.netaddr import NetAddress

ONION_SUFFIX = ".onion"
LOOKUP_TIMEOUT = 10.0  # seconds
LOOKUPS = 8  # at a time; one whose resolver hangs has its place until it is through
LOOKUP_PAUSE = 0.05  # seconds between two looks for a place
FREE_PORT_TRIES = 20
MAX_LOOKUP_RESULTS = 32  # addresses taken from one name, as Core does for a DNS seed


def from_sockname(sockname: object) -> NetAddress | None:
    """The address of ``socket.getsockname()`` or ``getpeername()``; None for what is not IPv4 or IPv6."""
    if not isinstance(sockname, tuple) or len(sockname) < 2:
        return None
    host, port = sockname[0], sockname[1]
    try:
        return NetAddress.from_host(str(host).split("%")[0], int(port))
    except DecodeError:
        return None


def free_port(hosts: Sequence[str]) -> int:
    """A TCP port that is free now at each of these addresses of this machine; 0 when no common one is found.

    An address at which nothing can be bound (of a family that is not here) does not count.
    """
    for _ in range(FREE_PORT_TRIES if hosts else 0):
        port, taken = 0, False
        with ExitStack() as held:
            for host in hosts:
                try:
                    bound = held.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
                    if bound.family == socket.AF_INET6:
                        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    bound.bind((host, port))
                except OSError as error:
                    taken = taken or (bool(port) and error.errno == errno.EADDRINUSE)
                else:
                    port = port or bound.getsockname()[1]
        if port and not taken:
            return port
    return 0


_places = BoundedSemaphore(LOOKUPS)


async def _resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    """What the system's resolver finds; raises OSError, ValueError.

    In a thread that nobody waits for, neither others that want one nor the end of the process: against a server that
    does not answer the resolver takes its time, and cannot be stopped.
    """
    while not _places.acquire(blocking=False):  # noqa: ASYNC110 - given back by threads
        await asyncio.sleep(LOOKUP_PAUSE)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

    def set_answer(found: list[tuple[Any, ...]], error: Exception | None) -> None:
        if answer.done():  # whoever asked has gone
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: list[tuple[Any, ...]] = []
        problem: Exception | None = None
        try:
            found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            problem = error
        finally:
            _places.release()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_answer, found, problem)

    Thread(target=ask, name="lookup", daemon=True).start()
    return await answer


async def lookup(host: str, port: int) -> list[NetAddress]:
    """Addresses of a host name, in the resolver's order and without repeats; empty when it fails or takes too long.

    What ends like an onion service and is none is not asked for: no resolver knows it, and none should hear of it
    (RFC 7686).
    """
    if host.lower().endswith(ONION_SUFFIX):
        return []
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT):
            infos = await _resolve(host, port)
    except (OSError, TimeoutError, ValueError):  # a name with a NUL, or that cannot be encoded
        return []
    found: dict[NetAddress, None] = {}
    for info in infos:
        address = from_sockname(info[4])
        if address is not None:
            found[address] = None
    return list(found)[:MAX_LOOKUP_RESULTS]
