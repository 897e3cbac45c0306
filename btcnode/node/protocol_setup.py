"""The protocol's share of the options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.limits import MAX_BLOCK_RELAY_ONLY, MAX_OUTBOUND_FULL_RELAY
from btcnode.wire.constants import (
    NODE_BLOCK_UNDO,
    NODE_BLOOM,
    NODE_COMPACT_FILTERS,
    NODE_NETWORK,
    NODE_P2P_V2,
    NODE_UTREEXO_ARCHIVE,
    NODE_XTHIN,
)

if TYPE_CHECKING:
    from btcnode.settings.settings import Settings


def protocol_config(settings: Settings) -> ProtocolConfig:
    """How peers are dealt with."""
    connect, most = settings.connections.connect, settings.connections.maxconnections
    full = min(MAX_OUTBOUND_FULL_RELAY, most)  # what is left of few connections goes to blocks alone, as in Core
    return ProtocolConfig(
        user_agent=settings.connections.user_agent,
        services=(OWN_SERVICES & ~NODE_NETWORK if settings.storage.prunes else OWN_SERVICES)
        | (NODE_P2P_V2 if settings.connections.v2transport else 0)
        | (NODE_XTHIN if settings.connections.xthin else 0)
        | (NODE_COMPACT_FILTERS if settings.connections.peerblockfilters else 0)
        | (NODE_BLOCK_UNDO if settings.connections.peerblockinputs else 0)
        | (NODE_UTREEXO_ARCHIVE if settings.connections.peerutreexoproofs else 0)
        | (NODE_BLOOM if settings.connections.peerbloomfilters else 0),
        listen=settings.connections.listen,
        discover=settings.connections.discover,
        dns_seed=settings.connections.dnsseed,
        force_dns_seed=settings.connections.forcednsseed,
        fixed_seeds=settings.connections.fixedseeds,
        connect=connect or (),
        no_automatic=connect is not None and not connect,
        add_nodes=settings.connections.addnode,
        seed_nodes=settings.connections.seednode,
        max_connections=most,
        max_outbound_full=full,
        max_block_relay=min(MAX_BLOCK_RELAY_ONLY, most - full),
        peer_timeout=float(settings.connections.peertimeout_s),
        max_tip_age=settings.chain.maxtipage_s,
        networks=settings.proxies.reachable_networks,
        by_proofs=settings.storage.utreexocsn,
        private_broadcast=settings.proxies.privatebroadcast,
        tx_relay=not settings.mempool.blocksonly,
        utxo_sets=settings.connections.peerutxosets or settings.storage.downloadutxoset is not None,
        tx_reconciliation=settings.connections.txreconciliation,
        require_standard=not settings.mempool.acceptnonstdtxn,
        peer_score_learning=settings.connections.peer_score_learning,
        upload_target=settings.connections.maxuploadtarget_bytes,
        extra_transactions=settings.mempool.blockreconstructionextratxn,
        block_relay=settings.mempool.block_relay,
        log_ips=settings.log.logips,
    )
