"""What the options about proxies and listening mean for the sockets: addresses instead of names, places to listen."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError
from btcnode.net.addresses import lookup
from btcnode.net.proxy.dialer import Dialer
from btcnode.protocol.connections.outbound_choice import BAD_PORTS
from btcnode.protocol.events import LocalAddress, LocalAddressGone, NetworkReachable
from btcnode.record import record, replace
from btcnode.settings.addresses import ProxyAddress, ProxyPlan
from btcnode.settings.permissions import Permission
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

if TYPE_CHECKING:
    from btcnode.net.proxy.i2p import I2pListener
    from btcnode.net.proxy.tor_control import TorController
    from btcnode.net.reactor import Reactor
    from btcnode.settings.groups.connections import ConnectionSettings
    from btcnode.settings.settings import Settings

_ROUTES = ("ipv4", "ipv6", "onion", "cjdns", "i2p", "name")


async def make_dialer(settings: Settings) -> Dialer:
    """The ways out, with the names of proxies looked up; raises ConfigError."""
    plan = settings.proxies.plan
    known: dict[ProxyAddress, ProxyAddress] = {}
    for route in _ROUTES:
        proxy: ProxyAddress | None = getattr(plan, route)
        if proxy is not None and proxy not in known:
            flag = (
                "i2psam"
                if route == "i2p"
                else "onion"
                if route == "onion" and settings.proxies.onion is not None
                else "proxy"
            )
            known[proxy] = await resolve(proxy, flag, allowed=settings.connections.dns)
    routes = {route: known[proxy] for route in _ROUTES if (proxy := getattr(plan, route)) is not None}
    key_file = None
    if settings.proxies.i2pacceptincoming and settings.proxies.plan.i2p is not None:
        from btcnode.net.proxy.sam import KEY_FILE  # this and the next two: most nodes have no such network

        key_file = settings.net_dir / KEY_FILE
    return Dialer(ProxyPlan(**routes), connect_timeout=settings.connections.timeout_ms / 1000, i2p_key_file=key_file)


async def resolve(service: ProxyAddress, flag: str, *, allowed: bool) -> ProxyAddress:
    """The service with an address for its name; raises ConfigError."""
    if service.path:
        return service
    try:
        ip_address(service.host)
    except ValueError:
        found = await lookup(service.host, service.port) if allowed else []
        if not found:
            raise ConfigError(f"Invalid -{flag} address or hostname: '{service}'") from None
        return replace(service, host=found[0].host)
    return service


@record
class Listening:
    """Where to listen: for peers and for Tor. ``chosen``: the user named addresses."""

    binds: tuple[tuple[str, int], ...]
    onion: tuple[tuple[str, int], ...]
    chosen: bool


def listening(settings: ConnectionSettings) -> Listening:
    """The places to listen at, as Core derives them; raises ConfigError for one that is named twice."""
    port = settings.port
    binds = tuple((bind.host, bind.port_or(port)) for bind in settings.bind if not bind.onion)
    onion = tuple((bind.host, bind.port_or(port)) for bind in settings.bind if bind.onion)
    seen: set[tuple[str, int]] = set()
    for place in (*((white.address.host, white.address.port) for white in settings.whitebind), *binds, *onion):
        key = str(ip_address(place[0])), place[1]
        if key in seen and key[1]:
            host = f"[{key[0]}]" if ":" in key[0] else key[0]
            raise ConfigError(
                f"Duplicate binding configuration for address {host}:{key[1]}."
                " Please check your -bind, -bind=...=onion and -whitebind settings."
            )
        seen.add(key)
    if not binds and not onion and port:  # port 0 has no neighbour
        onion = (("127.0.0.1", port + 1),)
    chosen = bool(settings.bind or settings.whitebind)
    return Listening(binds if chosen else (("0.0.0.0", port), ("::", port)), onion, chosen)


def listen_port(settings: ConnectionSettings) -> int:
    """The port that others reach us at, unless an address says another one: as Core finds it."""
    for bind in settings.bind:
        if bind.port and not bind.onion:
            return bind.port
    for white in settings.whitebind:
        if not white.permissions & Permission.NOBAN:
            return white.address.port
    return settings.port


def listening_warnings(settings: Settings) -> list[str]:
    """Places to listen at that are hardly wanted, in Core's words."""
    connections = settings.connections
    asked = [("-bind", bind.port or 0) for bind in connections.bind if not bind.onion]
    if not connections.bind and not connections.whitebind and connections.port != settings.network.p2p_port:
        asked.append(("-port", connections.port))
    found = [
        f'{flag} request to listen on port {port}. This port is considered "bad" and thus it is unlikely that any peer'
        " will connect to it. See doc/p2p-bad-ports.md for details and a full list."
        for flag, port in asked
        if port in BAD_PORTS
    ]
    onion = [str(ProxyAddress(bind.host, bind.port_or(0))) for bind in connections.bind if bind.onion]
    if settings.proxies.listenonion and len(onion) > 1:
        found.append(
            f"More than one onion bind address is provided. Using {onion[0]} for the automatically created Tor onion"
            " service."
        )
    return found


