"""Peers and connections."""

from __future__ import annotations

import time
from typing import Any

from btcnode.rpc.deprecated import shown_warnings
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount, double
from btcnode.rpc.spec import Arg, Kind, Result, arr, boolean, coins, dyn, hexed, nothing, number, obj, real, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.services.parts import NodeParts
from btcnode.services.peers import PeerInfo

SERVICE_NAMES = {
    0: "NETWORK",
    2: "BLOOM",
    3: "WITNESS",
    6: "COMPACT_FILTERS",
    10: "NETWORK_LIMITED",
    11: "P2P_V2",
}
NETWORK_NAMES = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
UPLOAD_CYCLE_S = 24 * 60 * 60

_PEER_RESULT: tuple[Result, ...] = (
    number("id", "Number of the peer"),
    string("addr", "Address and port"),
    string("addrbind", "Own address and port of the connection", optional=True),
    string("addrlocal", "Own address as the peer sees it", optional=True),
    string("network", f"Network ({', '.join(NETWORK_NAMES)}, not_publicly_routable)"),
    number("mapped_as", "Autonomous system of the peer (with -asmap)", optional=True),
    hexed("services", "Services the peer offers"),
    arr("servicesnames", "Their names", string("", "Name")),
    boolean("relaytxes", "Whether the peer wants transactions"),
    number("last_inv_sequence", "Position in the memory pool up to which it was told"),
    number("inv_to_send", "Transactions to be announced"),
    time_("lastsend", "Time of the last send"),
    time_("lastrecv", "Time of the last receive"),
    time_("last_transaction", "Time of the last valid transaction from it"),
    time_("last_block", "Time of the last block from it"),
    number("bytessent", "Bytes sent"),
    number("bytesrecv", "Bytes received"),
    time_("conntime", "Time of the connection"),
    number("timeoffset", "Its clock less ours in seconds"),
    real("pingtime", "Last ping in seconds", optional=True),
    real("minping", "Shortest ping in seconds", optional=True),
    real("pingwait", "Seconds since a ping that is still unanswered", optional=True),
    number("version", "Protocol version"),
    string("subver", "User agent"),
    boolean("inbound", "Whether it connected to us"),
    boolean("bip152_hb_to", "Whether we chose it for high-bandwidth compact blocks"),
    boolean("bip152_hb_from", "Whether it chose us"),
    number("presynced_headers", "Height of header presync, -1 when there is none"),
    number("synced_headers", "Last header in common, -1 for none"),
    number("synced_blocks", "Last block in common, -1 for none"),
    arr("inflight", "Heights of blocks asked of it", number("", "Height")),
    boolean("addr_relay_enabled", "Whether addresses are relayed"),
    number("addr_processed", "Addresses taken from it"),
    number("addr_rate_limited", "Addresses dropped as too many"),
    arr("permissions", "Special permissions", string("", "Permission")),
    coins("minfeefilter", "Least fee rate it wants to hear of, per 1000 virtual bytes"),
    dyn("bytessent_per_msg", "Bytes sent by message", number("msg", "Bytes")),
    dyn("bytesrecv_per_msg", "Bytes received by message", number("msg", "Bytes")),
    string("connection_type", "Why the connection exists"),
    string("transport_protocol_type", "detecting, v1 or v2"),
    string("session_id", "Session id of the v2 transport"),
)


def service_names(services: int, *, thin: bool = False) -> list[str]:
    """Names of the bits set, lowest first; thin blocks (``thin``) have one where this node offers them."""
    names = SERVICE_NAMES | {4: "XTHIN"} if thin else SERVICE_NAMES
    return [names.get(bit, f"UNKNOWN[2^{bit}]") for bit in range(services.bit_length()) if services >> bit & 1]


def _peer_json(peer: PeerInfo, thin: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"id": peer.id, "addr": peer.addr}
    if peer.addrbind is not None:
        result["addrbind"] = peer.addrbind
    if peer.addrlocal is not None:
        result["addrlocal"] = peer.addrlocal
    result["network"] = peer.network
    if peer.mapped_as is not None:
        result["mapped_as"] = peer.mapped_as
    result |= {
        "services": f"{peer.services:016x}",
        "servicesnames": service_names(peer.services, thin=thin),
    }
    for name in (
        "relaytxes", "last_inv_sequence", "inv_to_send", "lastsend", "lastrecv", "last_transaction", "last_block",
        "bytessent", "bytesrecv", "conntime", "timeoffset",
    ):  # fmt: skip
        result[name] = getattr(peer, name)
    for name in ("pingtime", "minping", "pingwait"):
        seconds = getattr(peer, name)
        if seconds is not None:
            result[name] = double(seconds)
    for name in (
        "version", "subver", "inbound", "bip152_hb_to", "bip152_hb_from", "presynced_headers", "synced_headers",
        "synced_blocks",
    ):  # fmt: skip
        result[name] = getattr(peer, name)
    result |= {
        "inflight": list(peer.inflight),
        "addr_relay_enabled": peer.addr_relay_enabled,
        "addr_processed": peer.addr_processed,
        "addr_rate_limited": peer.addr_rate_limited,
        "permissions": list(peer.permissions),
        "minfeefilter": amount(peer.minfeefilter),
        "bytessent_per_msg": dict(sorted(peer.bytessent_per_msg.items())),
        "bytesrecv_per_msg": dict(sorted(peer.bytesrecv_per_msg.items())),
        "connection_type": peer.connection_type,
        "transport_protocol_type": peer.transport_protocol_type,
        "session_id": peer.session_id,
    }
    return result


