"""A peer as ``getpeerinfo`` tells of it: every field is declared once and filled once, here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol, TypedDict

from btcnode.primitives.units import KeyName, Unit
from btcnode.protocol.context import Context
from btcnode.protocol.peer import Peer
from btcnode.settings.permissions import names
from btcnode.wire.constants import service_names


class PeerInfo(TypedDict):
    """One peer, in Core's order and under Core's names; what is None is not told."""

    id: Annotated[int, "Number of the peer"]
    addr: Annotated[str, "Address and port"]
    addrbind: Annotated[str | None, "Own address and port of the connection"]
    addrlocal: Annotated[str | None, "Own address as the peer sees it"]
    network: Annotated[str, "Network (ipv4, ipv6, onion, i2p, cjdns, not_publicly_routable)"]
    mapped_as: Annotated[int | None, "Autonomous system of the peer (with -asmap)"]
    services: Annotated[int, Unit.SERVICE_BITS, "Services the peer offers"]
    servicesnames: Annotated[list[Annotated[str, "Name"]], "Their names"]
    relaytxes: Annotated[bool, "Whether the peer wants transactions"]
    last_inv_sequence: Annotated[int, "Position in the memory pool up to which it was told"]
    inv_to_send: Annotated[int, "Transactions to be announced"]
    lastsend: Annotated[int, Unit.UNIX_TIME, "Time of the last send"]
    lastrecv: Annotated[int, Unit.UNIX_TIME, "Time of the last receive"]
    last_transaction: Annotated[int, Unit.UNIX_TIME, "Time of the last valid transaction from it"]
    last_block: Annotated[int, Unit.UNIX_TIME, "Time of the last block from it"]
    bytessent: Annotated[int, "Bytes sent"]
    bytesrecv: Annotated[int, "Bytes received"]
    conntime: Annotated[int, Unit.UNIX_TIME, "Time of the connection"]
    timeoffset: Annotated[int, "Its clock less ours in seconds"]
    pingtime: Annotated[float | None, Unit.SECONDS, "Last ping in seconds"]
    minping: Annotated[float | None, Unit.SECONDS, "Shortest ping in seconds"]
    pingwait: Annotated[float | None, Unit.SECONDS, "Seconds since a ping that is still unanswered"]
    version: Annotated[int, "Protocol version"]
    subver: Annotated[str, "User agent"]
    inbound: Annotated[bool, "Whether it connected to us"]
    bip152_hb_to: Annotated[bool, "Whether we chose it for high-bandwidth compact blocks"]
    bip152_hb_from: Annotated[bool, "Whether it chose us"]
    presynced_headers: Annotated[int, "Height of header presync, -1 when there is none"]
    synced_headers: Annotated[int, "Last header in common, -1 for none"]
    synced_blocks: Annotated[int, "Last block in common, -1 for none"]
    inflight: Annotated[tuple[Annotated[int, "Height"], ...], "Heights of blocks asked of it"]
    addr_relay_enabled: Annotated[bool, "Whether addresses are relayed"]
    addr_processed: Annotated[int, "Addresses taken from it"]
    addr_rate_limited: Annotated[int, "Addresses dropped as too many"]
    permissions: Annotated[tuple[Annotated[str, "Permission"], ...], "Special permissions"]
    minfeefilter: Annotated[int, Unit.SATOSHI, "Least feerate it wants to hear of, BTC/kvB"]
    bytessent_per_msg: Annotated[dict[str, Annotated[int, KeyName("msg"), "Bytes"]], "Bytes sent by message"]
    bytesrecv_per_msg: Annotated[dict[str, Annotated[int, KeyName("msg"), "Bytes"]], "Bytes received by message"]
    connection_type: Annotated[str, "Why the connection exists"]
    transport_protocol_type: Annotated[str, "detecting, v1 or v2"]
    session_id: Annotated[str, "Session id of the v2 transport"]


class Traffic(Protocol):
    """What went through a peer's socket: bytes, also by message, and Unix times."""

    last_send: float
    last_receive: float
    bytes_sent: int
    bytes_received: int

    @property
    def sent_by_command(self) -> Mapping[str, int]:
        """Bytes sent by message."""

    @property
    def received_by_command(self) -> Mapping[str, int]:
        """Bytes received by message."""


class NoTraffic:
    """A socket that nobody looks at."""

    last_send = last_receive = 0.0
    bytes_sent = bytes_received = 0
    sent_by_command: Mapping[str, int] = {}
    received_by_command: Mapping[str, int] = {}


NO_TRAFFIC = NoTraffic()


def describe(ctx: Context, peer: Peer, traffic: Traffic) -> PeerInfo:
    """A peer as it is now."""
    tree, ping, state = ctx.tree, peer.ping, peer.headers
    address = peer.address
    return {
        "id": peer.id,
        "addr": str(address) if address.is_valid else peer.target,
        "network": peer.network,
        "addrbind": str(peer.local_address) if peer.local_address is not None else None,
        "addrlocal": str(peer.seen_us_as) if peer.seen_us_as is not None else None,
        "mapped_as": ctx.groups.mapped_as(address) or None,
        "services": peer.services,
        "servicesnames": service_names(peer.services, offered=ctx.config.services),
        "inbound": peer.inbound,
        "conntime": peer.connected_unix,
        "connection_type": peer.kind.value,
        "relaytxes": peer.relay,
        "lastsend": int(traffic.last_send),
        "lastrecv": int(traffic.last_receive),
        "last_transaction": peer.last_tx_unix,
        "last_block": peer.last_block_unix,
        "last_inv_sequence": peer.tx.last_sequence if peer.tx is not None else 0,
        "inv_to_send": len(peer.tx.queue) if peer.tx is not None else 0,
        "timeoffset": peer.time_offset,
        "pingtime": ping.last or None,  # bitcoind leaves these two out when they are 0
        "minping": ping.minimum,
        "pingwait": round(max(0.0, ctx.mockable - ping.sent_at), 6) or None if ping.nonce else None,
        "version": peer.version,
        "subver": peer.user_agent,
        "bip152_hb_to": peer.high_bandwidth_to,
        "bip152_hb_from": peer.high_bandwidth_from,
        "presynced_headers": state.presync_height,
        "synced_headers": tree.height(state.best_known) if state.best_known >= 0 else -1,
        "synced_blocks": tree.height(peer.blocks.last_common) if peer.blocks.last_common >= 0 else -1,
        "inflight": tuple(tree.height(index) for index in peer.blocks.in_flight),
        "addr_relay_enabled": peer.addr.known is not None,
        "addr_processed": peer.addr.processed,
        "addr_rate_limited": peer.addr.rate_limited,
        "permissions": names(peer.permissions),
        "minfeefilter": peer.fee_filter,
        "bytessent": traffic.bytes_sent,
        "bytesrecv": traffic.bytes_received,
        "bytessent_per_msg": dict(sorted(traffic.sent_by_command.items())),
        "bytesrecv_per_msg": dict(sorted(traffic.received_by_command.items())),
        "transport_protocol_type": peer.transport,
        "session_id": peer.session_id.hex(),
    }
