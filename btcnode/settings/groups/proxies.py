"""Options of proxies and anonymity networks; what they mean together is that of Bitcoin Core 31."""

from __future__ import annotations

from btcnode.record import record
from btcnode.settings.addresses import (
    NET_NAMES,
    ProxyAddress,
    ProxyChoice,
    ProxyPlan,
    parse_net,
    parse_onion,
    parse_proxy,
    parse_sam,
    parse_tor_control,
)
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import Parsed, Several, Text


@record(kw_only=True)
class ProxySettings:
    """``onion`` is None when onion services have no proxy of their own."""

    proxy: tuple[ProxyChoice, ...] = option(
        "proxy",
        "SOCKS5 proxy for all connections, with =NETWORK behind it for those of ipv4, ipv6, onion or cjdns only.",
        Several(Parsed(parse_proxy, "ADDRESS[:PORT]|unix:PATH[=NETWORK]")),
        needs_value=True,
        common=True,
    )
    proxyrandomize: bool = switch(
        "proxyrandomize", "New credentials for each connection through a proxy: Tor isolates them.", True
    )
    onion: ProxyChoice | None = option(
        "onion",
        "SOCKS5 proxy for Tor's onion services (0: none).",
        Parsed(parse_onion, "ADDRESS[:PORT]|unix:PATH"),
        usual="that of -proxy",
    )
    listenonion: bool = switch(
        "listenonion", "Make an onion service through Tor's control port.", True, usual="on when listening"
    )
    torcontrol: ProxyAddress = option(
        "torcontrol", "Tor's control port.", Parsed(parse_tor_control, "ADDRESS[:PORT]"), "127.0.0.1:9051"
    )
    torpassword: str = option("torpassword", "Password for it.", Text(), "", secret=True)
    i2psam: ProxyAddress | None = option("i2psam", "SAM bridge of an I2P router.", Parsed(parse_sam, "ADDRESS[:PORT]"))
    i2pacceptincoming: bool = switch(
        "i2pacceptincoming", "Accept I2P connections, with -i2psam.", True, usual="on when listening"
    )
    cjdnsreachable: bool = switch("cjdnsreachable", "Addresses of fc00::/8 lead into CJDNS.", False)
    onlynet: tuple[str, ...] = option(
        "onlynet",
        f"Connect automatically to this network only: {', '.join(NET_NAMES)}.",
        Several(Parsed(parse_net, "NET")),
        common=True,
    )
    privatebroadcast: bool = switch(
        "privatebroadcast",
        "Send own transactions over short connections through Tor or I2P instead of announcing them.",
        False,
    )

    @property
    def plan(self) -> ProxyPlan:
        """Which proxy leads where."""
        return ProxyPlan.made_of(self.proxy, self.onion, self.i2psam, self.proxyrandomize)

    @property
    def has_proxy(self) -> bool:
        """Whether the last ``-proxy`` asks for one: then the node keeps to itself unless it is told otherwise."""
        return bool(self.proxy) and self.proxy[-1].proxy is not None

    @property
    def allowed_networks(self) -> frozenset[str]:
        """What ``-onlynet`` leaves of the networks."""
        return frozenset(self.onlynet or NET_NAMES)

    @property
    def reachable_networks(self) -> tuple[str, ...]:
        """Networks that automatic connections may use from the start, in Core's order."""
        plan = self.plan
        there = {"ipv4": True, "ipv6": True, "onion": plan.onion, "i2p": plan.i2p, "cjdns": self.cjdnsreachable}
        return tuple(name for name in NET_NAMES if there[name] and name in self.allowed_networks)
