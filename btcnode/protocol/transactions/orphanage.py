"""Transactions whose parents we do not have, kept until these come; limits and eviction as in Bitcoin Core 31.

An orphan is kept for every peer that announced it. Memory is counted in weight units and what it costs to handle an
orphan as a score (one, and one more for ten inputs); each peer has a reserve of both. Only while all orphans together
are beyond the global limits, announcements are evicted: the oldest of the peer that is furthest beyond its own. So
nobody can make us drop what another peer told us, and no message costs more than the limits allow (CVE-2012-3789,
CVE-2024-52914).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.primitives.tx import Tx
from btcnode.protocol.limits import (
    MAX_ORPHANAGE_SCORE,
    MAX_PACKAGE_CANDIDATES,
    ORPHAN_SCORE_INPUTS,
    RESERVED_ORPHAN_WEIGHT_PER_PEER,
)
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from random import Random


class OrphanInfo(NamedTuple):
    """An orphan as ``getorphantxs`` tells of it: the transaction's hash and bytes, and the peers that announced it."""

    wtxid: bytes
    raw: bytes
    announcers: tuple[int, ...]

    @property
    def tx(self) -> Tx:
        """The transaction, parsed anew each time."""
        return Tx.parse(self.raw)


class OrphanIds(NamedTuple):
    """The hashes of an orphan."""

    wtxid: bytes
    txid: bytes


class _Orphan:
    """A transaction with its announcers, each with the number of its announcement, and whose turn it is.

    Kept as bytes: witnesses of many small elements take up to 16 times as much as objects. To make these takes up to
    40 ms, so whoever asks is told hashes and inputs without that.
    """

    __slots__ = ("announcers", "prevouts", "raw", "reconsider", "score", "txid", "weight")

    def __init__(self, tx: Tx, weight: int) -> None:
        self.raw = tx.raw
        self.txid = tx.txid
        self.prevouts = tx.prevouts
        self.weight = weight
        self.score = 1 + len(tx.prevouts) // ORPHAN_SCORE_INPUTS
        self.announcers: dict[int, int] = {}
        self.reconsider: int | None = None  # the peer in whose turn it is looked at again

    def tx(self) -> Tx:
        """The transaction."""
        return Tx.parse(self.raw)


class _Usage:
    """What one peer's announcements take. ``order`` holds (to be reconsidered, number, wtxid), ascending."""

    __slots__ = ("order", "score", "weight")

    def __init__(self) -> None:
        self.weight = 0
        self.score = 0
        self.order: list[tuple[bool, int, bytes]] = []


