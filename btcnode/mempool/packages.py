"""The form of packages: transactions that are judged together (Core's ``policy/packages``)."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.mempool.options import MAX_PACKAGE_COUNT, MAX_PACKAGE_WEIGHT
from btcnode.primitives.hashes import sha256
from btcnode.primitives.tx import Tx


def package_problem(txs: Sequence[Tx]) -> str:
    """What is wrong with the form of a package, "" for nothing; Core's reject reason."""
    if len(txs) > MAX_PACKAGE_COUNT:
        return "package-too-many-transactions"
    # a single transaction has its own limit
    if len(txs) > 1 and sum(tx.weight for tx in txs) > MAX_PACKAGE_WEIGHT:
        return "package-too-large"
    later = {tx.txid for tx in txs}
    if len(later) != len(txs):
        return "package-contains-duplicates"
    for tx in txs:
        if any(prevout[:32] in later for prevout in tx.prevouts):
            return "package-not-sorted"
        later.remove(tx.txid)
    return "" if _is_consistent(txs) else "conflict-in-package"


def _is_consistent(txs: Sequence[Tx]) -> bool:
    """Whether no two transactions spend the same output; one that spends it twice is told its own fault later."""
    seen: set[bytes] = set()
    for tx in txs:
        if not tx.prevouts or not seen.isdisjoint(tx.prevouts):
            return False
        seen.update(tx.prevouts)
    return True


def is_child_with_parents(txs: Sequence[Tx]) -> bool:
    """Whether the last of at least two transactions spends from each of the others."""
    if len(txs) < 2:
        return False
    spent = {prevout[:32] for prevout in txs[-1].prevouts}
    return all(tx.txid in spent for tx in txs[:-1])


def is_child_with_parents_tree(txs: Sequence[Tx]) -> bool:
    """``is_child_with_parents``, and no parent spends from another: what ``submitpackage`` takes."""
    if not is_child_with_parents(txs):
        return False
    parents = {tx.txid for tx in txs[:-1]}
    return not any(prevout[:32] in parents for tx in txs[:-1] for prevout in tx.prevouts)


def package_hash(txs: Sequence[Tx]) -> bytes:
    """What a package is remembered by: SHA-256 over its wtxids in ascending order of their displayed form."""
    wtxids: list[bytes] = [tx.wtxid for tx in txs]
    wtxids.sort(key=lambda wtxid: wtxid[::-1])
    return sha256(b"".join(wtxids)).digest()
