"""Options about connections among the node's: whom to connect to, where to listen, how to be found."""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.option import option
from btcnode.peer_options import CONNECTIONS as NET
from btcnode.proxy_options import ProxyOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions(ProxyOptions):
    """Part of ``NodeConfig``."""

    connect: tuple[str, ...] = option(
        "connect", "Connect to this node and no other (0: to none).", NET, (), metavar="HOST[:PORT]"
    )
    addnode: tuple[str, ...] = option("addnode", "Keep a connection to this node.", NET, (), metavar="HOST[:PORT]")
    seednode: tuple[str, ...] = option(
        "seednode", "Ask this node for addresses, then disconnect.", NET, (), metavar="HOST[:PORT]"
    )
    listen: bool | None = option("listen", "Accept connections (default: unless --connect is given).", NET)
    bind: tuple[str, ...] = option(
        "bind",
        "Address to listen at (default: all, IPv4 and IPv6); with =onion behind it for what comes through Tor.",
        NET,
        (),
        metavar="ADDRESS[:PORT][=onion]",
    )
    port: int | None = option(
        "port", "Port to listen at (0: any free one; default: the network's).", NET, metavar="PORT"
    )
    externalip: tuple[str, ...] = option(
        "externalip", "Own public address, told to peers.", NET, (), metavar="ADDRESS[:PORT]"
    )
    discover: bool | None = option(
        "discover", "Find own addresses (default: when listening without --externalip).", NET
    )
    upnp: bool | None = option(
        "upnp", "Map the port at a UPnP router (this and the next two: default when listening, but on regtest).", NET
    )
    natpmp: bool | None = option("natpmp", "Else map it by PCP or NAT-PMP.", NET)
    stun: bool | None = option("stun", "Else ask a STUN server for the external address.", NET)
    stunserver: tuple[str, ...] = option(
        "stunserver", "STUN server to ask instead of pystun3's list.", NET, (), metavar="HOST[:PORT]"
    )
    maxconnections: int = option("maxconnections", "Most automatic connections.", NET, 125, metavar="N")
    dns: bool = option("dns", "Look up host names of --addnode, --seednode and --connect.", NET, True)
    dnsseed: bool | None = option("dnsseed", "Ask DNS seeds for addresses (default: unless --connect is given).", NET)
    dnsseedname: tuple[str, ...] = option(
        "dnsseedname", "DNS seed to ask instead of the network's own.", NET, (), metavar="NAME"
    )
    networkactive: bool = option("networkactive", "Begin with P2P traffic on.", NET, True)
    timeout: int = option("timeout", "Milliseconds to wait for an outgoing connection.", NET, 5000, metavar="MS")
    peertimeout: int = option("peertimeout", "Seconds after which a silent peer is dropped.", NET, 60, metavar="S")
    maxreceivebuffer: int = option("maxreceivebuffer", "Receive buffer per peer in kB.", NET, 5000, metavar="KB")
    maxsendbuffer: int = option("maxsendbuffer", "Send buffer per peer in kB.", NET, 1000, metavar="KB")
    peerbloomfilters: bool = option(
        "peerbloomfilters", "Serve transactions and blocks to light clients by bloom filters (BIP37).", NET, False
    )
    peerblockfilters: bool = option("peerblockfilters", "Serve block filters to peers (BIP157).", NET, False)
    txreconciliation: bool = option("txreconciliation", "Offer to reconcile transactions (BIP330).", NET, False)
    v2transport: bool = option("v2transport", "Encrypt connections with peers that can (BIP324).", NET, True)
    uacomment: tuple[str, ...] = option("uacomment", "Comment in the user agent.", NET, (), metavar="TEXT")

    @property
    def connect_only(self) -> tuple[str, ...] | None:
        """Nodes of ``--connect`` (none at all for ``--connect 0``); None when peers are found automatically."""
        if not self.connect:
            return None
        return () if self.connect == ("0",) else self.connect

    @property
    def listens(self) -> bool:
        """Whether the node accepts connections."""
        return (
            self.listen
            if self.listen is not None
            else bool(self.bind or self.whitebind)
            or (not self.connect and self.maxconnections > 0 and not self.has_proxy)
        )

    @property
    def discovers(self) -> bool:
        """Whether the node looks for its own addresses."""
        if self.discover is not None:
            return self.discover
        return self.listens and not self.externalip and not self.has_proxy

    @property
    def asks_dns_seeds(self) -> bool:
        """Whether DNS seeds may be asked."""
        if self.dnsseed is not None:
            return self.dnsseed
        return not self.connect and self.maxconnections > 0 and bool(self.allowed_networks & {"ipv4", "ipv6"})

    @property
    def listens_onion(self) -> bool:
        """Whether Tor is asked for an onion service."""
        return self.listens if self.listenonion is None else self.listenonion

    @property
    def accepts_i2p(self) -> bool:
        """Whether I2P connections are accepted, given a SAM bridge."""
        return self.listens if self.i2pacceptincoming is None else self.i2pacceptincoming
