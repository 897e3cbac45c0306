"""The handshake: version, verack and the features negotiated between them.

The side that opened the connection speaks first. Services, versions and self-connections are judged as Bitcoin
Core 31 does; feature messages count only before verack (BIP155, BIP339).
"""

from __future__ import annotations

from math import inf

from btcnode.primitives.amounts import MAX_MONEY
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import MAX_PENDING_NONCES
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import WITHOUT_TRANSACTIONS, Peer
from btcnode.protocol.serving.offered_services import services_for
from btcnode.protocol.transactions.reconciliation import Reconciliation
from btcnode.protocol.transactions.tx_intake import rejects_transactions
from btcnode.wire.constants import (
    CMPCTBLOCKS_VERSION,
    FEATURE_UTXO_SETS,
    FEATURE_VERSION,
    FINAL_ALERT_VERSION,
    MIN_PEER_PROTO_VERSION,
    SHORT_IDS_BLOCKS_VERSION,
    WTXID_RELAY_VERSION,
)
from btcnode.wire.messages import Feature, FeeFilter, FinalAlert, SendAddrV2, SendCmpct, Verack, Version, WtxidRelay
from btcnode.wire.messages.handshake import NOWHERE

_ANY_SERVICES = (ConnectionKind.INBOUND, ConnectionKind.MANUAL, ConnectionKind.FEELER)


