"""UPnP and STUN as ways through a NAT; the libraries run in a helper process."""

from __future__ import annotations

from typing import Any

from btcnode.errors import DecodeError
from btcnode.net.nat.errors import Mapping, NatError
from btcnode.net.nat.helper import TIMEOUT, call
from btcnode.wire.netaddr import NetAddress

UPNP_LEASE = 2400  # seconds
STUN_INTERVAL = 2400  # seconds after which the address is asked for again (the double, as it is "renewed" at half)


def _address(answer: dict[str, Any], port: int) -> NetAddress:
    try:
        return NetAddress.from_host(str(answer.get("host", "")), port)
    except DecodeError:
        raise NatError("the external address cannot be read") from None


class UpnpWay:
    """A port mapping by UPnP; ``root`` is the address of a device's description, else devices are looked for."""

    name = "UPnP"

    def __init__(self, root: str = "", timeout: float = TIMEOUT) -> None:
        self._root = root
        self._timeout = timeout
        self._port: int | None = None

    async def open(self, port: int) -> list[Mapping]:
        """Map ``port``."""
        answer = await call("upnp-open", str(port), str(UPNP_LEASE), self._root, seconds=self._timeout)
        self._port = port
        return [Mapping(_address(answer, port), UPNP_LEASE)]

    async def close(self) -> None:
        """Remove the mapping."""
        if self._port is not None:
            port, self._port = self._port, None
            await call("upnp-close", str(port), self._root, seconds=self._timeout)


class StunWay:
    """No mapping: the address that a STUN server sees, for those whose port is forwarded by hand or not at all."""

    name = "STUN"

    def __init__(self, servers: tuple[str, ...] = (), timeout: float = TIMEOUT) -> None:
        self._servers = servers
        self._timeout = timeout

    async def open(self, port: int) -> list[Mapping]:
        """Ask for the external address."""
        answer = await call("stun", *self._servers, seconds=self._timeout)
        return [Mapping(_address(answer, port), 2 * STUN_INTERVAL)]

    async def close(self) -> None:
        """Nothing was mapped."""
