"""Peers and connections."""

from __future__ import annotations

import time
from typing import Annotated, NotRequired, TypedDict

from btcnode.rpc.declare import Bits, Coins, Hex, Hint, Named, Real, Time, in_order, rpc
from btcnode.rpc.deprecated import ShownWarnings, shown_warnings
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount, double
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


def service_names(services: int, *, thin: bool = False) -> list[str]:
    """Names of the bits set, lowest first; thin blocks (``thin``) have one where this node offers them."""
    names = SERVICE_NAMES | {4: "XTHIN"} if thin else SERVICE_NAMES
    return [names.get(bit, f"UNKNOWN[2^{bit}]") for bit in range(services.bit_length()) if services >> bit & 1]


class PeerJson(TypedDict):
    """A connected peer."""

    id: Annotated[int, "Number of the peer"]
    addr: Annotated[str, "Address and port"]
    addrbind: Annotated[NotRequired[str], "Own address and port of the connection"]
    addrlocal: Annotated[NotRequired[str], "Own address as the peer sees it"]
    network: Annotated[str, "Network (ipv4, ipv6, onion, i2p, cjdns, not_publicly_routable)"]
    mapped_as: Annotated[NotRequired[int], "Autonomous system of the peer (with -asmap)"]
    services: Annotated[Hex, "Services the peer offers"]
    servicesnames: Annotated[list[Annotated[str, "Name"]], "Their names"]
    relaytxes: Annotated[bool, "Whether the peer wants transactions"]
    last_inv_sequence: Annotated[int, "Position in the memory pool up to which it was told"]
    inv_to_send: Annotated[int, "Transactions to be announced"]
    lastsend: Annotated[Time, "Time of the last send"]
    lastrecv: Annotated[Time, "Time of the last receive"]
    last_transaction: Annotated[Time, "Time of the last valid transaction from it"]
    last_block: Annotated[Time, "Time of the last block from it"]
    bytessent: Annotated[int, "Bytes sent"]
    bytesrecv: Annotated[int, "Bytes received"]
    conntime: Annotated[Time, "Time of the connection"]
    timeoffset: Annotated[int, "Its clock less ours in seconds"]
    pingtime: Annotated[NotRequired[Real], "Last ping in seconds"]
    minping: Annotated[NotRequired[Real], "Shortest ping in seconds"]
    pingwait: Annotated[NotRequired[Real], "Seconds since a ping that is still unanswered"]
    version: Annotated[int, "Protocol version"]
    subver: Annotated[str, "User agent"]
    inbound: Annotated[bool, "Whether it connected to us"]
    bip152_hb_to: Annotated[bool, "Whether we chose it for high-bandwidth compact blocks"]
    bip152_hb_from: Annotated[bool, "Whether it chose us"]
    presynced_headers: Annotated[int, "Height of header presync, -1 when there is none"]
    synced_headers: Annotated[int, "Last header in common, -1 for none"]
    synced_blocks: Annotated[int, "Last block in common, -1 for none"]
    inflight: Annotated[list[Annotated[int, "Height"]], "Heights of blocks asked of it"]
    addr_relay_enabled: Annotated[bool, "Whether addresses are relayed"]
    addr_processed: Annotated[int, "Addresses taken from it"]
    addr_rate_limited: Annotated[int, "Addresses dropped as too many"]
    permissions: Annotated[list[Annotated[str, "Permission"]], "Special permissions"]
    minfeefilter: Annotated[Coins, "Least fee rate it wants to hear of, per 1000 virtual bytes"]
    bytessent_per_msg: Annotated[dict[str, Annotated[int, Named("msg"), "Bytes"]], "Bytes sent by message"]
    bytesrecv_per_msg: Annotated[dict[str, Annotated[int, Named("msg"), "Bytes"]], "Bytes received by message"]
    connection_type: Annotated[str, "Why the connection exists"]
    transport_protocol_type: Annotated[str, "detecting, v1 or v2"]
    session_id: Annotated[str, "Session id of the v2 transport"]


