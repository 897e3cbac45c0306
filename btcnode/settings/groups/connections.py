"""Options of connections: whom to connect to, where to listen, how to be found, who may what."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from btcnode import __version__
from btcnode.errors import ConfigError
from btcnode.networks.names import NetworkName
from btcnode.record import record
from btcnode.settings.addresses import (
    Bind,
    HostPort,
    parse_bind,
    parse_own_address,
    parse_port,
    parse_server,
    parse_target,
)
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import (
    INT64_MAX,
    KB,
    ByteCount,
    Kind,
    Number,
    Parsed,
    Several,
    as_flag,
    is_number,
    read_path,
)
from btcnode.settings.permissions import AccessRules, WhiteBind, WhiteRange, parse_whitebind, parse_whitelist

MAX_USER_AGENT_LENGTH = 256  # of a version message
_UA_COMMENT = r"[A-Za-z0-9 .,;_/?@\-]*"


class Embedded(Enum):
    """The map that comes with the package, instead of a file's name."""

    EMBEDDED = "embedded"


EMBEDDED = Embedded.EMBEDDED


def user_agent(comments: tuple[str, ...]) -> str:
    """BIP14: ``/btcnode:0.1.0(comment)/``."""
    inside = f"({'; '.join(comments)})" if comments else ""
    return f"/btcnode:{__version__}{inside}/"


def _comment(flag: str, text: str) -> str:
    if not re.fullmatch(_UA_COMMENT, text) or "/" in text:
        raise ConfigError(f"User Agent comment ({text}) contains unsafe characters.")
    return text


def _agent(comments: tuple[str, ...]) -> str:
    found = user_agent(comments)
    if len(found) > MAX_USER_AGENT_LENGTH:
        raise ConfigError(
            f"Total length of network version string ({len(found)}) exceeds maximum length ({MAX_USER_AGENT_LENGTH})."
            " Reduce the number or size of uacomments."
        )
    return found


def _connect_targets(texts: tuple[str, ...]) -> tuple[str, ...]:
    """``0`` among others says nothing; alone it is "none at all"."""
    return tuple(text for text in texts if text != "0")


def _connect_target(flag: str, text: str) -> str:
    return text if text == "0" else parse_target(flag, text)


class _AsMap(Kind):
    """``-asmap``: a file, or a switch for the package's own map."""

    metavar = "FILE"
    is_path = True

    def read(self, flag: str, text: str) -> Path | Embedded:
        """The file, or the package's own map for a yes. As in Core 0 is a file's name; so is here ``2024.dat``."""
        return EMBEDDED if is_number(text) and as_flag(text) else read_path(flag, text)

    def negated(self, flag: str) -> None:
        """No map."""


class _Timeout(Number):
    """Milliseconds; what is not above zero is the default, as in Core."""

    limits = "from 1"

    def read(self, flag: str, text: str) -> int:
        """The number."""
        value = super().read(flag, text)
        return value if value > 0 else 5000


_NAT_USUAL = "on when listening beyond loopback, but off on regtest and with -proxy"


def _p2p_port(network: NetworkName) -> int:
    return network.p2p_port


