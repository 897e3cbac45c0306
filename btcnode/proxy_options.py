"""Options about proxies and anonymity networks among the node's, and what follows from them together.

Names, defaults, interplay and messages are those of Bitcoin Core 31.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address

from btcnode.errors import ConfigError
from btcnode.option import option
from btcnode.peer_options import PeerOptions, check_peer_options

PROXIES = "Proxies and anonymity networks"
NET_NAMES = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
SOCKS_PORT = 9050
TOR_CONTROL_PORT = 9051
SAM_PORT = 7656
UNIX_PREFIX = "unix:"
MAX_UNIX_PATH = 107  # bytes: what fits into the kernel's structure with a zero behind it

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """Where a proxy listens: host (address or name) and port, or the path of a unix socket.

    ``randomize``: each connection gets credentials of its own, so that Tor leads it over a circuit of its own.
    """

    host: str
    port: int
    path: str = ""
    randomize: bool = False

    def __str__(self) -> str:
        if self.path:
            return UNIX_PREFIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """Which proxy leads where; None: there is none. ``name``: for names, which are then never looked up here."""

    ipv4: ProxyAddress | None = None
    ipv6: ProxyAddress | None = None
    onion: ProxyAddress | None = None
    cjdns: ProxyAddress | None = None
    i2p: ProxyAddress | None = None  # the SAM bridge
    name: ProxyAddress | None = None

    def of(self, network: str) -> ProxyAddress | None:
        """The proxy of a network, by Core's name of it."""
        found: ProxyAddress | None = getattr(self, network)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions(PeerOptions):
    """Part of ``NodeConfig``."""

    proxy: tuple[str, ...] = option(
        "proxy",
        "SOCKS5 proxy for all connections, with =NETWORK behind it for those of ipv4, ipv6, onion or cjdns only.",
        PROXIES,
        (),
        metavar="ADDRESS[:PORT]|unix:PATH[=NETWORK]",
    )
    proxyrandomize: bool = option(
        "proxyrandomize", "New credentials for each connection through a proxy: Tor isolates them.", PROXIES, True
    )
    onion: str | None = option(
        "onion",
        "SOCKS5 proxy for Tor's onion services (default: --proxy; 0: none).",
        PROXIES,
        metavar="ADDRESS[:PORT]|unix:PATH",
    )
    listenonion: bool | None = option(
        "listenonion", "Make an onion service through Tor's control port (default: when listening).", PROXIES
    )
    torcontrol: str = option(
        "torcontrol", "Tor's control port.", PROXIES, f"127.0.0.1:{TOR_CONTROL_PORT}", metavar="ADDRESS[:PORT]"
    )
    torpassword: str = option("torpassword", "Password for it.", PROXIES, "", metavar="TEXT")
    i2psam: str = option("i2psam", "SAM bridge of an I2P router.", PROXIES, "", metavar="ADDRESS[:PORT]")
    i2pacceptincoming: bool | None = option(
        "i2pacceptincoming", "Accept I2P connections (default: when listening).", PROXIES
    )
    cjdnsreachable: bool = option("cjdnsreachable", "Addresses of fc00::/8 lead into CJDNS.", PROXIES, False)
    onlynet: tuple[str, ...] = option(
        "onlynet",
        f"Connect automatically to this network only: {', '.join(NET_NAMES)}.",
        PROXIES,
        (),
        metavar="NET",
    )
    privatebroadcast: bool = option(
        "privatebroadcast",
        "Send own transactions over short connections through Tor or I2P instead of announcing them.",
        PROXIES,
        False,
    )

    @property
    def has_proxy(self) -> bool:
        """Whether the last ``proxy`` asks for one: then the node keeps to itself unless it is told otherwise."""
        return bool(self.proxy) and self.proxy[-1] not in ("", "0")

    @property
    def allowed_networks(self) -> frozenset[str]:
        """What ``onlynet`` leaves of the networks."""
        return frozenset(map(canonical_net, self.onlynet)) if self.onlynet else frozenset(NET_NAMES)

    @property
    def reachable_networks(self) -> tuple[str, ...]:
        """Networks that automatic connections may use from the start, in Core's order."""
        plan = proxy_plan(self)
        missing = {
            name
            for name, there in (("onion", plan.onion), ("i2p", plan.i2p), ("cjdns", self.cjdnsreachable))
            if not there
        }
        allowed = self.allowed_networks - missing
        return tuple(name for name in NET_NAMES if name in allowed)


def split_port(text: str) -> tuple[str, int] | None:
    """``host``, ``host:port`` or ``[v6]:port`` taken apart as Core does; port 0 when there is none, None when wrong."""
    place = text.rfind(":")
    bracketed = text.startswith("[") and text[place - 1 : place] == "]"
    port = 0
    if place == 0 or (place > 0 and (bracketed or ":" not in text[:place])):
        digits = text[place + 1 :]
        port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
        if not 0 < port <= 0xFFFF:
            return None
        text = text[:place]
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return text, port


def canonical_net(name: str) -> str:
    """Core's name of a network; raises ConfigError for an unknown one."""
    if name.lower() not in NET_NAMES:
        raise ConfigError(f"Unknown network specified in -onlynet: '{name}'")
    return name.lower()


