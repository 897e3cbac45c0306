"""What unconfirmed ancestors lack to a feerate, for who spends their outputs (Core's ``MiniMiner``).

Who spends an unconfirmed output at a feerate has to pay for its ancestors too, as far as miners would not take them
at that feerate by themselves. A template is made of the clusters concerned alone, by the feerate with ancestors, down
to the feerate; what is left over lacks something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from btcnode.mempool.feerate import fee_at
from btcnode.mempool.pool import Mempool
from btcnode.primitives.tx import Tx

MAX_TRANSACTIONS = 500  # in all clusters concerned together: with more nothing is computed
_BITS = 64  # of the part behind the point, to compare feerates as integers


class _Node(NamedTuple):
    fee: int
    vsize: int
    ancestors: frozenset[bytes]  # txids, its own among them
    descendants: frozenset[bytes]


class _Sums:
    """Fee and size of what is left of a transaction's ancestors, itself included."""

    __slots__ = ("fee", "vsize")

    def __init__(self, fee: int, vsize: int) -> None:
        self.fee = fee
        self.vsize = vsize


class BumpFees:
    """The clusters of some outpoints as they are when it is made; reads nothing of the pool afterwards."""

    def __init__(self, pool: Mempool, outpoints: Iterable[bytes]) -> None:
        self._nodes: dict[bytes, _Node] = {}
        self._replaced: dict[bytes, frozenset[bytes]] = {}
        entries = {}
        for outpoint in outpoints:
            entry = pool.get(outpoint[:32])
            if entry is None:
                continue
            spender = pool.spender_of(outpoint)
            if spender is not None:
                gone = [spender, *pool.descendants(spender)]
                self._replaced[outpoint] = frozenset(other.txid for other in gone)
            entries.update({other.txid: other for other in entry.cluster.entries})
        self._too_many = len(entries) > MAX_TRANSACTIONS
        if self._too_many:
            return
        ancestors = {txid: {txid, *(other.txid for other in pool.ancestors(entry))} for txid, entry in entries.items()}
        descendants: dict[bytes, set[bytes]] = {txid: set() for txid in entries}
        for txid, above in ancestors.items():
            for other in above:
                descendants[other].add(txid)
        for txid, entry in entries.items():
            sets = frozenset(ancestors[txid]), frozenset(descendants[txid])
            self._nodes[txid] = _Node(entry.modified_fee, entry.vsize, *sets)

    def _left_over(self, outpoints: Iterable[bytes], rate: int) -> dict[bytes, _Sums]:
        """What a template down to ``rate`` has no place for, when the outpoints are spent anew."""
        replaced = frozenset().union(*(self._replaced.get(outpoint, ()) for outpoint in outpoints))
        nodes: Mapping[bytes, _Node] = {txid: node for txid, node in self._nodes.items() if txid not in replaced}
        sums = {
            txid: _Sums(sum(nodes[up].fee for up in node.ancestors), sum(nodes[up].vsize for up in node.ancestors))
            for txid, node in nodes.items()
        }

        def worth(txid: bytes) -> tuple[int, bytes]:
            node, above = nodes[txid], sums[txid]
            return -min((node.fee << _BITS) // node.vsize, (above.fee << _BITS) // above.vsize), txid[::-1]

        while sums:
            best = min(sums, key=worth)
            if sums[best].fee < fee_at(rate, sums[best].vsize):
                break
            for txid in [up for up in nodes[best].ancestors if up in sums]:
                for below in nodes[txid].descendants:
                    if below in sums:
                        sums[below].fee -= nodes[txid].fee
                        sums[below].vsize -= nodes[txid].vsize
                del sums[txid]
        return sums

    def each(self, outpoints: Iterable[bytes], rate: int) -> dict[bytes, int]:
        """What each outpoint takes by itself, in satoshi; 0 for those with nothing unconfirmed above them.

        Also 0 for all when there are too many transactions to look at: then ``together`` says so.
        """
        outpoints = list(outpoints)
        result = dict.fromkeys(outpoints, 0)
        left = {} if self._too_many else self._left_over(outpoints, rate)
        for outpoint in outpoints:
            above = left.get(outpoint[:32])
            if above is not None:
                node = self._nodes[outpoint[:32]]
                alone = fee_at(rate, node.vsize) - node.fee
                result[outpoint] = max(fee_at(rate, above.vsize) - above.fee, alone)
        return result

    def together(self, outpoints: Iterable[bytes], rate: int) -> int | None:
        """What the outpoints take together; None when there are too many transactions to look at."""
        outpoints = [outpoint for outpoint in outpoints if outpoint[:32] in self._nodes or self._too_many]
        if not outpoints:
            return 0
        if self._too_many:
            return None
        left = self._left_over(outpoints, rate)
        above: set[bytes] = set()
        for outpoint in outpoints:
            if outpoint[:32] in left:
                above |= self._nodes[outpoint[:32]].ancestors & left.keys()
        fee = sum(self._nodes[txid].fee for txid in above)
        return fee_at(rate, sum(self._nodes[txid].vsize for txid in above)) - fee


def fits_cluster_limits(pool: Mempool, tx: Tx) -> bool:
    """Whether the cluster that a transaction would be in stays within the pool's limits."""
    entries = {tx.txid: tx.weight}
    for prevout in tx.prevouts:
        parent = pool.get(prevout[:32])
        if parent is not None:
            entries.update({other.txid: other.size for other in parent.cluster.entries})
    return len(entries) <= pool.max_cluster_count and sum(entries.values()) <= pool.max_cluster_size
