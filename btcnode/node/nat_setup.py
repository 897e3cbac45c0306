"""Which ways through a NAT the options allow, and what becomes of the addresses found."""

from __future__ import annotations

from ipaddress import ip_address

from btcnode.config import NodeConfig, split_host_port
from btcnode.net.nat.errors import Way
from btcnode.net.nat.helper_ways import StunWay, UpnpWay
from btcnode.net.nat.portmap import PortMapper
from btcnode.net.nat.service import NatService
from btcnode.net.reactor import Reactor
from btcnode.protocol.events import LocalAddress
from btcnode.proxy_options import parse_bind, proxy_plan
from btcnode.wire.netaddr import NetAddress

STUN_PORT = 3478


def nat_by_default(config: NodeConfig) -> bool:
    """Whether anybody outside shall reach us: listening, beyond loopback, on a network that others share."""
    if not config.listens or config.network == "regtest" or config.has_proxy:
        return False
    hosts = [ip_address(host) for text in config.bind for host, _, onion in (parse_bind(text, 0),) if not onion]
    return not hosts or any(not host.is_loopback for host in hosts)


def nat_ways(config: NodeConfig) -> list[Way]:
    """The allowed ways in the order in which they are tried."""
    default = nat_by_default(config)

    def allowed(option: bool | None) -> bool:
        return default if option is None else option and config.listens

    ways: list[Way] = []
    if allowed(config.upnp):
        ways.append(UpnpWay())
    if allowed(config.natpmp):
        ways.append(PortMapper())
    if allowed(config.stun) and proxy_plan(config).name is None:  # it asks a server by name, past the proxy
        servers = (split_host_port(text, STUN_PORT) for text in config.stunserver)
        ways.append(StunWay(tuple(f"{host}:{port}" for host, port in servers)))
    return ways


def start_nat(config: NodeConfig, reactor: Reactor) -> NatService | None:
    """Begin to look for a way to the port that the reactor listens at; None when there is nothing to do."""
    port = next((address.port for address in reactor.bound if not address.is_local or not any(address.raw)), None)
    ways = nat_ways(config)
    if port is None or not ways:
        return None

    def found(address: NetAddress, way: str) -> None:
        # STUN tells an address without a promise that the port is open: no better than what peers see
        reactor.feed(LocalAddress(address, "seen" if way == StunWay.name else "mapped"))

    service = NatService(ways, port, found)
    service.start()
    return service
