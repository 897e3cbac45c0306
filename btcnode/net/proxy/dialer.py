"""Which way a connection takes: straight, through a SOCKS5 proxy, or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import NamedTuple, Protocol

from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.socks5 import CredentialsGenerator, negotiate
from btcnode.proxy_options import ProxyAddress, ProxyPlan
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

PREFIX_SIZE = 8  # bytes of the credentials' prefix, as in Core
STRAIGHT = frozenset({Network.IPV4, Network.IPV6, Network.CJDNS})
"""Networks that the operating system routes."""

log = logging.getLogger("btcnode.proxy")


class Closable(Protocol):
    """What lives and ends with a connection."""

    def close(self) -> None:
        """The connection is gone."""


class Opened(NamedTuple):
    """A connected socket; ``local`` is our own address there if the socket does not tell it."""

    sock: socket.socket
    local: NetAddress | None = None
    companion: Closable | None = None


class Dialer:
    """Knows the proxies and opens connections through them. Tor's control port may change the one for onions."""

    def __init__(self, plan: ProxyPlan, *, connect_timeout: float) -> None:
        """``plan`` names addresses, no host names; ``connect_timeout`` in seconds is for reaching a proxy."""
        self.name_proxy = plan.name
        self._proxies = {net: proxy for net, name in NETWORK_NAMES.items() if (proxy := plan.of(name)) is not None}
        self._timeout = connect_timeout
        self._credentials = CredentialsGenerator(os.urandom(PREFIX_SIZE))

    def proxy_of(self, network: Network) -> ProxyAddress | None:
        """The proxy of a network."""
        return self._proxies.get(network)

    def set_onion_proxy(self, proxy: ProxyAddress) -> None:
        """Tor told where its SOCKS5 proxy listens."""
        self._proxies[Network.TORV3] = proxy

    def proxy_for(self, address: NetAddress) -> ProxyAddress | None:
        """The proxy on the way to an address; hosts that only we can reach are reached straight."""
        return self._proxies.get(address.network) if address.is_routable else None

    def private_proxy(self, address: NetAddress) -> ProxyAddress | None:
        """The proxy on the way of a private broadcast, which never goes straight: Tor or I2P."""
        return self._proxies.get(Network.I2P if address.network is Network.I2P else Network.TORV3)

    async def open(self, address: NetAddress, *, private: bool = False) -> Opened | None:
        """A connection to ``address`` through its proxy; None: it is to be reached straight. Raises DialError."""
        proxy = self.private_proxy(address) if private else self.proxy_for(address)
        if proxy is None:
            if private or address.network not in STRAIGHT:
                raise DialError(f"no proxy leads to {address}", proxy_failed=True)
            return None
        log.debug("Using proxy: %s to connect to %s", proxy, address)
        return Opened(await self._through(proxy, address.host, address.port))

    async def open_name(self, host: str, port: int) -> Opened:
        """A connection to a host that the proxy looks up; raises DialError."""
        if self.name_proxy is None:
            raise DialError("there is no proxy for names", proxy_failed=True)
        return Opened(await self._through(self.name_proxy, host, port))

    async def _through(self, proxy: ProxyAddress, host: str, port: int) -> socket.socket:
        sock = await reach(proxy, self._timeout)
        credentials = self._credentials.next() if proxy.randomize else None
        try:
            await negotiate(sock, host, port, credentials)
        except BaseException:
            sock.close()
            raise
        return sock


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
