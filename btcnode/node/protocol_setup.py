"""The protocol's share of the options."""

from __future__ import annotations

from btcnode import __version__
from btcnode.config import NodeConfig
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.permissions import AccessRules
from btcnode.wire.constants import NODE_BLOOM, NODE_COMPACT_FILTERS, NODE_NETWORK, NODE_P2P_V2, NODE_XTHIN


def user_agent(config: NodeConfig) -> str:
    """BIP14: ``/btcnode:0.1.0(comment)/``."""
    comments = f"({'; '.join(config.uacomment)})" if config.uacomment else ""
    return f"/btcnode:{__version__}{comments}/"


def protocol_config(config: NodeConfig) -> ProtocolConfig:
    """How peers are dealt with."""
    connect = config.connect_only
    return ProtocolConfig(
        user_agent=user_agent(config),
        services=(OWN_SERVICES & ~NODE_NETWORK if config.prunes else OWN_SERVICES)
        | (NODE_P2P_V2 if config.v2transport else 0)
        | (NODE_XTHIN if config.xthin else 0)
        | (NODE_COMPACT_FILTERS if config.peerblockfilters else 0)
        | (NODE_BLOOM if config.peerbloomfilters else 0),
        listen=config.listens,
        discover=config.discovers,
        dns_seed=config.asks_dns_seeds,
        force_dns_seed=config.forcednsseed,
        fixed_seeds=config.fixedseeds,
        connect=connect or (),
        no_automatic=connect is not None and not connect,
        add_nodes=config.addnode,
        seed_nodes=config.seednode,
        max_connections=config.maxconnections,
        peer_timeout=float(config.peertimeout),
        max_tip_age=config.maxtipage,
        networks=config.reachable_networks,
        private_broadcast=config.privatebroadcast,
        tx_relay=not config.blocksonly,
        tx_reconciliation=config.txreconciliation,
        require_standard=not config.acceptnonstdtxn,
        peer_score_learning=config.peer_score_learning,
        upload_target=config.upload_target,
        extra_transactions=config.blockreconstructionextratxn,
        block_relay=config.block_relay,
        log_ips=config.logips,
    )


def access_rules(config: NodeConfig) -> AccessRules:
    """Which peers may what."""
    force = config.whitelistforcerelay
    relay = config.whitelistrelay if config.whitelistrelay is not None else force or not config.blocksonly
    return AccessRules(config.whitelist, config.whitebind, relay=relay, force_relay=force)
