"""Question and answer over UDP with one server: bounded in time, in datagrams and in bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from btcnode.net.nat.errors import NatError

T = TypeVar("T")

TRIES = 3
ANSWER_TIMEOUT = 1.0  # seconds for each try
MAX_WAITING = 8  # datagrams that wait to be read, at most 64 KiB each; more are dropped
MAX_STRANGE = 64  # datagrams that are no answer, before we give up on the server


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | OSError] = asyncio.Queue(MAX_WAITING)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.queue.full():
            self.queue.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError) and not self.queue.full():
            self.queue.put_nowait(exc)


class UdpClient:
    """A socket connected to one server: the kernel drops what comes from anywhere else."""

    def __init__(self, transport: asyncio.DatagramTransport, inbox: _Inbox, timeout: float) -> None:
        self._transport = transport
        self._inbox = inbox
        self._timeout = timeout
        self._strange = 0

    @classmethod
    async def connect(
        cls, server: tuple[Any, ...], local: str | None = None, *, seconds: float = ANSWER_TIMEOUT
    ) -> UdpClient:
        """Connect to ``server``, a socket address; from ``local`` if given. Raises NatError."""
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if local is not None:
                sock.bind((local, 0))
            sock.connect(server)
            transport, inbox = await asyncio.get_running_loop().create_datagram_endpoint(_Inbox, sock=sock)
        except OSError as error:
            sock.close()
            raise NatError(f"cannot reach the gateway: {error.strerror or error}") from None
        return cls(transport, inbox, seconds)

    @property
    def local_host(self) -> str:
        """Our address towards the server."""
        return str(self._transport.get_extra_info("sockname")[0]).split("%")[0]

    async def ask(self, request: bytes, read: Callable[[bytes], T | None]) -> T:
        """Send until ``read`` takes a datagram as the answer; raises NatError (``read``'s own ones too)."""
        for _ in range(TRIES):
            self._transport.sendto(request)
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._answer(read)
            except TimeoutError:
                continue
        raise NatError("the gateway does not answer")

    async def _answer(self, read: Callable[[bytes], T | None]) -> T:
        while True:
            data = await self._inbox.queue.get()
            if isinstance(data, OSError):
                raise NatError(f"the gateway does not answer: {data.strerror or data}")
            answer = read(data)
            if answer is not None:
                return answer
            self._strange += 1
            if self._strange > MAX_STRANGE:
                raise NatError("the gateway answers with something else")

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()