class Handshake:
    """Version exchange with every peer."""

    def __init__(self, ctx: Context, reconciliation: Reconciliation) -> None:
        self._ctx = ctx
        self._reconciliation = reconciliation
        self._nonces: dict[int, None] = {}  # of outbound connections that are not established

    def start(self, peer: Peer) -> None:
        """A connection stands: speak first if we opened it."""
        if not peer.inbound:
            peer.nonce = self._ctx.rng.getrandbits(64) or 1
            if len(self._nonces) >= MAX_PENDING_NONCES:
                del self._nonces[next(iter(self._nonces))]
            self._nonces[peer.nonce] = None
            self._send_version(peer)

    def forget(self, peer: Peer) -> None:
        """The connection is gone."""
        self._nonces.pop(peer.nonce, None)
        self._reconciliation.forget(peer)

    def tick(self, peer: Peer) -> None:
        """Give up on a handshake that takes too long."""
        limit = self._ctx.config.peer_timeout
        if not peer.role.negotiates or self._ctx.mockable - peer.connected_mockable <= limit:
            return
        heard = peer.last_received > -inf
        if peer.transport == "v1" and not (heard and peer.nonce):
            never = "" if heard else " never received from peer,"
            never += "" if peer.nonce else " never sent to peer,"
            self._ctx.disconnect(peer, f"socket no message in first {limit:.0f} seconds,{never[:-1]}")
        else:
            self._ctx.disconnect(peer, f"{'V2' if peer.transport == 'detecting' else 'version'} handshake timeout")

    def _send_version(self, peer: Peer) -> None:
        ctx = self._ctx
        receiver = peer.address if peer.address.is_routable and peer.address.is_v1_compatible else NOWHERE
        if peer.inbound:
            peer.nonce = ctx.rng.getrandbits(64) or 1
        ctx.send(
            peer,
            Version(
                version=ctx.config.protocol_version,
                services=services_for(ctx, peer),
                time=max(0, int(ctx.unix)),
                receiver_services=peer.services,
                receiver=receiver,
                sender_services=services_for(ctx, peer),
                sender=NOWHERE,
                nonce=peer.nonce,
                user_agent=ctx.config.user_agent.encode(),
                start_height=ctx.active.height,
                relay=not rejects_transactions(ctx, peer),
            ),
        )

    # -- their messages ------------------------------------------------------------------------------------------

    def on_version(self, peer: Peer, message: Version) -> bool:
        """Take the peer's version; tells whether the connection goes on."""
        ctx = self._ctx
        if peer.version:
            ctx.log(LogLevel.DEBUG, "net", f"redundant version message from peer={peer.id}")
            return False
        if peer.kind not in _ANY_SERVICES and not ctx.has_desirable_services(message.services):
            wanted = ctx.desirable_services(message.services)
            words = f"{Offence.SERVICES.value} ({message.services:08x} offered, {wanted:08x} expected)"
            ctx.punish(peer, Offence.SERVICES, words=words)
            return False
        if message.version < MIN_PEER_PROTO_VERSION:
            ctx.punish(peer, Offence.OBSOLETE, words=f"{Offence.OBSOLETE.value} {message.version}")
            return False
        if peer.inbound and message.nonce in self._nonces:
            ctx.punish(peer, Offence.SELF_CONNECTION, words=f"{Offence.SELF_CONNECTION.value} at {peer.address}")
            return False
        if peer.inbound:
            self._send_version(peer)
        peer.version = message.version
        peer.common_version = min(message.version, ctx.config.protocol_version)
        peer.services = message.services
        peer.has_desired_services = ctx.has_desirable_services(message.services)
        peer.user_agent = message.clean_user_agent
        peer.start_height = message.start_height
        peer.relay = message.relay and peer.kind not in WITHOUT_TRANSACTIONS
        peer.time_offset = message.time - int(ctx.unix)
        if not peer.inbound:
            ctx.time_offsets.add(peer.time_offset)
        peer.seen_us_as = message.receiver if message.receiver.is_valid else None
        if peer.common_version >= WTXID_RELAY_VERSION:
            ctx.send(peer, WtxidRelay())
            ctx.send(peer, SendAddrV2())
        self._reconciliation.offer(peer)
        if peer.common_version >= FEATURE_VERSION and ctx.config.utxo_sets:
            ctx.send(peer, Feature(FEATURE_UTXO_SETS))
        ctx.send(peer, Verack())
        if peer.common_version <= FINAL_ALERT_VERSION:
            ctx.send(peer, FinalAlert())
        return True

    def on_verack(self, peer: Peer) -> bool:
        """The peer accepts our version; tells whether this establishes the connection."""
        ctx = self._ctx
        if not peer.role.negotiates:
            ctx.log(LogLevel.DEBUG, "net", f"ignoring redundant verack message from peer={peer.id}")
            return False
        if not peer.nonce:
            return False
        self._nonces.pop(peer.nonce, None)
        ctx.log_peer(
            peer,
            LogLevel.DEBUG if peer.inbound else LogLevel.INFO,
            f"new {peer.kind.value} peer connected: transport: {peer.transport}, version: {peer.version}, "
            f"user agent: {peer.user_agent or '<none>'}, height: {peer.start_height}",
        )
        if peer.common_version >= SHORT_IDS_BLOCKS_VERSION:
            ctx.send(peer, SendCmpct(False, CMPCTBLOCKS_VERSION))
        self._reconciliation.on_verack(peer)
        return True

    def on_wtxid_relay(self, peer: Peer) -> None:
        """BIP339: the peer announces transactions by wtxid."""
        if not peer.role.negotiates:
            self._ctx.punish(peer, Offence.LATE_NEGOTIATION, words="wtxidrelay received after verack")
        elif peer.common_version >= WTXID_RELAY_VERSION:
            peer.wtxid_relay = True

    def on_send_addrv2(self, peer: Peer) -> None:
        """BIP155: the peer understands addrv2."""
        if not peer.role.negotiates:
            self._ctx.punish(peer, Offence.LATE_NEGOTIATION, words="sendaddrv2 received after verack")
        else:
            peer.wants_addrv2 = True

    def on_feature(self, peer: Peer, message: Feature) -> None:
        """BIP434: the peer speaks something; what it is called decides whether we do. Late ones are passed over."""
        if peer.role.negotiates and self._ctx.config.utxo_sets and message.name == FEATURE_UTXO_SETS:
            peer.speaks_utxo_sets = True

    def on_send_headers(self, peer: Peer) -> None:
        """BIP130: the peer wants announcements by headers."""
        peer.prefers_headers = True

    def on_send_compact(self, peer: Peer, message: SendCmpct) -> None:
        """BIP152: the peer speaks compact blocks; other versions than 2 are ignored."""
        if message.version == CMPCTBLOCKS_VERSION:
            peer.provides_compact = True
            peer.high_bandwidth_from = message.high_bandwidth

    def on_fee_filter(self, peer: Peer, message: FeeFilter) -> None:
        """BIP133: transactions below this feerate need not be announced to the peer."""
        if 0 <= message.feerate <= MAX_MONEY:
            peer.fee_filter = message.feerate