class Orphanage:
    """All orphans. Limits may be set for tests."""

    def __init__(
        self,
        max_score: int = MAX_ORPHANAGE_SCORE,
        reserved_weight: int = RESERVED_ORPHAN_WEIGHT_PER_PEER,
    ) -> None:
        self.max_score = max_score
        self.reserved_weight = reserved_weight
        self._orphans: dict[bytes, _Orphan] = {}  # by wtxid
        self._peers: dict[int, _Usage] = {}
        self._spenders: dict[bytes, dict[bytes, None]] = {}  # outpoint -> wtxids
        self._sequence = 0
        self.announcements = 0
        self.weight = 0  # of each orphan once
        self._input_score = 0  # what orphans score above one for each announcement

    # -- reading -------------------------------------------------------------------------------------------------

    def __contains__(self, wtxid: bytes) -> bool:
        return wtxid in self._orphans

    def __len__(self) -> int:
        """Orphans, each counted once."""
        return len(self._orphans)

    def get(self, wtxid: bytes) -> Tx | None:
        """The orphan with this wtxid, parsed anew."""
        orphan = self._orphans.get(wtxid)
        return orphan.tx() if orphan is not None else None

    def raws(self) -> dict[bytes, bytes]:
        """All orphans, serialised, by wtxid."""
        return {wtxid: orphan.raw for wtxid, orphan in self._orphans.items()}

    def prevouts(self, wtxid: bytes) -> Sequence[bytes]:
        """The outpoints that an orphan spends, none for an unknown one."""
        orphan = self._orphans.get(wtxid)
        return orphan.prevouts if orphan is not None else ()

    def has_from(self, wtxid: bytes, peer: int) -> bool:
        """Whether the peer announced this orphan."""
        orphan = self._orphans.get(wtxid)
        return orphan is not None and peer in orphan.announcers

    @property
    def score(self) -> int:
        """What handling all orphans costs, in announcements."""
        return self._input_score + self.announcements

    @property
    def max_weight(self) -> int:
        """Global limit of ``weight``: the reserves of all peers with orphans."""
        return self.reserved_weight * max(1, len(self._peers))

    @property
    def max_peer_score(self) -> int:
        """A peer's share of the global limit of ``score``."""
        return self.max_score // max(1, len(self._peers))

    def all(self) -> list[OrphanInfo]:
        """Every orphan with its announcers."""
        return [OrphanInfo(wtxid, o.raw, tuple(o.announcers)) for wtxid, o in self._orphans.items()]

    def children_from(self, parent: Tx, peer: int) -> Iterator[OrphanIds]:
        """Orphans announced by the peer that spend outputs of ``parent``: those to be reconsidered, then the newest.

        At most ``MAX_PACKAGE_CANDIDATES``: a peer that announces more hides its own transactions only.
        """
        usage = self._peers.get(peer)
        if usage is None:
            return
        found: dict[bytes, tuple[bool, int, bytes]] = {}
        spenders, txid = self._spenders, parent.txid
        for vout in range(len(parent.txouts)):
            for wtxid in spenders.get(txid + vout.to_bytes(4, "little"), ()):
                if wtxid not in found and peer in self._orphans[wtxid].announcers:
                    found[wtxid] = self._key(wtxid, peer)
        newest = heapq.nlargest(MAX_PACKAGE_CANDIDATES, found.values())
        for _, _, wtxid in newest:
            yield OrphanIds(wtxid, self._orphans[wtxid].txid)

    # -- coming --------------------------------------------------------------------------------------------------

    def add(self, tx: Tx, peer: int) -> bool:
        """Keep an orphan that the peer sent; tells whether it is new. Those above standard weight are not kept."""
        wtxid = tx.wtxid
        orphan = self._orphans.get(wtxid)
        if orphan is not None:
            self.add_announcer(wtxid, peer)
            return False
        weight = tx.weight
        if weight > MAX_STANDARD_TX_WEIGHT:
            return False
        orphan = self._orphans[wtxid] = _Orphan(tx, weight)
        for outpoint in tx.prevouts:
            self._spenders.setdefault(outpoint, {})[wtxid] = None
        self.weight += weight
        self._input_score += orphan.score - 1
        self._announce(orphan, wtxid, peer)
        self._limit()
        return True

    def add_announcer(self, wtxid: bytes, peer: int) -> bool:
        """Another peer has the orphan; tells whether that is news."""
        orphan = self._orphans.get(wtxid)
        if orphan is None or peer in orphan.announcers:
            return False
        self._announce(orphan, wtxid, peer)
        self._limit()
        return True

    def _announce(self, orphan: _Orphan, wtxid: bytes, peer: int) -> None:
        usage = self._peers.get(peer)
        if usage is None:
            usage = self._peers[peer] = _Usage()
        orphan.announcers[peer] = self._sequence
        insort(usage.order, (False, self._sequence, wtxid))
        self._sequence += 1
        self.announcements += 1
        usage.weight += orphan.weight
        usage.score += orphan.score

    def mark_for_reconsideration(self, wtxid: bytes, peer: int) -> None:
        """Mark an orphan that the peer announced to be reconsidered in its turn, unless it is marked already."""
        orphan = self._orphans.get(wtxid)
        if orphan is not None and orphan.reconsider is None and peer in orphan.announcers:
            self._mark(orphan, wtxid, peer)

    # -- another look --------------------------------------------------------------------------------------------

    def parent_came(self, parent: Tx, rng: Random) -> list[int]:
        """Mark the orphans that spend from ``parent``, each for one of its peers; returns these peers, each once."""
        peers: dict[int, None] = {}
        spenders, txid = self._spenders, parent.txid
        for vout in range(len(parent.txouts)):
            for wtxid in spenders.get(txid + vout.to_bytes(4, "little"), ()):
                orphan = self._orphans[wtxid]
                if orphan.reconsider is None:
                    peer = list(orphan.announcers)[rng.randrange(len(orphan.announcers))]
                    self._mark(orphan, wtxid, peer)
                    peers[peer] = None
        return list(peers)

    def _mark(self, orphan: _Orphan, wtxid: bytes, peer: int) -> None:
        order = self._peers[peer].order
        del order[bisect_left(order, self._key(wtxid, peer))]
        orphan.reconsider = peer
        insort(order, self._key(wtxid, peer))

    def has_work(self, peer: int) -> bool:
        """Whether an orphan is to be reconsidered in this peer's turn."""
        usage = self._peers.get(peer)
        return usage is not None and bool(usage.order) and usage.order[-1][0]

    def take_work(self, peer: int) -> bytes | None:
        """The wtxid of the oldest orphan to be reconsidered in this peer's turn; it stays, without the mark."""
        usage = self._peers.get(peer)
        if usage is None:
            return None
        order = usage.order
        at = bisect_left(order, (True, -1, b""))
        if at == len(order):
            return None
        _, sequence, wtxid = order.pop(at)
        orphan = self._orphans[wtxid]
        orphan.reconsider = None
        insort(order, (False, sequence, wtxid))
        return wtxid

    # -- going ---------------------------------------------------------------------------------------------------

    def erase(self, wtxid: bytes) -> bool:
        """Forget an orphan; tells whether there was one."""
        found = self._erase(wtxid)
        self._limit()
        return found

    def erase_peer(self, peer: int) -> None:
        """Forget what a peer announced; orphans that others announced too stay."""
        usage = self._peers.get(peer)
        if usage is None:
            return
        for _, _, wtxid in list(usage.order):
            self._withdraw(self._orphans[wtxid], wtxid, peer)
        self._limit()

    def erase_spenders(self, outpoints: Iterable[bytes]) -> int:
        """Forget orphans that spend what a block has spent (the block's own transactions too); returns how many."""
        if not self._orphans:
            return 0
        spenders = self._spenders
        gone: dict[bytes, None] = {}
        for outpoint in outpoints:
            if outpoint in spenders:
                gone.update(spenders[outpoint])
        for wtxid in gone:
            self._erase(wtxid)
        self._limit()
        return len(gone)

    def _erase(self, wtxid: bytes) -> bool:
        orphan = self._orphans.get(wtxid)
        if orphan is None:
            return False
        for peer in list(orphan.announcers):
            self._withdraw(orphan, wtxid, peer)
        return True

    def _withdraw(self, orphan: _Orphan, wtxid: bytes, peer: int) -> None:
        """Take one announcement back; the last one takes the orphan with it."""
        usage = self._peers[peer]
        order = usage.order
        del order[bisect_left(order, self._key(wtxid, peer))]
        del orphan.announcers[peer]
        if orphan.reconsider == peer:
            orphan.reconsider = None
        self.announcements -= 1
        usage.weight -= orphan.weight
        usage.score -= orphan.score
        if not order:
            del self._peers[peer]
        if orphan.announcers:
            return
        del self._orphans[wtxid]
        self.weight -= orphan.weight
        self._input_score -= orphan.score - 1
        for outpoint in orphan.prevouts:
            wtxids = self._spenders.get(outpoint)
            if wtxids is not None:
                wtxids.pop(wtxid, None)
                if not wtxids:
                    del self._spenders[outpoint]

    def _key(self, wtxid: bytes, peer: int) -> tuple[bool, int, bytes]:
        orphan = self._orphans[wtxid]
        return orphan.reconsider == peer, orphan.announcers[peer], wtxid

    # -- limits --------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the global limits are exceeded, which lasts until the end of the call that caused it."""
        return self.score > self.max_score or self.weight > self.max_weight

    def _limit(self) -> None:
        """Evict the oldest announcements of the peers furthest beyond their reserves until the limits hold.

        A peer's excess is the larger of two ratios (score to its share, weight to its reserve), here over a common
        denominator; of equal ones the score's counts as worse, then the younger peer's, as in Core. The shares are
        those at the start, though evicting may leave fewer peers.
        """
        if not self.is_full:
            return
        score_share, weight_share = self.max_peer_score, self.reserved_weight
        allowed = score_share * weight_share

        def excess(usage: _Usage) -> tuple[int, int]:
            score, weight = usage.score * weight_share, usage.weight * score_share
            return (score, 1) if score >= weight else (weight, 0)

        heap = [(-e[0], -e[1], -peer) for peer, u in self._peers.items() if (e := excess(u))[0] > allowed]
        heapq.heapify(heap)
        while heap and self.is_full:
            worst = -heapq.heappop(heap)[2]
            threshold = (-heap[0][0], -heap[0][1]) if heap else (allowed, 2)
            usage = self._peers[worst]
            while self.is_full and usage.order:
                wtxid = usage.order[0][2]
                self._withdraw(self._orphans[wtxid], wtxid, worst)
                if excess(usage) <= threshold:
                    break
            if usage.order:
                first, second = excess(usage)
                heapq.heappush(heap, (-first, -second, -worst))
