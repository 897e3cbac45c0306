"""I2P for the node: which session a connection goes through, and the loop that accepts connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from btcnode.net.background import Background
from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.sam import PORT, SamError, SamSession
from btcnode.settings.addresses import ProxyAddress
from btcnode.wire.netaddr import NetAddress

MAX_UNUSED_SESSIONS = 10  # transient ones whose connection failed, kept for the next
RETRY_FIRST = RETRY_STEP = 1.0  # seconds
RETRY_LAST = 300.0

Way = tuple[socket.socket, NetAddress | None, SamSession | None]
log = logging.getLogger("btcnode.i2p")


class I2pRouter:
    """The sessions at one SAM bridge: with ``key_file`` one for all, else one for each connection."""

    def __init__(self, bridge: ProxyAddress, key_file: Path | None) -> None:
        self._bridge = bridge
        self.session = SamSession(bridge, key_file) if key_file is not None else None
        self._unused: list[SamSession] = []

    async def connect(
        self, to: NetAddress, *, private: bool
    ) -> tuple[socket.socket, NetAddress | None, SamSession | None]:
        """A socket to ``to``, our address there, and the session that lives for this connection only, if one does.

        ``private``: not under our lasting address. Raises DialError.
        """
        if to.port != PORT:
            log.debug("Error connecting to %s, connection refused due to arbitrary port %d", to, to.port)
            raise DialError("connection refused due to arbitrary port")
        own = None
        session = self.session
        if session is None or private:
            session = own = self._unused.pop() if self._unused else SamSession(self._bridge)
        try:
            sock = await session.connect(to)
        except BaseException as error:
            if own is not None:
                if len(self._unused) < MAX_UNUSED_SESSIONS:
                    self._unused.append(own)
                else:
                    own.close()
            if isinstance(error, DialError):
                log.debug("Error connecting to %s: %s", to, error)
            raise
        return sock, session.address, own

    def close(self) -> None:
        """End every session but those of standing connections."""
        for session in (*self._unused, *((self.session,) if self.session is not None else ())):
            session.close()


class I2pListener(Background):
    """Accepts connections one after the other, and tells our address while that works."""

    def __init__(
        self,
        session: SamSession,
        accepted: Callable[[socket.socket, NetAddress, NetAddress], None],
        address_up: Callable[[NetAddress], None],
        address_down: Callable[[NetAddress], None],
    ) -> None:
        """``accepted`` gets a socket, our address and the peer's."""
        super().__init__()
        self._session = session
        self._accepted = accepted
        self._address_up = address_up
        self._address_down = address_down
        self._told: NetAddress | None = None

    async def _run(self) -> None:
        pause, level = RETRY_FIRST, logging.WARNING
        while True:
            try:
                sock = await self._session.listen()
            except DialError as error:
                log.log(level, "Couldn't listen: %s", error)
                level = logging.DEBUG
                self._forget()
                await asyncio.sleep(pause)
                pause = min(pause + RETRY_STEP, RETRY_LAST)
                continue
            level = logging.WARNING
            own = self._session.address
            assert own is not None
            if self._told is None:
                self._told = own
                self._address_up(own)
            try:
                peer = await self._session.accept(sock)
            except BaseException as error:
                sock.close()
                if not isinstance(error, SamError):
                    raise
                log.debug("Error accepting: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause + RETRY_STEP, RETRY_LAST)
                continue
            pause = RETRY_FIRST
            self._accepted(sock, own, peer)

    def _forget(self) -> None:
        if self._told is not None:
            self._address_down(self._told)
            self._told = None
