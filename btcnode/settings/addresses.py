"""Addresses among the options: hosts, ports, places to listen at, proxies, ranges. Messages are Bitcoin Core's."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from btcnode.errors import ConfigError, DecodeError
from btcnode.record import record, replace
from btcnode.wire.netaddr import NetAddress, Network
from btcnode.wire.subnet import SubNet, ipv4_short, numeric_address

NET_NAMES = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
SOCKS_PORT, TOR_CONTROL_PORT, SAM_PORT, STUN_PORT = 9050, 9051, 7656, 3478
UNIX_PREFIX = "unix:"
I2P_SUFFIX = ".b32.i2p"
ANY_IPV4 = "0.0.0.0"
MAX_UNIX_PATH = 107  # bytes: what fits into the kernel's structure with a zero behind it

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DIGITS = r"[0-9]{1,5}"


@record
class HostPort:
    """A host (address or name) and a TCP port, None where none was named."""

    host: str
    port: int | None


@record
class Bind:
    """A place to listen at; without ``port`` it is the network's, or the next one for Tor (``onion``)."""

    host: str
    port: int | None
    onion: bool

    def port_or(self, default: int) -> int:
        """The port, given the one for peers (0: any free one)."""
        return self.port or (default + 1 if self.onion and default else default)


@record
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


@record
class ProxyChoice:
    """A proxy (None: there shall be none) for ``net``, empty for every network."""

    proxy: ProxyAddress | None
    net: str = ""


@record
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

    @classmethod
    def made_of(
        cls, choices: tuple[ProxyChoice, ...], onion: ProxyChoice | None, i2p: ProxyAddress | None, randomize: bool
    ) -> ProxyPlan:
        """The plan of ``-proxy``, ``-onion``, ``-i2psam`` and ``-proxyrandomize``: the last choice counts."""
        found: dict[str, ProxyAddress | None] = {}
        for choice in choices:
            proxy = choice.proxy and replace(choice.proxy, randomize=randomize)
            nets = ("ipv4", "ipv6", "name", "cjdns", "onion") if not choice.net else (choice.net,)
            found |= dict.fromkeys((*nets, "name") if choice.net in ("ipv4", "ipv6") else nets, proxy)
        if onion is not None:
            found["onion"] = onion.proxy and replace(onion.proxy, randomize=randomize)
        if i2p is not None:
            found["i2p"] = i2p
        return cls(**found)


def split_port(text: str) -> tuple[str, int] | None:
    """``host``, ``host:port`` or ``[v6]:port`` taken apart as Core does; port 0 when there is none, None when wrong."""
    place = text.rfind(":")
    bracketed = text.startswith("[") and text[place - 1 : place] == "]"
    port = 0
    if place == 0 or (place > 0 and (bracketed or ":" not in text[:place])):
        digits = text[place + 1 :]
        port = int(digits) if re.fullmatch(_DIGITS, digits) else 0
        if not 0 < port <= 0xFFFF:
            return None
        text = text[:place]
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return text, port


def split_host_port(text: str, default_port: int) -> tuple[str, int]:
    """``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or a bare IPv6 address; raises ConfigError. Port 0 is one."""
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"Not an address: '{text}'")
        port_text = rest[1:]
        if rest == ":":
            raise ConfigError(f"No port behind the colon: '{text}'")
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        if not port_text:
            raise ConfigError(f"No port behind the colon: '{text}'")
    if not host or any(char.isspace() or char == "\0" for char in host):
        raise ConfigError(f"Not an address: '{text}'")
    if not port_text:
        return host, default_port
    if not re.fullmatch(_DIGITS, port_text) or int(port_text) > 0xFFFF:
        raise ConfigError(f"Invalid port in '{text}'")
    return host, int(port_text)


def literal(host: str, port: int) -> NetAddress | None:
    """The address if ``host`` is one already (``.onion`` and ``.b32.i2p`` included) and no name."""
    try:
        return NetAddress.from_host(host, port)
    except DecodeError:
        return None


def numeric(target: str, default_port: int) -> NetAddress | None:
    """The address of a target that is no name, IPv4 with zeros left out (``127.1``) included; else None."""
    try:
        host, port = split_host_port(target, default_port_of(target, default_port))
    except ConfigError:
        return None
    address = literal(host, port)
    if address is not None or ":" in host:
        return address
    raw = ipv4_short(host)
    return None if raw is None else NetAddress(Network.IPV4, raw, port)


def default_port_of(target: str, default: int) -> int:
    """The port of a target that names none; I2P has no ports, which is port 0."""
    return 0 if target.lower().endswith(I2P_SUFFIX) else default


def parse_target(flag: str, text: str) -> str:
    """A node to connect to, as it was typed: what it names, if anything, shows when it is tried (as in Core)."""
    return text


def parse_server(flag: str, text: str) -> HostPort:
    """A server by address or name; raises ConfigError."""
    host, port = split_host_port(text, STUN_PORT)
    return HostPort(host, port)


def parse_port(flag: str, text: str) -> int:
    """A port as Core takes it; 0, which Core refuses, is any free one. Raises ConfigError."""
    if text == "0":
        return 0
    parts = split_port(f":{text}")
    if parts is None:
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    return parts[1]


def parse_bind(flag: str, text: str) -> Bind:
    """``address[:port][=onion]``; raises ConfigError."""
    place, equals, net = text.rpartition("=") if "=" in text else (text, "", "")
    parts = split_port(place)
    if parts is None:
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    host = _numeric(parts[0])
    if host is None or net not in ("", "onion") or (equals and not net):
        raise ConfigError(f"Cannot resolve -{flag} address: '{text}'")
    return Bind(host, parts[1] or None, net == "onion")


