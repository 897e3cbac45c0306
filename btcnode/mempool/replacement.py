"""Replacement by fee: any transaction may be replaced by one that makes the mempool worth more to miners."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from btcnode.consensus.transactions import format_money
from btcnode.mempool.feerate import fee_at, improves_diagram
from btcnode.primitives.hashes import to_display

if TYPE_CHECKING:
    from btcnode.mempool.entry import MempoolEntry
    from btcnode.mempool.pool import Mempool, Staged

MAX_CONFLICTING_CLUSTERS = 100
NO_IMPROVEMENT = "insufficient feerate: does not improve feerate diagram"


def too_many_clusters(pool: Mempool, txid: bytes, direct: Collection[MempoolEntry]) -> str:
    """What is wrong with the number of clusters that a replacement would change, "" for nothing."""
    count = len({id(pool.cluster_of(entry)) for entry in direct})
    if count <= MAX_CONFLICTING_CLUSTERS:
        return ""
    limit = MAX_CONFLICTING_CLUSTERS
    return f"rejecting replacement {to_display(txid)}; too many conflicting clusters ({count} > {limit})"


def with_descendants(pool: Mempool, direct: Iterable[MempoolEntry]) -> list[MempoolEntry]:
    """The entries and everything that depends on them, each once, by ascending txid."""
    found: dict[bytes, MempoolEntry] = {}
    for entry in direct:
        if entry.txid not in found:
            found[entry.txid] = entry
            for descendant in pool.descendants(entry):
                found[descendant.txid] = descendant
    return [found[txid] for txid in sorted(found)]


def pays_too_little(old_fee: int, new_fee: int, new_vsize: int, incremental_rate: int, txid: bytes) -> str:
    """What is wrong with the fee of a replacement, "" for nothing: all that goes and its own relay must be paid for.

    Fees are modified ones in satoshi, the rate is in sat/kvB.
    """
    name = to_display(txid)
    if new_fee < old_fee:
        return (
            f"rejecting replacement {name}, less fees than conflicting txs; "
            f"{format_money(new_fee)} < {format_money(old_fee)}"
        )
    more, needed = new_fee - old_fee, fee_at(incremental_rate, new_vsize)
    if more < needed:
        return (
            f"rejecting replacement {name}, not enough additional fees to relay; "
            f"{format_money(more)} < {format_money(needed)}"
        )
    return ""


def improves(staged: Staged) -> bool:
    """Whether the staged change makes the feerate diagram strictly better."""
    old, new = staged.diagrams()
    return improves_diagram(new, old)


def spends_conflict(txid: bytes, ancestors: Iterable[MempoolEntry], conflicts: Collection[bytes]) -> str:
    """What is wrong when a transaction depends on one that it replaces, "" for nothing."""
    for ancestor in sorted(entry.txid for entry in ancestors):
        if ancestor in conflicts:
            return f"{to_display(txid)} spends conflicting transaction {to_display(ancestor)}"
    return ""
