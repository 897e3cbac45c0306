"""Port mappings by PCP, or by NAT-PMP where the gateway knows no better; pinholes for IPv6 by PCP."""

from __future__ import annotations

import os
from typing import Any

from btcnode.net.nat import gateway, pcp
from btcnode.net.nat.errors import Mapping, NatError, UnsupportedVersion
from btcnode.net.nat.udp import ANSWER_TIMEOUT, UdpClient
from btcnode.wire.netaddr import NetAddress, Network

LIFETIME = 2400  # seconds: Core's, twice its period of renewal


class PortMapper:
    """Maps one TCP port at the default gateways.

    ``gateway4`` and ``gateway6`` are socket addresses for tests; otherwise the routing table is read at each renewal,
    as the computer may have moved to another network.
    """

    name = "PCP/NAT-PMP"

    def __init__(self, *, gateway4: tuple[Any, ...] | None = None, timeout: float = ANSWER_TIMEOUT) -> None:
        self._fixed4 = gateway4
        self._timeout = timeout
        self._nonce = os.urandom(pcp.NONCE_SIZE)
        self._open: dict[
            tuple[tuple[Any, ...], str | None], tuple[str, int]
        ] = {}  # (gateway, local) -> (protocol, port)

    async def open(self, port: int) -> list[Mapping]:
        """Map ``port`` for IPv4, and open it for every public IPv6 address."""
        mappings: list[Mapping] = []
        problem = NatError("no default gateway is known")
        for server, local in self._servers():
            try:
                mappings.append(await self._map(server, local, port, LIFETIME))
            except NatError as error:
                problem = error
        if not mappings:
            raise problem
        return mappings

    def _servers(self) -> list[tuple[tuple[Any, ...], str | None]]:
        if self._fixed4 is not None:
            return [(self._fixed4, None)]
        servers: list[tuple[tuple[Any, ...], str | None]] = []
        if (host := gateway.default_gateway4()) is not None:
            servers.append(((host, pcp.PORT), None))
        if (six := gateway.default_gateway6()) is not None:
            server = (six[0], pcp.PORT, *six[1:])
            servers += [(server, local) for local in gateway.public_addresses6()]
        return servers

    async def _map(self, server: tuple[Any, ...], local: str | None, port: int, lifetime: int) -> Mapping:
        client = await UdpClient.connect(server, local, seconds=self._timeout)
        try:
            protocol = "PCP"
            try:
                mapping = await self._pcp(client, port, lifetime)
            except UnsupportedVersion:
                if local is not None:
                    raise
                protocol = "NAT-PMP"
                mapping = await self._natpmp(client, port, lifetime)
        finally:
            client.close()
        self._open[server, local] = (protocol, port)
        return mapping

    async def _pcp(self, client: UdpClient, port: int, lifetime: int) -> Mapping:
        request = pcp.pcp_map_request(self._nonce, client.local_host, port, lifetime)
        return await client.ask(request, lambda data: pcp.read_pcp_map(data, self._nonce, port))

    async def _natpmp(self, client: UdpClient, port: int, lifetime: int) -> Mapping:
        address = await client.ask(pcp.natpmp_address_request(), pcp.read_natpmp_address)
        request = pcp.natpmp_map_request(port, lifetime)
        external, granted = await client.ask(request, lambda data: pcp.read_natpmp_map(data, port))
        return Mapping(NetAddress(Network.IPV4, address, external), granted)

    async def close(self) -> None:
        """Remove the mappings."""
        problem: NatError | None = None
        while self._open:
            (server, local), (protocol, port) = self._open.popitem()
            try:
                client = await UdpClient.connect(server, local, seconds=self._timeout)
                try:
                    if protocol == "PCP":
                        await self._pcp(client, port, 0)
                    else:
                        request = pcp.natpmp_map_request(port, 0)
                        await client.ask(request, lambda data, port=port: pcp.read_natpmp_map(data, port))  # type: ignore[misc]
                finally:
                    client.close()
            except NatError as error:
                problem = error
        if problem is not None:
            raise problem
