"""A peer as ``getpeerinfo`` tells of it, as far as the protocol knows."""

from __future__ import annotations

from typing import Any

from btcnode.protocol.context import Context
from btcnode.protocol.peer import Peer
from btcnode.settings.permissions import names


def describe(ctx: Context, peer: Peer) -> dict[str, Any]:
    """Fields with Core's names; heights and Unix times as int, latencies in seconds, optional ones None.

    Bytes, messages and socket times are the reactor's to add.
    """
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
        "inbound": peer.inbound,
        "conntime": peer.connected_unix,
        "connection_type": peer.kind.value,
        "relaytxes": peer.relay,
        "last_transaction": peer.last_tx_unix,
        "last_block": peer.last_block_unix,
        "last_inv_sequence": peer.tx.last_sequence if peer.tx is not None else 0,
        "inv_to_send": len(peer.tx.queue) if peer.tx is not None else 0,
        "timeoffset": peer.time_offset,
        "pingtime": ping.last,
        "minping": ping.minimum,
        "pingwait": round(max(0.0, ctx.mockable - ping.sent_at), 6) if ping.nonce else None,
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
        "transport_protocol_type": peer.transport,
        "session_id": peer.session_id.hex(),
    }
