"""Topologically restricted transactions: BIP431, version 3.

Unconfirmed, such a transaction has one parent or one child of its own kind at most and nothing beyond, a child of it is
small, and a new child may put the old one out (sibling eviction).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx

if TYPE_CHECKING:
    from btcnode.mempool.entry import MempoolEntry
    from btcnode.mempool.pool import Mempool

TRUC_VERSION = 3
MAX_VSIZE = 10_000
CHILD_MAX_VSIZE = 1000
ANCESTOR_LIMIT = 2  # with the transaction itself

Problem = tuple[str, "MempoolEntry | None"]
"""What is wrong, and the sibling whose eviction would put it right."""


def _name(tx: Tx) -> str:
    return f"tx {to_display(tx.txid)} (wtxid={to_display(tx.wtxid)})"


def _inheritance(tx: Tx, parent: Tx) -> str:
    """A version 3 transaction has parents of version 3 only, and children likewise."""
    if (tx.version == TRUC_VERSION) == (parent.version == TRUC_VERSION):
        return ""
    here, there = ("version=3", "non-version=3") if tx.version == TRUC_VERSION else ("non-version=3", "version=3")
    return f"{here} {_name(tx)} cannot spend from {there} {_name(parent)}"


def _too_big(tx: Tx, vsize: int, limit: int) -> str:
    child = "child " if limit == CHILD_MAX_VSIZE else ""
    return f"version=3 {child}{_name(tx)} is too big: {vsize} > {limit} virtual bytes"


def _too_many_ancestors(tx: Tx) -> str:
    return f"{_name(tx)} would have too many ancestors"


def _too_many_descendants(parent: Tx) -> str:
    return f"{_name(parent)} would exceed descendant count limit"


def check_single(
    pool: Mempool, tx: Tx, vsize: int, parents: Sequence[MempoolEntry], conflicts: Collection[bytes]
) -> Problem | None:
    """Whether a transaction keeps the rules beside what is in the pool (Core's ``SingleTRUCChecks``).

    ``parents`` are its parents in the pool by ascending txid, ``conflicts`` the txids that it replaces directly.
    """
    for parent in parents:
        problem = _inheritance(tx, parent.tx)
        if problem:
            return problem, None
    if tx.version != TRUC_VERSION:
        return None
    if vsize > MAX_VSIZE:
        return _too_big(tx, vsize, MAX_VSIZE), None
    if not parents:
        return None
    parent = parents[0]
    if len(parents) + 1 > ANCESTOR_LIMIT or len(pool.ancestors(parent)) + 2 > ANCESTOR_LIMIT:
        return _too_many_ancestors(tx), None
    if vsize > CHILD_MAX_VSIZE:
        return _too_big(tx, vsize, CHILD_MAX_VSIZE), None
    descendants = sorted(pool.descendants(parent), key=lambda entry: entry.txid)
    if not descendants or any(entry.txid in conflicts for entry in descendants):
        return None
    # after a reorganisation there may be several, or the sibling may have a family of its own: then none is put out
    sibling = descendants[0]
    alone = len(descendants) == 1 and len(pool.ancestors(sibling)) == 1
    return _too_many_descendants(parent.tx), sibling if alone else None


def check_package(pool: Mempool, tx: Tx, vsize: int, package: Sequence[Tx], parents: Sequence[MempoolEntry]) -> str:
    """What is wrong with a transaction in its package, "" for nothing (Core's ``PackageTRUCChecks``).

    ``package`` is sorted, parents first; ``parents`` are those in the pool.
    """
    spent = {prevout[:32] for prevout in tx.prevouts}
    at = next(n for n, other in enumerate(package) if other is tx)
    in_package = [other for other in package[:at] if other.txid in spent]
    if tx.version != TRUC_VERSION:
        family = [*(entry.tx for entry in parents), *in_package]
        return next((problem for problem in (_inheritance(tx, parent) for parent in family) if problem), "")
    if vsize > MAX_VSIZE:
        return _too_big(tx, vsize, MAX_VSIZE)
    count = len(parents) + len(in_package) + 1
    if count > ANCESTOR_LIMIT:
        return _too_many_ancestors(tx)
    if parents and len(pool.ancestors(parents[0])) + 1 + len(in_package) + 1 > ANCESTOR_LIMIT:
        return _too_many_ancestors(tx)
    if count == 1:
        return ""
    if vsize > CHILD_MAX_VSIZE:
        return _too_big(tx, vsize, CHILD_MAX_VSIZE)
    parent = parents[0].tx if parents else in_package[0]
    problem = _inheritance(tx, parent)
    if problem:
        return problem
    for other in package:
        if other is tx:
            continue
        for prevout in other.prevouts:
            if prevout[:32] == parent.txid:
                return _too_many_descendants(parent)
            if prevout[:32] == tx.txid:
                return _too_many_ancestors(other)
    return _too_many_descendants(parent) if parents and pool.descendants(parents[0]) else ""
