"""What the options about proxies and listening mean for the sockets: addresses instead of names, places to listen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from btcnode.config import NodeConfig, split_host_port
from btcnode.errors import ConfigError
from btcnode.net.addresses import lookup
from btcnode.net.interfaces import interface_addresses
from btcnode.net.proxy import sam, tor_control
from btcnode.net.proxy.dialer import Dialer
from btcnode.net.proxy.i2p import I2pListener
from btcnode.net.proxy.tor_control import TorController, TorPlan
from btcnode.net.reactor import Reactor
from btcnode.protocol.connections.kinds import Permission
from btcnode.protocol.connections.outbound_choice import BAD_PORTS
from btcnode.protocol.connections.permissions import WhiteBind
from btcnode.protocol.events import LocalAddress, LocalAddressGone, NetworkReachable
from btcnode.proxy_options import (
    TOR_CONTROL_PORT,
    ProxyAddress,
    ProxyPlan,
    parse_bind,
    parse_service,
    proxy_plan,
)
from btcnode.wire.netaddr import NetAddress, Network

_ROUTES = ("ipv4", "ipv6", "onion", "cjdns", "i2p", "name")


async def make_dialer(config: NodeConfig) -> Dialer:
    """The ways out, with the names of proxies looked up; raises ConfigError."""
    plan = proxy_plan(config)
    known: dict[ProxyAddress, ProxyAddress] = {}
    for route in _ROUTES:
        proxy: ProxyAddress | None = getattr(plan, route)
        if proxy is not None and proxy not in known:
            flag = "i2psam" if route == "i2p" else "onion" if route == "onion" and config.onion else "proxy"
            known[proxy] = await resolve(proxy, flag, allowed=config.dns)
    routes = {route: known[proxy] for route in _ROUTES if (proxy := getattr(plan, route)) is not None}
    key_file = config.net_dir / sam.KEY_FILE if config.accepts_i2p else None
    return Dialer(ProxyPlan(**routes), connect_timeout=config.timeout / 1000, i2p_key_file=key_file)


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


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen: for peers and for Tor. ``chosen``: the user named addresses; ``onion_chosen``: for Tor too."""

    binds: tuple[tuple[str, int], ...]
    onion: tuple[tuple[str, int], ...]
    chosen: bool
    onion_chosen: bool

    @property
    def onion_target(self) -> tuple[str, int]:
        """Where Tor shall lead our onion service."""
        return (self.onion or self.binds)[0]


def listening(config: NodeConfig, default_port: int, white: tuple[WhiteBind, ...]) -> Listening:
    """The places to listen at, as Core derives them; raises ConfigError for one that is named twice."""
    port = default_port if config.port is None else config.port
    places = [parse_bind(text, port) for text in config.bind]
    binds = tuple((host, number) for host, number, onion in places if not onion)
    onion = tuple((host, number) for host, number, is_onion in places if is_onion)
    seen: set[tuple[str, int]] = set()
    for place in (*((bind.address.host, bind.address.port) for bind in white), *binds, *onion):
        key = str(ip_address(place[0])), place[1]
        if key in seen and key[1]:
            host = f"[{key[0]}]" if ":" in key[0] else key[0]
            raise ConfigError(
                f"Duplicate binding configuration for address {host}:{key[1]}."
                " Please check your -bind, -bind=...=onion and -whitebind settings."
            )
        seen.add(key)
    onion_chosen = bool(onion)
    if not binds and not onion and port:  # port 0 has no neighbour
        onion = (("127.0.0.1", port + 1),)
    chosen = bool(config.bind or config.whitebind)
    return Listening(binds if chosen else (("0.0.0.0", port), ("::", port)), onion, chosen, onion_chosen)


def listen_port(config: NodeConfig, default_port: int, white: tuple[WhiteBind, ...]) -> int:
    """The port that others reach us at, unless an address says another one: as Core finds it."""
    for text in config.bind:
        _, port, onion = parse_bind(text, 0)
        if port and not onion:
            return port
    for bind in white:
        if not bind.permissions & Permission.NOBAN:
            return bind.address.port
    return default_port if config.port is None else config.port


def listening_warnings(config: NodeConfig) -> list[str]:
    """Places to listen at that are hardly wanted, in Core's words; raises ConfigError."""
    found = []
    places = [parse_bind(text, 0) for text in config.bind]
    asked = [("-bind", port) for _, port, onion in places if not onion]
    if not config.bind and not config.whitebind and config.port is not None:
        asked.append(("-port", config.port))
    found += [
        f'{flag} request to listen on port {port}. This port is considered "bad" and thus it is unlikely that any peer'
        " will connect to it. See doc/p2p-bad-ports.md for details and a full list."
        for flag, port in asked
        if port in BAD_PORTS
    ]
    onion = [str(ProxyAddress(host, port)) for host, port, is_onion in places if is_onion]
    if config.listens_onion and len(onion) > 1:
        found.append(
            f"More than one onion bind address is provided. Using {onion[0]} for the automatically created Tor onion"
            " service."
        )
    return found


def own_addresses(config: NodeConfig, default_port: int, white: tuple[WhiteBind, ...]) -> list[LocalAddress]:
    """What is told of ourselves from the start: by the user, and by the interfaces if we listen at all of them."""
    port = listen_port(config, default_port, white)
    found = []
    for text in config.externalip:
        host, number = split_host_port(text, port)
        found.append(LocalAddress(NetAddress.from_host(host, number), "user"))
    places = listening(config, default_port, white)
    hosts = [host for host, _ in places.binds] + [bind.address.host for bind in white]
    if config.listens and config.discovers and any(host in ("0.0.0.0", "::") for host in hosts):
        found += [LocalAddress(address, "interface") for address in interface_addresses(port)]
    if config.cjdnsreachable:
        found = [LocalAddress(item.address.as_cjdns(), item.source) for item in found]
    return found


class Anonymity:
    """What makes the node reachable through Tor and I2P, as far as the options ask for it."""

    def __init__(self, config: NodeConfig, reactor: Reactor, default_port: int) -> None:
        self._config = config
        self._reactor = reactor
        self._tor = (
            self._make_tor(default_port) if config.listens_onion and (reactor.onion_bound or reactor.bound) else None
        )
        router = reactor.dialer.i2p
        self._i2p = (
            I2pListener(router.session, reactor.accept_through, self._up, self._down)
            if router is not None and router.session is not None
            else None
        )

    def _make_tor(self, default_port: int) -> TorController:
        config, reactor = self._config, self._reactor
        target = (reactor.onion_bound or reactor.bound)[0]
        if not any(target.raw):  # any address: Tor needs one
            target = NetAddress.from_host("::1" if target.network is Network.IPV6 else "127.0.0.1", target.port)
        plan = TorPlan(
            control=parse_service(config.torcontrol, "torcontrol", TOR_CONTROL_PORT),
            target=str(target),
            virtual_port=default_port,
            key_file=config.net_dir / tor_control.KEY_FILE,
            password=config.torpassword,
            learn_proxy=not config.onion,
        )
        return TorController(plan, found_proxy=self._found_proxy, service_up=self._up, service_down=self._down)

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
        if "onion" in self._config.allowed_networks:
            self._reactor.feed(NetworkReachable("onion"))

    def _up(self, address: NetAddress) -> None:
        self._reactor.feed(LocalAddress(address, "user"))

    def _down(self, address: NetAddress) -> None:
        self._reactor.feed(LocalAddressGone(address))
