"""Scores and bans of peers, and what tests do to connections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypedDict

from btcnode.errors import DecodeError
from btcnode.protocol.connections.bans import Ban
from btcnode.protocol.connections.peer_score import PeerScore
from btcnode.rpc.declare import Bits, Empty, Hex, Real, Time, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import NO_TIME, Whole
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.records import AsJson, as_json
from btcnode.rpc.room import beside
from btcnode.services.parts import NodeParts
from btcnode.wire.subnet import SubNet, numeric_address

MAX_COMMAND = 12  # bytes of a message's command
_OPENED = ("outbound-full-relay", "block-relay-only", "addr-fetch", "feeler")


def _subnet(node: NodeParts, text: str) -> SubNet:
    """The range or the single address that the user named."""
    try:
        if "/" in text:
            return SubNet.parse(text)
        address = numeric_address(text)
        if node.peers.network_state().reachable.get("cjdns"):
            address = address.as_cjdns()
        if address.is_valid:
            return SubNet.of(address)
    except DecodeError:
        pass
    raise RpcError(RpcCode.CLIENT_INVALID_IP_OR_SUBNET, "Error: Invalid IP/Subnet")


@rpc("network", examples=(("192.168.0.6", "add", 86400), ("192.168.0.0/24", "add")))
def setban(
    node: NodeParts,
    subnet: Annotated[str, "Address, or range as address/bits or address/netmask"],
    command: Annotated[str, '"add" or "remove"'],
    bantime: Annotated[
        Whole, "Seconds, or with absolute the end as Unix time; 0: as long as -bantime says", Bits(64)
    ] = NO_TIME,
    absolute: Annotated[bool, "Whether bantime is the time when the ban ends"] = False,
) -> None:
    """Ban an address or a range of addresses, or lift such a ban."""
    if command not in ("add", "remove"):
        raise RpcError(RpcCode.MISC_ERROR, setban.help())
    found = _subnet(node, subnet)
    if command == "remove":
        if not node.peers.unban(found):
            reason = "Error: Unban failed. Requested address/subnet was not previously manually banned."
            raise RpcError(RpcCode.CLIENT_INVALID_IP_OR_SUBNET, reason)
        return
    if node.peers.is_banned(found, exactly="/" in subnet):
        raise RpcError(RpcCode.CLIENT_NODE_ALREADY_ADDED, "Error: IP/Subnet already banned")
    seconds = bantime.read()
    if absolute and seconds < node.clock.now():
        raise RpcError(RpcCode.INVALID_PARAMETER, "Error: Absolute timestamp is in the past")
    node.peers.ban(found, seconds, absolute)


class BannedRange(TypedDict):
    """A banned address or range."""

    address: Annotated[str, "Address or range"]
    ban_created: Annotated[Time, "When it was banned"]
    banned_until: Annotated[Time, "When the ban ends"]
    ban_duration: Annotated[Time, "Seconds from one to the other"]
    time_remaining: Annotated[Time, "Seconds left"]


@rpc("network", heavy=True)
async def listbanned(node: NodeParts) -> list[BannedRange]:
    """Banned addresses and ranges."""
    now, bans = node.clock.now(), node.peers.bans()
    return await beside(lambda: _bans_json(bans, now))


def _bans_json(bans: Iterable[tuple[SubNet, Ban]], now: int) -> list[BannedRange]:
    return [
        {
            "address": str(subnet),
            "ban_created": ban.created,
            "banned_until": ban.until,
            "ban_duration": ban.until - ban.created,
            "time_remaining": ban.until - now,
        }
        for subnet, ban in bans
    ]


@rpc("network")
def clearbanned(node: NodeParts) -> None:
    """Lift all bans."""
    node.peers.clear_bans()


class OpenedConnection(TypedDict):
    """A connection that was opened for a test."""

    address: Annotated[str, "The address"]
    connection_type: Annotated[str, "Kind of connection"]


@rpc("hidden", examples=(("192.168.0.6:8333", "outbound-full-relay", True),))
async def addconnection(
    node: NodeParts,
    address: Annotated[str, "Address and port"],
    connection_type: Annotated[str, "outbound-full-relay, block-relay-only, addr-fetch, feeler"],
    v2transport: Annotated[bool, "Use the encrypted transport (BIP324)"],
) -> OpenedConnection:
    """Open an automatic connection to a node (regtest only, for tests)."""
    if node.params.name != "regtest":
        raise RpcError(RpcCode.MISC_ERROR, "addconnection is for regression testing (-regtest mode) only.")
    connection_type = connection_type.strip()
    if connection_type not in _OPENED:
        raise RpcError(RpcCode.INVALID_PARAMETER, addconnection.help())
    if v2transport and not node.peers.network_state().services >> 11 & 1:
        text = "Error: Adding v2transport connections requires -v2transport init flag to be set."
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    if not await node.peers.open_connection(address, connection_type, v2transport):
        text = "Error: Already at capacity for specified connection type."
        raise RpcError(RpcCode.CLIENT_NODE_CAPACITY_REACHED, text)
    return {"address": address, "connection_type": connection_type}


@rpc("hidden", examples=((0, "addr", "ffffff"),))
def sendmsgtopeer(
    node: NodeParts,
    peer_id: Annotated[int, "Number of the peer", Bits(64)],
    msg_type: Annotated[str, f"Command, at most {MAX_COMMAND} characters"],
    msg: Annotated[Hex, "Payload in hex"],
) -> Empty:
    """Send any message to a peer (for tests)."""
    if len(msg_type.encode()) > MAX_COMMAND:
        text = f"Error: msg_type too long, max length is {MAX_COMMAND}"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    try:
        payload = bytes.fromhex(msg)  # white space between bytes counts for nothing, as in Core
    except ValueError:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Error parsing input for msg") from None
    if not node.peers.send_raw(peer_id, msg_type, payload):
        raise RpcError(RpcCode.MISC_ERROR, "Error: Could not send message to peer")
    return {}


class PeerScores(TypedDict):
    """How peers behave."""

    weights: Annotated[list[Annotated[Real, "Weight"]], "Weights of service, value and fault"]
    peers: Annotated[list[AsJson[PeerScore]], "Connected peers"]


@rpc("network", own=True)
def getpeerscores(node: NodeParts) -> PeerScores:
    """How peers behave, as numbers (not in Bitcoin Core)."""
    peers = [as_json(PeerScore, score) for score in node.peers.scores().values()]
    return {"weights": [double(weight) for weight in node.peers.score_weights()], "peers": peers}
