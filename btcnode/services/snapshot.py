"""The figures of a node at one moment, for displays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.observe.progress import Snapshot

if TYPE_CHECKING:
    from btcnode.services.parts import NodeParts


def snapshot_of(parts: NodeParts) -> Snapshot:
    """How far the node is; ``status`` is left to who knows it."""
    chain = parts.chain
    tree, tip, best = chain.tree, chain.tip(), chain.best_header()
    coins = chain.driver.chainstate.coins
    incoming, outgoing = parts.peers.directions()
    received, _ = parts.peers.totals()
    return Snapshot(
        network=parts.params.name,
        now=parts.clock.now(),
        blocks=tree.height(tip),
        headers=tree.height(best),
        tip_time=tree.time(tip),
        header_time=tree.time(best),
        target_spacing=parts.params.pow_target_spacing,
        progress=chain.verification_progress(tip),
        transactions=chain.block_status(tip).chain_tx,
        peers_in=incoming,
        peers_out=outgoing,
        cache_bytes=coins.usage,
        cache_coins=len(coins),
        cache_limit=parts.settings.storage.dbcache_bytes,
        bytes_received=received,
        state=parts.sync.machine.state.value,
        advice=parts.contact.advice,
    )