def _peer_json(peer: PeerInfo, thin: bool) -> PeerJson:
    result: PeerJson = {
        "id": peer.id,
        "addr": peer.addr,
        "network": peer.network,
        "services": f"{peer.services:016x}",
        "servicesnames": service_names(peer.services, thin=thin),
        "relaytxes": peer.relaytxes,
        "last_inv_sequence": peer.last_inv_sequence,
        "inv_to_send": peer.inv_to_send,
        "lastsend": peer.lastsend,
        "lastrecv": peer.lastrecv,
        "last_transaction": peer.last_transaction,
        "last_block": peer.last_block,
        "bytessent": peer.bytessent,
        "bytesrecv": peer.bytesrecv,
        "conntime": peer.conntime,
        "timeoffset": peer.timeoffset,
        "version": peer.version,
        "subver": peer.subver,
        "inbound": peer.inbound,
        "bip152_hb_to": peer.bip152_hb_to,
        "bip152_hb_from": peer.bip152_hb_from,
        "presynced_headers": peer.presynced_headers,
        "synced_headers": peer.synced_headers,
        "synced_blocks": peer.synced_blocks,
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
    if peer.addrbind is not None:
        result["addrbind"] = peer.addrbind
    if peer.addrlocal is not None:
        result["addrlocal"] = peer.addrlocal
    if peer.mapped_as is not None:
        result["mapped_as"] = peer.mapped_as
    if peer.pingtime is not None:
        result["pingtime"] = double(peer.pingtime)
    if peer.minping is not None:
        result["minping"] = double(peer.minping)
    if peer.pingwait is not None:
        result["pingwait"] = double(peer.pingwait)
    return in_order(PeerJson, result)


@rpc("network")
def getpeerinfo(node: NodeParts) -> list[PeerJson]:
    """Connected peers."""
    thin = node.settings.connections.xthin
    return [_peer_json(peer, thin) for peer in node.peers.connected()]


@rpc("network")
def getconnectioncount(node: NodeParts) -> Annotated[int, "The number"]:
    """Number of connected peers."""
    return len(node.peers.connected())


@rpc("network")
def ping(node: NodeParts) -> None:
    """Ask for a ping to every peer; getpeerinfo tells the results."""
    node.peers.ping()


class UploadTarget(TypedDict):
    """The limit on what is sent."""

    timeframe: Annotated[int, "Seconds in a cycle"]
    target: Annotated[int, "Bytes in a cycle, 0 for no limit"]
    target_reached: Annotated[bool, "Whether the limit is reached"]
    serve_historical_blocks: Annotated[bool, "Whether old blocks are served"]
    bytes_left_in_cycle: Annotated[int, "Bytes left"]
    time_left_in_cycle: Annotated[int, "Seconds left"]


class NetTotals(TypedDict):
    """Bytes sent and received."""

    totalbytesrecv: Annotated[int, "Bytes received"]
    totalbytessent: Annotated[int, "Bytes sent"]
    timemillis: Annotated[Time, "Clock in milliseconds"]
    uploadtarget: Annotated[UploadTarget, "Limit on what is sent"]


@rpc("network")
def getnettotals(node: NodeParts) -> NetTotals:
    """Bytes sent and received."""
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


class NetworkUse(TypedDict):
    """How one network is used."""

    name: Annotated[str, "Network (ipv4, ipv6, onion, i2p, cjdns)"]
    limited: Annotated[bool, "Whether it is left out"]
    reachable: Annotated[bool, "Whether it is used"]
    proxy: Annotated[str, "Proxy, empty for none"]
    proxy_randomize_credentials: Annotated[bool, "Whether each connection has its own proxy credentials"]


class LocalAddressJson(TypedDict):
    """An address of this node."""

    address: Annotated[str, "Address"]
    port: Annotated[int, "Port"]
    score: Annotated[int, "Relative score"]


class NetworkInfo(TypedDict):
    """State of this node's networking."""

    version: Annotated[int, "Version of Bitcoin Core whose interface this node has; subversion tells what it is"]
    subversion: Annotated[str, "User agent"]
    protocolversion: Annotated[int, "Protocol version"]
    localservices: Annotated[Hex, "Services this node offers"]
    localservicesnames: Annotated[list[Annotated[str, "Name"]], "Their names"]
    localrelay: Annotated[bool, "Whether it asks peers for transactions"]
    timeoffset: Annotated[int, "Median of the peers' clock offsets"]
    connections: Annotated[int, "Connections"]
    connections_in: Annotated[int, "Those that came in"]
    connections_out: Annotated[int, "Those that went out"]
    networkactive: Annotated[bool, "Whether P2P traffic is on"]
    networks: Annotated[list[NetworkUse], "By network"]
    relayfee: Annotated[Coins, "Least fee rate for relay, per 1000 virtual bytes"]
    incrementalfee: Annotated[Coins, "Least raise of the fee rate for a replacement"]
    localaddresses: Annotated[list[LocalAddressJson], "Own addresses"]
    warnings: ShownWarnings


@rpc("network")
def getnetworkinfo(node: NodeParts) -> NetworkInfo:
    """State of this node's networking."""
    state = node.peers.network_state()
    return {
        "version": CORE_VERSION,
        "subversion": state.user_agent,
        "protocolversion": state.protocol_version,
        "localservices": f"{state.services:016x}",
        "localservicesnames": service_names(state.services, thin=node.settings.connections.xthin),
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


@rpc("network", examples=(("192.168.0.6:8333", "onetry"),))
async def addnode(
    parts: NodeParts,
    node: Annotated[str, "Address or host name, with or without port"],
    command: Annotated[str, '"add", "remove" or "onetry"'],
    v2transport: Annotated[bool | None, "Use the encrypted transport (BIP324)", Hint("set by -v2transport")] = None,
) -> None:
    """Keep a connection to a node, stop doing so, or try one connection."""
    if command not in ("add", "remove", "onetry"):
        raise RpcError(RpcCode.MISC_ERROR, addnode.help())
    if v2transport and not parts.peers.network_state().services >> 11 & 1:
        text = "Error: v2transport requested but not enabled (see -v2transport)"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    if command == "remove":
        if not parts.peers.remove_node(node):
            text = "Error: Node could not be removed. It has not been added previously."
            raise RpcError(RpcCode.CLIENT_NODE_NOT_ADDED, text)
        return
    if command == "onetry":
        await parts.peers.try_node(node, v2transport)
    elif not parts.peers.add_node(node, v2transport):
        raise RpcError(RpcCode.CLIENT_NODE_ALREADY_ADDED, "Error: Node already added")


@rpc("network", examples=(("192.168.0.6:8333",), ("", 1)))
def disconnectnode(
    node: NodeParts,
    address: Annotated[str | None, "Address and port as in getpeerinfo", Hint("fallback to nodeid")] = None,
    nodeid: Annotated[int | None, "Number of the peer", Bits(64), Hint("fallback to address")] = None,
) -> None:
    """Drop a peer, named by address or by id."""
    if address is not None and nodeid is None:
        found = node.peers.disconnect_address(address)
    elif nodeid is not None and not address:
        found = node.peers.disconnect_id(nodeid)
    else:
        raise RpcError(RpcCode.INVALID_PARAMS, "Only one of address and nodeid should be provided.")
    if not found:
        raise RpcError(RpcCode.CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes")


class AddedNodeConnection(TypedDict):
    """The connection to such a node."""

    address: Annotated[str, "Address and port"]
    connected: Annotated[str, "inbound or outbound"]


class AddedNodeInfo(TypedDict):
    """A node that was added by hand."""

    addednode: Annotated[str, "The node as it was added"]
    connected: Annotated[bool, "Whether it is connected"]
    addresses: Annotated[list[AddedNodeConnection], "Its connection"]


@rpc("network", examples=(("192.168.0.201",),))
def getaddednodeinfo(
    parts: NodeParts, node: Annotated[str | None, "Only this one", Hint("all nodes")] = None
) -> list[AddedNodeInfo]:
    """Nodes added by hand, and whether they are connected."""
    added = [item for item in parts.peers.added_nodes() if node is None or item.name == node]
    if node is not None and not added:
        raise RpcError(RpcCode.CLIENT_NODE_NOT_ADDED, "Error: Node has not been added.")
    return [
        {
            "addednode": item.name,
            "connected": item.connected,
            "addresses": [{"address": item.address or "", "connected": "inbound" if item.inbound else "outbound"}]
            if item.connected
            else [],
        }
        for item in added
    ]


@rpc("network", examples=((False,),))
def setnetworkactive(
    node: NodeParts, state: Annotated[bool, "On (true) or off (false)"]
) -> Annotated[bool, "The state now"]:
    """Switch P2P traffic on or off."""
    node.peers.set_network_active(state)
    return node.peers.network_state().active
