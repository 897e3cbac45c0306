"""Which way a connection takes: straight, through a SOCKS5 proxy, or not at all."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.reach import reach
from btcnode.settings.addresses import ProxyAddress, ProxyPlan
from btcnode.tuples import NamedTuple
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

if TYPE_CHECKING:
    from btcnode.net.proxy.i2p import I2pRouter
    from btcnode.net.proxy.socks5 import CredentialsGenerator

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

    def __init__(self, plan: ProxyPlan, *, connect_timeout: float, i2p_key_file: Path | None = None) -> None:
        """``plan`` names addresses, no host names; ``connect_timeout`` in seconds is for reaching a proxy.

        ``i2p_key_file``: we have a lasting address in I2P, whose key is there.
        """
        self.name_proxy = plan.name
        self._proxies = {net: proxy for net, name in NETWORK_NAMES.items() if (proxy := plan.of(name)) is not None}
        self.i2p: I2pRouter | None = None
        if plan.i2p is not None:
            from btcnode.net.proxy.i2p import I2pRouter  # this and SOCKS5: most nodes have no proxy

            self.i2p = I2pRouter(plan.i2p, i2p_key_file)
        self._timeout = connect_timeout
        self._credentials: CredentialsGenerator | None = None  # made for the first connection through a proxy

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

    def close(self) -> None:
        """End what lasts longer than a connection."""
        if self.i2p is not None:
            self.i2p.close()

    async def open(self, address: NetAddress, *, private: bool = False) -> Opened | None:
        """A connection to ``address`` through its proxy; None: it is to be reached straight. Raises DialError."""
        if address.network is Network.I2P and self.i2p is not None:
            return Opened(*await self.i2p.connect(address, private=private))
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
        from btcnode.net.proxy.socks5 import CredentialsGenerator, negotiate

        sock = await reach(proxy, self._timeout)
        if self._credentials is None:
            self._credentials = CredentialsGenerator(os.urandom(PREFIX_SIZE))
        credentials = self._credentials.next() if proxy.randomize else None
        try:
            await negotiate(sock, host, port, credentials)
        except BaseException:
            sock.close()
            raise
        return sock
