"""Peers and connections."""

from __future__ import annotations

import time
from typing import Annotated, TypedDict

from btcnode.protocol.connections.peer_info import PeerInfo
from btcnode.protocol.limits import MAX_ADDED_NODES
from btcnode.rpc.declare import Bits, Coins, Hex, Hint, Time, rpc
from btcnode.rpc.deprecated import ShownWarnings, shown_warnings
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.records import AsJson, as_json
from btcnode.services.parts import NodeParts
from btcnode.wire.constants import service_names

NETWORK_NAMES = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
MAX_NODE_NAME = 1024  # characters of host and port
UPLOAD_CYCLE_S = 24 * 60 * 60


@rpc("network")
def getpeerinfo(node: NodeParts) -> list[AsJson[PeerInfo]]:
    """Connected peers."""
    return [as_json(PeerInfo, peer) for peer in node.peers.connected()]


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
    relayfee: Annotated[Coins, "Least feerate for relay, BTC/kvB"]
    incrementalfee: Annotated[Coins, "Least raise of the feerate for a replacement, BTC/kvB"]
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
        "localservicesnames": service_names(state.services, offered=state.services),
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
        "relayfee": amount(node.mempool.options.min_relay_feerate),
        "incrementalfee": amount(node.mempool.options.incremental_feerate),
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
    if len(node) > MAX_NODE_NAME:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Error: No node has a name of {len(node)} characters")
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
    elif all(item.name != node for item in parts.peers.added_nodes()):
        text = f"Error: No more than {MAX_ADDED_NODES} nodes can be added"
        raise RpcError(RpcCode.CLIENT_NODE_CAPACITY_REACHED, text)


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