def parse_service(text: str, flag: str, default_port: int) -> ProxyAddress:
    """The address of a service on this host or near it; raises ConfigError."""
    parts = split_port(text)
    if parts is None:
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    host, port = parts
    if not _is_host(host):
        raise ConfigError(f"Invalid -{flag} address or hostname: '{text}'")
    return ProxyAddress(host, port or default_port)


def parse_bind(text: str, default_port: int) -> tuple[str, int, bool]:
    """Host, port and whether it is for Tor (``=onion`` behind it, by default one port higher); raises ConfigError."""
    place, equals, net = text.rpartition("=") if "=" in text else (text, "", "")
    parts = split_port(place)
    if parts is None:
        raise ConfigError(f"Invalid port specified in -bind: '{text}'")
    try:
        ip_address(parts[0])
    except ValueError:
        net = "?"
    if net not in ("", "onion") or (equals and not net):
        raise ConfigError(f"Cannot resolve -bind address: '{text}'")
    onion = net == "onion"
    return parts[0], parts[1] or (default_port + 1 if onion and default_port else default_port), onion


def _is_host(text: str) -> bool:
    """An address, or a name that may be one (looked up when the node starts)."""
    try:
        address = ip_address(text)
    except ValueError:
        labels = text.removesuffix(".").split(".")
        return len(text) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    return any(address.packed) and not (isinstance(address, IPv6Address) and address.scope_id)


def _parse_proxy(text: str, flag: str, randomize: bool) -> ProxyAddress:
    """A SOCKS5 proxy; raises ConfigError."""
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path or len(path.encode()) > MAX_UNIX_PATH:
            raise ConfigError(f"Invalid -{flag} address or hostname: '{text}'")
        return ProxyAddress("", 0, path, randomize)
    return replace(parse_service(text, flag, SOCKS_PORT), randomize=randomize)


def proxy_plan(options: ProxyOptions) -> ProxyPlan:
    """The proxies that the options ask for; raises ConfigError."""
    found: dict[str, ProxyAddress | None] = {}
    for value in options.proxy:
        text, equals, net = value.rpartition("=") if "=" in value else (value, "", "")
        if equals and not net:
            raise ConfigError(f"Invalid -proxy address or hostname, ends with '=': '{value}'")
        proxy = None if text in ("", "0") else _parse_proxy(text, "proxy", options.proxyrandomize)
        if not equals:
            found = dict.fromkeys(("ipv4", "ipv6", "name", "cjdns", "onion"), proxy)
        elif net.lower() in ("ipv4", "ipv6"):
            found[net.lower()] = found["name"] = proxy
        elif net.lower() in ("onion", "cjdns"):
            found[net.lower()] = proxy
        else:
            raise ConfigError(f"Unrecognized network in -proxy='{value}': '{net.lower()}'")
    if options.onion:
        off = options.onion == "0"
        found["onion"] = None if off else _parse_proxy(options.onion, "onion", options.proxyrandomize)
    if options.i2psam:
        found["i2p"] = parse_service(options.i2psam, "i2psam", SAM_PORT)
    return ProxyPlan(**found)


def check_proxy_options(options: ProxyOptions, *, listens: bool, automatic: bool) -> None:
    """Raises ConfigError. ``listens``: connections are accepted; ``automatic``: peers are found automatically."""
    check_peer_options(options)
    plan = proxy_plan(options)
    parse_service(options.torcontrol, "torcontrol", TOR_CONTROL_PORT)
    only = options.allowed_networks if options.onlynet else frozenset()
    listens_onion = listens if options.listenonion is None else options.listenonion
    if listens_onion and not listens:
        raise ConfigError("Cannot set -listen=0 together with -listenonion=1")
    if "cjdns" in only and not options.cjdnsreachable:
        raise ConfigError(
            "Outbound connections restricted to CJDNS (-onlynet=cjdns) but -cjdnsreachable is not provided"
        )
    if "onion" in only and options.onion == "0":
        raise ConfigError(
            "Outbound connections restricted to Tor (-onlynet=onion) but the proxy for reaching the Tor network is"
            " explicitly forbidden: -onion=0"
        )
    if "onion" in only and plan.onion is None and not listens_onion:
        raise ConfigError(
            "Outbound connections restricted to Tor (-onlynet=onion) but the proxy for reaching the Tor network is"
            " not provided: none of -proxy, -onion or -listenonion is given"
        )
    if "i2p" in only and plan.i2p is None:
        raise ConfigError("Outbound connections restricted to i2p (-onlynet=i2p) but -i2psam is not provided")
    if options.privatebroadcast:
        _check_private_broadcast(options, plan, listens_onion, automatic)


def _check_private_broadcast(options: ProxyOptions, plan: ProxyPlan, listens_onion: bool, automatic: bool) -> None:
    asks = "Private broadcast of own transactions requested (-privatebroadcast), but "
    allowed = options.allowed_networks
    onion = "onion" in allowed and (plan.onion is not None or listens_onion)
    if not onion and not ("i2p" in allowed and plan.i2p is not None):
        raise ConfigError(f"{asks}none of Tor or I2P networks is reachable")
    if not automatic:
        raise ConfigError(
            f"{asks}-connect is also configured. They are incompatible because the private broadcast needs to open new"
            " connections to randomly chosen Tor or I2P peers. Consider using -maxconnections=0 -addnode=... instead"
        )
