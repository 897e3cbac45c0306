"""Which ways through a NAT the options allow, and what becomes of the addresses found."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from btcnode.protocol.events import LocalAddress

if TYPE_CHECKING:
    from btcnode.net.nat.errors import Way
    from btcnode.net.nat.traversal import NatTraversal
    from btcnode.net.reactor import Reactor
    from btcnode.settings.settings import Settings
    from btcnode.wire.netaddr import NetAddress


def nat_by_default(settings: Settings) -> bool:
    """Whether anybody outside shall reach us: listening, beyond loopback, on a network that others share."""
    if not settings.connections.listen or settings.network.chain == "regtest" or settings.proxies.has_proxy:
        return False
    hosts = [ip_address(bind.host) for bind in settings.connections.bind if not bind.onion]
    return not hosts or any(not host.is_loopback for host in hosts)


def nat_ways(settings: Settings) -> list[Way]:
    """The allowed ways in the order in which they are tried."""
    default = nat_by_default(settings)

    def allowed(option: bool | None) -> bool:
        return default if option is None else option and settings.connections.listen

    connections = settings.connections
    ways: list[Way] = []
    stuns = allowed(connections.stun) and settings.proxies.plan.name is None  # asks a server by name, past the proxy
    if not (allowed(connections.upnp) or allowed(connections.natpmp) or stuns):
        return ways
    from btcnode.net.nat.helper_ways import StunWay, UpnpWay  # a node that nobody reaches through a NAT does without
    from btcnode.net.nat.portmap import PortMapper

    if allowed(settings.connections.upnp):
        ways.append(UpnpWay())
    if allowed(settings.connections.natpmp):
        ways.append(PortMapper())
    if stuns:
        servers = (f"{server.host}:{server.port}" for server in settings.connections.stunserver)
        ways.append(StunWay(tuple(servers)))
    return ways


def start_nat(settings: Settings, reactor: Reactor) -> NatTraversal | None:
    """Begin to look for a way to the port that the reactor listens at; None when there is nothing to do."""
    port = next((address.port for address in reactor.bound if not address.is_local or not any(address.raw)), None)
    ways = nat_ways(settings)
    if port is None or not ways:
        return None
    from btcnode.net.nat.helper_ways import StunWay
    from btcnode.net.nat.traversal import NatTraversal

    def found(address: NetAddress, way: str) -> None:
        # STUN tells an address without a promise that the port is open: no better than what peers see
        reactor.feed(LocalAddress(address, "seen" if way == StunWay.name else "mapped"))

    traversal = NatTraversal(ways, port, found)
    traversal.start()
    return traversal