def parse_own_address(flag: str, text: str) -> HostPort:
    """An address of this host, in Tor and I2P too, as far as it can be one; raises ConfigError."""
    refused = ConfigError(f"Cannot resolve -{flag} address: '{text}'")
    try:
        name, port = split_host_port(text, -1)
        address = numeric_address(name)
    except (ConfigError, DecodeError):
        raise refused from None
    if not address.is_valid:
        raise refused
    return HostPort(address.host, None if port < 0 else port)


def parse_rpc_bind(flag: str, text: str) -> HostPort:
    """Where JSON-RPC is answered: an address, or a name of one; raises ConfigError."""
    parts = split_port(text)
    if parts is None:
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    host = _numeric(parts[0]) or parts[0]
    if not _is_name(host) and _numeric(host) is None:
        raise ConfigError(f"Cannot resolve -{flag} address: '{text}'")
    return HostPort(host, parts[1] or None)


def parse_address(flag: str, text: str) -> str:
    """A bare IP address; raises ConfigError."""
    host = _numeric(text)
    if host is None:
        raise ConfigError(f"-{flag} takes an IP address, not '{text}'")
    return host


def parse_net(flag: str, text: str) -> str:
    """Core's name of a network of addresses; raises ConfigError."""
    if text.lower() not in NET_NAMES:
        raise ConfigError(f"Unknown network specified in -{flag}: '{text}'")
    return text.lower()


def parse_service(flag: str, text: str, default_port: int) -> ProxyAddress:
    """The address of a service on this host or near it; raises ConfigError."""
    parts = split_port(text)
    if parts is None:
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    host, port = parts
    if not _is_host(host):
        raise ConfigError(f"Invalid -{flag} address or hostname: '{text}'")
    return ProxyAddress(host, port or default_port)


def parse_tor_control(flag: str, text: str) -> ProxyAddress:
    """Tor's control port, also at 0.0.0.0 (which is this host); raises ConfigError."""
    parts = split_port(text)
    if parts is not None and _numeric(parts[0]) == ANY_IPV4:
        return ProxyAddress(ANY_IPV4, parts[1] or TOR_CONTROL_PORT)
    return parse_service(flag, text, TOR_CONTROL_PORT)


def parse_sam(flag: str, text: str) -> ProxyAddress | None:
    """An I2P router's SAM bridge, None for none; raises ConfigError."""
    return parse_service(flag, text, SAM_PORT) if text else None


def _parse_proxy(flag: str, text: str) -> ProxyAddress:
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path or "\0" in path or len(path.encode(errors="surrogateescape")) > MAX_UNIX_PATH:
            raise ConfigError(f"Invalid -{flag} address or hostname: '{text}'")
        return ProxyAddress("", 0, path)
    return parse_service(flag, text, SOCKS_PORT)


def parse_onion(flag: str, text: str) -> ProxyChoice | None:
    """``-onion``: the proxy for onion services, one that says there is none (0), or None for none of its own."""
    if not text:
        return None
    return ProxyChoice(None if text == "0" else _parse_proxy(flag, text), "onion")


def parse_proxy(flag: str, value: str) -> ProxyChoice:
    """``-proxy``: an address, with ``=network`` behind it for one network only; raises ConfigError."""
    text, equals, net = value.rpartition("=") if "=" in value else (value, "", "")
    if equals and not net:
        raise ConfigError(f"Invalid -{flag} address or hostname, ends with '=': '{value}'")
    proxy = None if text in ("", "0") else _parse_proxy(flag, text)
    if equals and net.lower() not in ("ipv4", "ipv6", "onion", "cjdns"):
        raise ConfigError(f"Unrecognized network in -{flag}='{value}': '{net.lower()}'")
    return ProxyChoice(proxy, net.lower())


def parse_allowed(flag: str, text: str) -> IPv4Network | IPv6Network:
    """A network whose hosts may call: ``address``, ``address/bits`` or ``address/mask``; raises ConfigError."""
    try:
        found = SubNet.parse(text)
        return ip_network((found.raw, found.bits))
    except (DecodeError, ValueError):
        raise not_a_subnet(flag, text) from None


def not_a_subnet(flag: str, text: str) -> ConfigError:
    """The refusal of a range of addresses."""
    return ConfigError(
        f"Invalid -{flag} subnet specification: {text}. Valid values are a single IP (e.g. 1.2.3.4), a"
        " network/netmask (e.g. 1.2.3.4/255.255.255.0), a network/CIDR (e.g. 1.2.3.4/24), all ipv4 (0.0.0.0/0), or all"
        " ipv6 (::/0). RFC4193 is allowed only if -cjdnsreachable=0."
    )


def parse_zmq(flag: str, text: str) -> str:
    """A ZeroMQ address, or ``unix:`` and a path; raises ConfigError for a port that is none."""
    if split_port(text) is None and not text.startswith("unix:"):
        raise ConfigError(f"Invalid port specified in -{flag}: '{text}'")
    return text


def _numeric(text: str) -> str | None:
    """The IP address that a text is, IPv4 in its short forms too (``127.1``); None for anything else."""
    try:
        ip_address(text)
    except ValueError:
        raw = ipv4_short(text)
        return None if raw is None else str(IPv4Address(raw))
    return text


def _is_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return (
        len(text) <= 253
        and all(re.fullmatch(_LABEL, part) for part in labels)
        and not re.fullmatch(r"[0-9]+", labels[-1])
    )


def _is_host(text: str) -> bool:
    """An address, or a name that may be one (looked up when the node starts)."""
    number = _numeric(text)
    if number is None:
        return _is_name(text)
    address = ip_address(number)
    return any(address.packed) and not (isinstance(address, IPv6Address) and address.scope_id)
