"""What the user decides about the protocol."""

from __future__ import annotations

from btcnode.protocol.limits import (
    HANDSHAKE_TIMEOUT,
    MAX_BLOCK_RELAY_ONLY,
    MAX_CONNECTIONS,
    MAX_EXTRA_TRANSACTIONS,
    MAX_OUTBOUND_FULL_RELAY,
)
from btcnode.record import record
from btcnode.wire.constants import (
    FEATURE_VERSION,
    NODE_NETWORK,
    NODE_NETWORK_LIMITED,
    NODE_P2P_V2,
    NODE_WITNESS,
    PROTOCOL_VERSION,
)

OWN_SERVICES = NODE_NETWORK | NODE_WITNESS | NODE_NETWORK_LIMITED
"""What every node of ours offers; options add to it."""


@record
class ProtocolConfig:
    """Options of the protocol; the defaults are a full node's in blocks-only mode.

    ``connect``: when not empty the node connects to these targets and to nobody else (and asks no DNS seed).
    ``add_nodes``: targets to keep connections to beside the automatic ones. ``seed_nodes``: asked for addresses once.
    ``listen``: whether we accept connections, hence announce our address. ``discover``: whether we learn our own
    address from what outbound peers see. ``force_dns_seed``: ask DNS seeds whatever the book has. ``fixed_seeds``: use
    the addresses that ship with the program when nothing else leads to a network.
    ``max_tip_age``: seconds, older tips mean initial block download.
    ``upload_target``: bytes a day, 0 for no limit. ``networks``: the networks (BIP155 names ``ipv4``, ``ipv6``, ...)
    that automatic connections may use.

    ``tx_relay``: transactions are taken from peers (not ``--blocksonly``). ``require_standard``: the mempool takes
    standard transactions only, so larger ones need not be looked at. ``extra_transactions``: how many refused and
    replaced ones are kept for compact blocks. ``block_relay``: in which form new blocks are asked for, ``compact``,
    ``xthin``, ``plain`` (whole), or ``auto`` for the one that the peer offers, preferably compact.
    ``by_proofs``: the node keeps no coins, and asks bridges for the Utreexo proof of each block.
    ``private_broadcast``: the user's transactions go out over connections of their own, to addresses of
    ``private_broadcast_networks``.
    """

    user_agent: str = "/btcnode:0.1.0/"
    services: int = OWN_SERVICES
    tx_relay: bool = False
    listen: bool = True
    discover: bool = True
    dns_seed: bool = True
    force_dns_seed: bool = False
    fixed_seeds: bool = False
    connect: tuple[str, ...] = ()
    add_nodes: tuple[str, ...] = ()
    seed_nodes: tuple[str, ...] = ()
    no_automatic: bool = False  # --noconnect: no automatic outbound connections
    max_connections: int = MAX_CONNECTIONS
    max_outbound_full: int = MAX_OUTBOUND_FULL_RELAY
    max_block_relay: int = MAX_BLOCK_RELAY_ONLY
    peer_timeout: float = HANDSHAKE_TIMEOUT
    max_tip_age: int = 24 * 3600
    upload_target: int = 0
    peer_score_learning: bool = False  # the weights of peers' scores follow what comes of them
    require_standard: bool = True
    extra_transactions: int = MAX_EXTRA_TRANSACTIONS
    block_relay: str = "auto"
    by_proofs: bool = False
    private_broadcast: bool = False
    private_broadcast_networks: tuple[str, ...] = ("onion", "i2p")
    networks: tuple[str, ...] = ("ipv4", "ipv6")
    log_ips: bool = False  # lines about a peer name its address
    tx_reconciliation: bool = False  # offer to reconcile transactions (BIP330)
    utxo_sets: bool = False  # speak of UTXO sets in chunks (BIP 452, draft)
    memory_shift: int = 0  # what was seen of transactions is remembered 2**n times less long (many nodes in a process)
    relay_private: bool = False  # take and gossip private addresses too (isolated test networks)

    @property
    def automatic_outbound(self) -> bool:
        """Whether connections are opened to addresses from the address book."""
        return not self.connect and not self.no_automatic

    @property
    def protocol_version(self) -> int:
        """What version messages say: features are negotiated only where there is one."""
        return FEATURE_VERSION if self.utxo_sets else PROTOCOL_VERSION

    @property
    def offers_v2(self) -> bool:
        """Whether we speak version 2 of the transport (BIP324)."""
        return bool(self.services & NODE_P2P_V2)

    @property
    def max_inbound(self) -> int:
        """Inbound slots: what remains of all connections after the automatic outbound ones and one feeler."""
        return max(0, self.max_connections - self.max_outbound_full - self.max_block_relay - 1)