def own_addresses(settings: Settings) -> list[LocalAddress]:
    """What is told of ourselves from the start: by the user, and by the interfaces if we listen at all of them.

    Addresses in networks that we do not reach are left out.
    """
    connections = settings.connections
    port = listen_port(connections)
    found = [
        LocalAddress(NetAddress.from_host(own.host, port if own.port is None else own.port), "user")
        for own in connections.externalip
    ]
    places = listening(connections)
    hosts = [host for host, _ in places.binds] + [white.address.host for white in connections.whitebind]
    if connections.listen and connections.discover and any(host in ("0.0.0.0", "::") for host in hosts):
        from btcnode.net.interfaces import interface_addresses

        found += [LocalAddress(address, "interface") for address in interface_addresses(port)]
    if settings.proxies.cjdnsreachable:
        found = [LocalAddress(item.address.as_cjdns(), item.source) for item in found]
    # as Core, which at this time has not looked whether there is a way into I2P
    usable = {*settings.proxies.reachable_networks, *({"i2p"} & settings.proxies.allowed_networks)}
    return [item for item in found if NETWORK_NAMES[item.address.network] in usable]


class Anonymity:
    """What makes the node reachable through Tor and I2P, as far as the options ask for it."""

    def __init__(self, settings: Settings, reactor: Reactor, default_port: int) -> None:
        self._settings = settings
        self._reactor = reactor
        self._tor = (
            self._make_tor(default_port)
            if settings.proxies.listenonion and (reactor.onion_bound or reactor.bound)
            else None
        )
        router = reactor.dialer.i2p
        self._i2p: I2pListener | None = None
        if router is not None and router.session is not None:
            from btcnode.net.proxy.i2p import I2pListener

            self._i2p = I2pListener(router.session, reactor.accept_through, self._up, self._down)

    def _make_tor(self, default_port: int) -> TorController:
        from btcnode.net.proxy import tor_control

        settings, reactor = self._settings, self._reactor
        target = (reactor.onion_bound or reactor.bound)[0]
        if not any(target.raw):  # any address: Tor needs one
            target = NetAddress.from_host("::1" if target.network is Network.IPV6 else "127.0.0.1", target.port)
        plan = tor_control.TorPlan(
            control=settings.proxies.torcontrol,
            target=str(target),
            virtual_port=default_port,
            key_file=settings.net_dir / tor_control.KEY_FILE,
            password=settings.proxies.torpassword,
            learn_proxy=settings.proxies.onion is None,
        )
        return tor_control.TorController(
            plan, found_proxy=self._found_proxy, service_up=self._up, service_down=self._down
        )

    def start(self) -> None:
        """Begin."""
        if self._tor is not None:
            self._tor.start()
        if self._i2p is not None:
            self._i2p.start()

    async def close(self) -> None:
        """End it."""
        if self._tor is not None:
            await self._tor.close()
        if self._i2p is not None:
            await self._i2p.close()

    def _found_proxy(self, proxy: ProxyAddress) -> None:
        self._reactor.dialer.set_onion_proxy(proxy)
        if "onion" in self._settings.proxies.allowed_networks:
            self._reactor.feed(NetworkReachable("onion"))

    def _up(self, address: NetAddress) -> None:
        self._reactor.feed(LocalAddress(address, "user"))

    def _down(self, address: NetAddress) -> None:
        self._reactor.feed(LocalAddressGone(address))
