"""The first step of every way: a socket to the proxy itself."""

from __future__ import annotations

import asyncio
import socket

from btcnode.net.proxy.errors import DialError
from btcnode.settings.addresses import ProxyAddress


async def reach(proxy: ProxyAddress, seconds: float) -> socket.socket:
    """A non-blocking socket connected to a proxy; raises DialError."""
    loop = asyncio.get_running_loop()
    if proxy.path:
        family, target = socket.AF_UNIX, proxy.path
    else:
        family = socket.AF_INET6 if ":" in proxy.host else socket.AF_INET
        target = (proxy.host, proxy.port)  # type: ignore[assignment]
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, target)
    except BaseException as error:
        sock.close()
        if isinstance(error, (OSError, TimeoutError)):
            raise DialError(f"Cannot connect to {proxy}", proxy_failed=True) from None
        raise
    return sock
