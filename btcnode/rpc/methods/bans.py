"""Scores and bans of peers, and what tests do to connections."""

from __future__ import annotations

from typing import Any

from btcnode.errors import DecodeError
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.spec import Arg, Kind, arr, nothing, number, obj, real, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.services.parts import NodeParts
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.subnet import SubNet

MAX_COMMAND = 12  # bytes of a message's command
_OPENED = ("outbound-full-relay", "block-relay-only", "addr-fetch", "feeler")


def _subnet(node: NodeParts, text: str) -> SubNet:
    """The range or the single address that the user named."""
    try:
        if "/" in text:
            return SubNet.parse(text)
        address = NetAddress.from_host(text, 0)
        if node.peers.network_state().reachable.get("cjdns"):
            address = address.as_cjdns()
        if address.is_valid:
            return SubNet.of(address)
    except DecodeError:
        pass
    raise RpcError(RpcCode.CLIENT_INVALID_IP_OR_SUBNET, "Error: Invalid IP/Subnet")


@rpc(
    "network",
    "Ban an address or a range of addresses, or lift such a ban.",
    Arg("subnet", Kind.STR, "Address, or range as address/bits or address/netmask"),
    Arg("command", Kind.STR, '"add" or "remove"'),
    Arg("bantime", Kind.INT, "Seconds, or with absolute the end as Unix time; 0: as long as -bantime says", 0, bits=64),
    Arg("absolute", Kind.BOOL, "Whether bantime is the time when the ban ends", False),
    returns=nothing(),
    examples=(("192.168.0.6", "add", 86400), ("192.168.0.0/24", "add")),
)
def setban(node: NodeParts, text: str, command: str, bantime: int, absolute: bool) -> None:
    """See the declaration."""
    if command not in ("add", "remove"):
        raise RpcError(RpcCode.MISC_ERROR, setban.help())
    subnet = _subnet(node, text)
    if command == "remove":
        if not node.peers.unban(subnet):
            reason = "Error: Unban failed. Requested address/subnet was not previously manually banned."
            raise RpcError(RpcCode.CLIENT_INVALID_IP_OR_SUBNET, reason)
        return
    if node.peers.is_banned(subnet, exactly="/" in text):
        raise RpcError(RpcCode.CLIENT_NODE_ALREADY_ADDED, "Error: IP/Subnet already banned")
    if absolute and bantime < node.clock.now():
        raise RpcError(RpcCode.INVALID_PARAMETER, "Error: Absolute timestamp is in the past")
    node.peers.ban(subnet, bantime, absolute)


@rpc(
    "network",
    "Banned addresses and ranges.",
    returns=arr(
        "",
        "",
        obj(
            "",
            "",
            string("address", "Address or range"),
            time_("ban_created", "When it was banned"),
            time_("banned_until", "When the ban ends"),
            number("ban_duration", "Seconds from one to the other"),
            number("time_remaining", "Seconds left"),
        ),
    ),
)
def listbanned(node: NodeParts) -> list[dict[str, Any]]:
    """See the declaration."""
    now = node.clock.now()
    return [
        {
            "address": str(subnet),
            "ban_created": ban.created,
            "banned_until": ban.until,
            "ban_duration": ban.until - ban.created,
            "time_remaining": ban.until - now,
        }
        for subnet, ban in node.peers.bans()
    ]


@rpc("network", "Lift all bans.", returns=nothing())
def clearbanned(node: NodeParts) -> None:
    """See the declaration."""
    node.peers.clear_bans()


@rpc(
    "hidden",
    "Open an automatic connection to a node (regtest only, for tests).",
    Arg("address", Kind.STR, "Address and port"),
    Arg("connection_type", Kind.STR, ", ".join(_OPENED)),
    Arg("v2transport", Kind.BOOL, "Use the encrypted transport (BIP324)"),
    returns=obj("", "", string("address", "The address"), string("connection_type", "Kind of connection")),
    examples=(("192.168.0.6:8333", "outbound-full-relay", True),),
)
async def addconnection(node: NodeParts, address: str, kind: str, v2transport: bool) -> dict[str, Any]:
    """See the declaration."""
    if node.params.name != "regtest":
        raise RpcError(RpcCode.MISC_ERROR, "addconnection is for regression testing (-regtest mode) only.")
    kind = kind.strip()
    if kind not in _OPENED:
        raise RpcError(RpcCode.INVALID_PARAMETER, addconnection.help())
    if v2transport and not node.peers.network_state().services >> 11 & 1:
        text = "Error: Adding v2transport connections requires -v2transport init flag to be set."
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    if not await node.peers.open_connection(address, kind, v2transport):
        text = "Error: Already at capacity for specified connection type."
        raise RpcError(RpcCode.CLIENT_NODE_CAPACITY_REACHED, text)
    return {"address": address, "connection_type": kind}


@rpc(
    "hidden",
    "Send any message to a peer (for tests).",
    Arg("peer_id", Kind.INT, "Number of the peer", bits=64),
    Arg("msg_type", Kind.STR, f"Command, at most {MAX_COMMAND} characters"),
    Arg("msg", Kind.HEX, "Payload in hex"),
    returns=obj("", ""),
    examples=((0, "addr", "ffffff"),),
)
def sendmsgtopeer(node: NodeParts, peer_id: int, msg_type: str, msg: str) -> dict[str, Any]:
    """See the declaration."""
    if len(msg_type.encode()) > MAX_COMMAND:
        text = f"Error: msg_type too long, max length is {MAX_COMMAND}"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    try:
        payload = bytes.fromhex(msg) if not any(c.isspace() for c in msg) else None
    except ValueError:
        payload = None
    if payload is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Error parsing input for msg")
    if not node.peers.send_raw(peer_id, msg_type, payload):
        raise RpcError(RpcCode.MISC_ERROR, "Error: Could not send message to peer")
    return {}


@rpc(
    "network",
    "How peers behave, as numbers (not in Bitcoin Core).",
    returns=obj(
        "",
        "",
        arr("weights", "Weights of service, value and fault", real("", "Weight")),
        arr(
            "peers",
            "Connected peers",
            obj(
                "",
                "",
                number("id", "Number of the peer"),
                real("score", "Score, 0 to 100"),
                string("state", "connected, stable, degraded or shutting-down"),
                string("standing", "good, observed, throttled or removed"),
                real("service", "Response and stability, -1 to 1"),
                real("value", "Useful data against useless, -1 to 1"),
                real("fault", "Broken rules and failed requests, 0 to 4"),
                real("useful", "Useful pieces of data of late"),
                real("wasted", "Pieces that nobody asked for"),
                real("failed", "Requests that failed"),
                real("violations", "Broken rules, weighed"),
            ),
        ),
    ),
)
def getpeerscores(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    peers = []
    for peer_id, figures in node.peers.scores().items():
        shown = {name: double(value) if isinstance(value, float) else value for name, value in figures.items()}
        peers.append({"id": peer_id, **shown})
    return {"weights": [double(weight) for weight in node.peers.score_weights()], "peers": peers}