@rpc("network", "Connected peers.", returns=arr("", "", obj("", "", *_PEER_RESULT)))
def getpeerinfo(node: NodeParts) -> list[dict[str, Any]]:
    """See the declaration."""
    thin = node.config.xthin
    return [_peer_json(peer, thin) for peer in node.peers.connected()]


@rpc("network", "Number of connected peers.", returns=number("", "The number"))
def getconnectioncount(node: NodeParts) -> int:
    """See the declaration."""
    return len(node.peers.connected())


@rpc("network", "Ask for a ping to every peer; getpeerinfo tells the results.", returns=nothing())
def ping(node: NodeParts) -> None:
    """See the declaration."""
    node.peers.ping()


@rpc(
    "network",
    "Bytes sent and received.",
    returns=obj(
        "",
        "",
        number("totalbytesrecv", "Bytes received"),
        number("totalbytessent", "Bytes sent"),
        time_("timemillis", "Clock in milliseconds"),
        obj(
            "uploadtarget",
            "Limit on what is sent",
            number("timeframe", "Seconds in a cycle"),
            number("target", "Bytes in a cycle, 0 for no limit"),
            boolean("target_reached", "Whether the limit is reached"),
            boolean("serve_historical_blocks", "Whether old blocks are served"),
            number("bytes_left_in_cycle", "Bytes left"),
            number("time_left_in_cycle", "Seconds left"),
        ),
    ),
)
def getnettotals(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    received, sent = node.peers.totals()
    budget, now = node.peers.upload_budget(), node.clock.now()
    return {
        "totalbytesrecv": received,
        "totalbytessent": sent,
        "timemillis": int(time.time() * 1000),
        "uploadtarget": {
            "timeframe": UPLOAD_CYCLE_S,
            "target": budget.target,
            "target_reached": budget.reached(now, historical=False),
            "serve_historical_blocks": not budget.reached(now, historical=True),
            "bytes_left_in_cycle": budget.bytes_left(),
            "time_left_in_cycle": budget.time_left(now),
        },
    }


CORE_VERSION = 310_000
"""The Bitcoin Core whose interface this is, as it counts (31.0.0): programs ask for it and refuse what is older."""


_NETWORK_RESULT = obj(
    "",
    "",
    string("name", f"Network ({', '.join(NETWORK_NAMES)})"),
    boolean("limited", "Whether it is left out"),
    boolean("reachable", "Whether it is used"),
    string("proxy", "Proxy, empty for none"),
    boolean("proxy_randomize_credentials", "Whether each connection has its own proxy credentials"),
)


@rpc(
    "network",
    "State of this node's networking.",
    returns=obj(
        "",
        "",
        number("version", "Version of Bitcoin Core whose interface this node has; subversion tells what it is"),
        string("subversion", "User agent"),
        number("protocolversion", "Protocol version"),
        hexed("localservices", "Services this node offers"),
        arr("localservicesnames", "Their names", string("", "Name")),
        boolean("localrelay", "Whether it asks peers for transactions"),
        number("timeoffset", "Median of the peers' clock offsets"),
        boolean("networkactive", "Whether P2P traffic is on"),
        number("connections", "Connections"),
        number("connections_in", "Those that came in"),
        number("connections_out", "Those that went out"),
        arr("networks", "By network", _NETWORK_RESULT),
        coins("relayfee", "Least fee rate for relay, per 1000 virtual bytes"),
        coins("incrementalfee", "Least raise of the fee rate for a replacement"),
        arr(
            "localaddresses",
            "Own addresses",
            obj("", "", string("address", "Address"), number("port", "Port"), number("score", "Relative score")),
        ),
        arr("warnings", "Warnings", string("", "Warning")),
    ),
)
def getnetworkinfo(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    state = node.peers.network_state()
    return {
        "version": CORE_VERSION,
        "subversion": state.user_agent,
        "protocolversion": state.protocol_version,
        "localservices": f"{state.services:016x}",
        "localservicesnames": service_names(state.services, thin=node.config.xthin),
        "localrelay": state.relays_transactions,
        "timeoffset": state.time_offset,
        "networkactive": state.active,
        "connections": state.connections_in + state.connections_out,
        "connections_in": state.connections_in,
        "connections_out": state.connections_out,
        "networks": [
            {
                "name": name,
                "limited": not state.reachable.get(name, False),
                "reachable": state.reachable.get(name, False),
                "proxy": proxy,
                "proxy_randomize_credentials": randomize,
            }
            for name in NETWORK_NAMES
            for proxy, randomize in (state.proxies.get(name, ("", False)),)
        ],
        "relayfee": amount(state.relay_fee),
        "incrementalfee": amount(state.incremental_fee),
        "localaddresses": [
            {"address": local.address, "port": local.port, "score": local.score} for local in state.local_addresses
        ],
        "warnings": shown_warnings(node),
    }


@rpc(
    "network",
    "Keep a connection to a node, stop doing so, or try one connection.",
    Arg("node", Kind.STR, "Address or host name, with or without port"),
    Arg("command", Kind.STR, '"add", "remove" or "onetry"'),
    Arg("v2transport", Kind.BOOL, "Use the encrypted transport (BIP324)", None, hint="whether this node offers it"),
    returns=nothing(),
    examples=(("192.168.0.6:8333", "onetry"),),
)
async def addnode(node: NodeParts, address: str, command: str, v2transport: bool | None) -> None:
    """See the declaration."""
    if command not in ("add", "remove", "onetry"):
        raise RpcError(RpcCode.MISC_ERROR, addnode.help())
    if v2transport and not node.peers.network_state().services >> 11 & 1:
        text = "Error: v2transport requested but not enabled (see -v2transport)"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    if command == "remove":
        if not node.peers.remove_node(address):
            text = "Error: Node could not be removed. It has not been added previously."
            raise RpcError(RpcCode.CLIENT_NODE_NOT_ADDED, text)
        return
    if command == "onetry":
        await node.peers.try_node(address, v2transport)
    elif not node.peers.add_node(address, v2transport):
        raise RpcError(RpcCode.CLIENT_NODE_ALREADY_ADDED, "Error: Node already added")


@rpc(
    "network",
    "Drop a peer, named by address or by id.",
    Arg("address", Kind.STR, "Address and port as in getpeerinfo", None, hint="fallback to nodeid"),
    Arg("nodeid", Kind.INT, "Number of the peer", None, hint="fallback to address", bits=64),
    returns=nothing(),
    examples=(("192.168.0.6:8333",), ("", 1)),
)
def disconnectnode(node: NodeParts, address: str | None, nodeid: int | None) -> None:
    """See the declaration."""
    if address is not None and nodeid is None:
        found = node.peers.disconnect_address(address)
    elif nodeid is not None and not address:
        found = node.peers.disconnect_id(nodeid)
    else:
        raise RpcError(RpcCode.INVALID_PARAMS, "Only one of address and nodeid should be provided.")
    if not found:
        raise RpcError(RpcCode.CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes")


@rpc(
    "network",
    "Nodes added by hand, and whether they are connected.",
    Arg("node", Kind.STR, "Only this one", None, hint="all nodes"),
    returns=arr(
        "",
        "",
        obj(
            "",
            "",
            string("addednode", "The node as it was added"),
            boolean("connected", "Whether it is connected"),
            arr(
                "addresses",
                "Its connection",
                obj("", "", string("address", "Address and port"), string("connected", "inbound or outbound")),
            ),
        ),
    ),
    examples=(("192.168.0.201",),),
)
def getaddednodeinfo(node: NodeParts, name: str | None) -> list[dict[str, Any]]:
    """See the declaration."""
    added = [item for item in node.peers.added_nodes() if name is None or item.name == name]
    if name is not None and not added:
        raise RpcError(RpcCode.CLIENT_NODE_NOT_ADDED, "Error: Node has not been added.")
    return [
        {
            "addednode": item.name,
            "connected": item.connected,
            "addresses": [{"address": item.address, "connected": "inbound" if item.inbound else "outbound"}]
            if item.connected
            else [],
        }
        for item in added
    ]


@rpc(
    "network",
    "Switch P2P traffic on or off.",
    Arg("state", Kind.BOOL, "On (true) or off (false)"),
    returns=boolean("", "The state now"),
    examples=((False,),),
)
def setnetworkactive(node: NodeParts, active: bool) -> bool:
    """See the declaration."""
    node.peers.set_network_active(active)
    return node.peers.network_state().active
