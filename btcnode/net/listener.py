"""Listening sockets that take in a few connections at a time, and none while the system has no descriptors left."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

BACKLOG = 128
ACCEPT_BATCH = 4  # connections to one turn of the loop: what is above a limit can close before more come
FULL_PAUSE_S = 0.1
PAUSE_S = 1.0
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("btcnode.net")


class Listener:
    """Listens at one address; ``make_protocol`` gives the protocol of each connection."""

    def __init__(
        self,
        sock: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """``sock`` is bound and listens; begins to accept, as long as there ``has_room``."""
        self.socket = sock
        self._has_room = has_room
        self.pauses = 0  # for want of descriptors
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resumes: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._accept)

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        has_room: Callable[[], bool] = lambda: True,
    ) -> list[Listener]:
        """Listen at each address of a host; raises OSError."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        try:
            for family, _, _, _, address in dict.fromkeys(infos):
                sockets.append(socket.socket(family, socket.SOCK_STREAM))
                _listen(sockets[-1], address)
        except OSError:
            for sock in sockets:
                sock.close()
            raise
        return [cls(sock, make_protocol, has_room) for sock in sockets]

    def close(self) -> None:
        """Accept nothing any more."""
        if self._resumes is not None:
            self._resumes.cancel()
        if self.socket.fileno() >= 0:
            self._loop.remove_reader(self.socket.fileno())
            self.socket.close()

    def _accept(self) -> None:
        for _ in range(ACCEPT_BATCH):
            if not self._has_room():
                self._pause(FULL_PAUSE_S)
                return
            try:
                sock, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    log.warning("Cannot accept a connection: %s", error)
                    return
                if not self.pauses:
                    log.warning("No connections are accepted for a moment: %s", error.strerror)
                self.pauses += 1
                self._pause(PAUSE_S)
                return
            sock.setblocking(False)
            task = self._loop.create_task(self._take(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, sock)
        except OSError as error:
            log.debug("A connection ended as it came: %s", error)
            sock.close()

    def _pause(self, seconds: float) -> None:
        """What waits in the system's queue stays there for a moment; the socket would call on and on otherwise."""
        self._loop.remove_reader(self.socket.fileno())
        self._resumes = self._loop.call_later(seconds, self._loop.add_reader, self.socket.fileno(), self._accept)


def _listen(sock: socket.socket, address: tuple[object, ...]) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    sock.setblocking(False)
    sock.listen(BACKLOG)