@record(kw_only=True)
class ConnectionSettings:
    """``connect`` is None when peers are found automatically; an empty ``whitelistrelay`` follows ``blocksonly``.

    The switches that Core derives from one another (``listen``, ``discover``, ``dnsseed``) are final here.
    """

    connect: tuple[str, ...] | None = option(
        "connect",
        "Connect to this node and no other (0: to none).",
        Several(Parsed(_connect_target, "HOST[:PORT]"), _connect_targets),
        unset=None,
        network_only=True,
        common=True,
    )
    addnode: tuple[str, ...] = option(
        "addnode",
        "Keep a connection to this node.",
        Several(Parsed(parse_target, "HOST[:PORT]")),
        network_only=True,
        common=True,
    )
    seednode: tuple[str, ...] = option(
        "seednode", "Ask this node for addresses, then disconnect.", Several(Parsed(parse_target, "HOST[:PORT]"))
    )
    listen: bool = switch(
        "listen",
        "Accept connections.",
        True,
        usual="on, but off with -connect, -maxconnections=0 or -proxy unless -bind or -whitebind is given",
        common=True,
    )
    bind: tuple[Bind, ...] = option(
        "bind",
        "Address to listen at; with =onion behind it for what comes through Tor.",
        Several(Parsed(parse_bind, "ADDRESS[:PORT][=onion]")),
        usual="all, IPv4 and IPv6",
        network_only=True,
    )
    port: int = option(
        "port",
        "Port to listen at (0: any free one, the same for IPv4 and IPv6).",
        Parsed(parse_port, "PORT"),
        _p2p_port,
        network_only=True,
        common=True,
    )
    externalip: tuple[HostPort, ...] = option(
        "externalip", "Own public address, told to peers.", Several(Parsed(parse_own_address, "ADDRESS[:PORT]"))
    )
    discover: bool = switch(
        "discover", "Find own addresses.", True, usual="on, but off with -externalip, -proxy or -listen=0"
    )
    upnp: bool | None = switch("upnp", "When listening, map the port at a UPnP router.", usual=_NAT_USUAL)
    natpmp: bool | None = switch("natpmp", "When listening, else map it by PCP or NAT-PMP.", usual=_NAT_USUAL)
    stun: bool | None = switch(
        "stun", "When listening, else ask a STUN server for the external address; never past a proxy.", usual=_NAT_USUAL
    )
    stunserver: tuple[HostPort, ...] = option(
        "stunserver",
        "STUN server to ask instead of pystun3's list, at port 3478 if none is named.",
        Several(Parsed(parse_server, "HOST[:PORT]")),
    )
    maxconnections: int = option(
        "maxconnections",
        "Most automatic connections.",
        Number(0, 100_000, clamp=True, too_low="-maxconnections must be greater or equal than zero"),
        "125",
        common=True,
    )
    dns: bool = switch("dns", "Look up host names of -addnode, -seednode and -connect.", True)
    dnsseed: bool = switch(
        "dnsseed",
        "Ask DNS seeds for addresses.",
        True,
        usual="on, but off with -connect, -maxconnections=0 or -onlynet without ipv4 and ipv6",
    )
    forcednsseed: bool = switch("forcednsseed", "Ask DNS seeds even if there are addresses already.", False)
    dnsseedname: tuple[str, ...] = option(
        "dnsseedname",
        "DNS seed to ask instead of the network's own.",
        Several(Parsed(lambda flag, text: text, "NAME")),
    )
    fixedseeds: bool = switch("fixedseeds", "Use built-in addresses when there are no others of a network.", True)
    asmap: Path | Embedded | None = option(
        "asmap",
        "Map of autonomous systems to group addresses by, relative to the network's directory (1: the package's own).",
        _AsMap(),
    )
    checkaddrman: int = option(
        "checkaddrman", "Check the address book once in N operations (0: never).", Number(0, 1_000_000, clamp=True), "0"
    )
    networkactive: bool = switch("networkactive", "Begin with P2P traffic on.", True)
    timeout_ms: int = option(
        "timeout",
        "Milliseconds to wait for an outgoing connection; what is not above 0 is the default.",
        _Timeout(-INT64_MAX, INT64_MAX),
        "5000",
        metavar="MS",
    )
    peertimeout_s: int = option(
        "peertimeout",
        "Seconds that a peer has for the handshake.",
        Number(1, INT64_MAX, too_low="peertimeout must be a positive integer."),
        "60",
        metavar="S",
    )
    maxreceivebuffer_bytes: int = option(
        "maxreceivebuffer",
        "Receive buffer per peer in kB.",
        Number(1, 2**21, unit=KB, clamp=True),
        "5000",
        metavar="KB",
    )
    maxsendbuffer_bytes: int = option(
        "maxsendbuffer", "Send buffer per peer in kB.", Number(1, 2**21, unit=KB, clamp=True), "1000", metavar="KB"
    )
    maxuploadtarget_bytes: int = option(
        "maxuploadtarget",
        "Bytes a day beyond which old blocks are not served (0: no limit); k, m, g, t count by 1000, K to T by 1024.",
        ByteCount(),
        "0M",
    )
    bantime_s: int = option(
        "bantime",
        "Seconds that a ban lasts where setban names no time.",
        Number(0, 2**40, clamp=True),
        "86400",
        metavar="S",
    )
    peerbloomfilters: bool = switch(
        "peerbloomfilters", "Serve transactions and blocks to light clients by bloom filters (BIP37).", False
    )
    peerblockfilters: bool = switch("peerblockfilters", "Serve block filters to peers (BIP157).", False)
    peerblockinputs: bool = switch(
        "peerblockinputs", "Tell peers the coins that blocks spend, for their -swiftsync-full.", False
    )
    peerutreexoproofs: bool = switch(
        "peerutreexoproofs", "Serve Utreexo proofs and roots to peers (BIP 183, draft).", False
    )
    peerutxosets: bool = switch(
        "peerutxosets", "Share the UTXO sets in the folder share/ with peers, and ask peers for sets (BIP 452, draft).",
        False,
    )  # fmt: skip
    txreconciliation: bool = switch("txreconciliation", "Offer to reconcile transactions (BIP330).", False)
    v2transport: bool = switch("v2transport", "Encrypt connections with peers that can (BIP324).", True)
    xthin: bool = switch("xthin", "Offer thin blocks (XTHIN) to nodes that speak them.", False)
    user_agent: str = option(
        "uacomment",
        "Comment in the user agent.",
        Several(Parsed(_comment), _agent),
        unset=user_agent(()),
    )
    whitebind: tuple[WhiteBind, ...] = option(
        "whitebind",
        "Address to listen at, and what peers may there.",
        Several(Parsed(parse_whitebind, "[PERMISSIONS@]ADDRESS:PORT")),
    )
    whitelist: tuple[WhiteRange, ...] = option(
        "whitelist",
        "What peers of an address or range may.",
        Several(Parsed(parse_whitelist, "[PERMISSIONS@]ADDRESS[/BITS]")),
    )
    whitelistrelay: bool = switch(
        "whitelistrelay",
        "Relay for peers listed without permissions.",
        True,
        usual="on, but off with -blocksonly unless -whitelistforcerelay is given",
    )
    whitelistforcerelay: bool = switch("whitelistforcerelay", "Relay again what they send although it is known.", False)
    peer_score_learning: bool = switch(
        "peer-score-learning", "Let the weights of peers' scores follow what comes of them.", False
    )
    capturemessages: bool = switch("capturemessages", "Write every message from and to peers into files.", False)

    @property
    def access(self) -> AccessRules:
        """Which peers may what."""
        return AccessRules(
            self.whitelist, self.whitebind, relay=self.whitelistrelay, force_relay=self.whitelistforcerelay
        )
