"""Which peer is asked for which announced transaction, and when.

Rules and states are those of Bitcoin Core's ``txrequest``. Each pair of a peer and a hash that it announced is one
announcement: a candidate that may be asked for from a certain time on, then requested until it expires, then
completed. For each hash at most one peer is asked at a time. Among several candidates preferred peers come first,
then chance decides, by a keyed hash, so that coming first or coming back wins nothing. An announcement that failed
is remembered while others of the same hash are alive: nobody is asked twice.

Work: every operation is O(1) or, where the next one of a hash has to be chosen, linear in the peers that announced it
(at most as many as there are connections); time-outs lie in one heap, whose outdated entries never outnumber the rest
for long. A hundred peers that announce the same make a hundred thousand of them due in one moment, and one of them that
goes has others chosen in its place thousands of times: whoever advances the time says how much he has time for, and
the rest is due the next time.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable
from hashlib import blake2b
from operator import attrgetter

_DELAYED, _READY, _BEST, _REQUESTED, _COMPLETED = range(5)
_PREFERRED = 1 << 63
_CHOICES_AT_ONCE = 5_000  # announcements looked at for choices between two calls of ``advance``: some milliseconds
_HEAP_SLACK = 1024  # outdated heap entries that are not worth a clean-up

_BY_SEQUENCE = attrgetter("sequence")


class _Announcement:
    """One peer's announcement of one hash. ``time`` is that of the request or its expiry.

    ``next`` and ``before`` are other peers' announcements of the hash: an older and a younger one.
    """

    __slots__ = ("before", "by_wtxid", "hash", "next", "peer", "preferred", "priority", "sequence", "state", "time")

    def __init__(self, peer: int, tx_hash: bytes, by_wtxid: bool, preferred: bool, time: float, sequence: int) -> None:
        self.peer = peer
        self.hash = tx_hash
        self.by_wtxid = by_wtxid
        self.preferred = preferred
        self.time = time
        self.sequence = sequence
        self.state = _DELAYED
        self.priority = -1  # computed when a choice has to be made
        self.next: _Announcement | None = None
        self.before: _Announcement | None = None


class _PeerAnnouncements:
    """All announcements of one peer by hash; those that may be requested now; how many are in which state."""

    __slots__ = ("all", "best", "completed", "requested")

    def __init__(self) -> None:
        self.all: dict[bytes, _Announcement] = {}
        self.best: dict[bytes, _Announcement] = {}
        self.requested = 0
        self.completed = 0


class TxRequests:
    """All announcements. Times are seconds of one clock that does not go back; ``key`` makes the choices secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._peers: dict[int, _PeerAnnouncements] = {}
        self._first: dict[bytes, _Announcement] = {}  # of a list linked by ``next``, one for each peer
        self._selected: dict[bytes, _Announcement] = {}  # by hash: the one that is best or requested
        self._waiting: list[tuple[float, int, _Announcement]] = []  # heap of delayed and requested ones
        self._live = 0  # entries of the heap that are not outdated
        self._sequence = 0
        self._size = 0
        self._looked_at = 0  # announcements, since the start
        self._chosen_until = _CHOICES_AT_ONCE  # the value of that from which on choices wait for ``advance``
        self._unchosen: dict[bytes, None] = {}  # hashes of those choices
        self.askable: dict[int, None] = {}  # peers that something may be asked of now

    # -- changes -------------------------------------------------------------------------------------------------

    def announced(self, peer: int, tx_hash: bytes, by_wtxid: bool, preferred: bool, time: float) -> None:
        """A peer has a transaction, which it may be asked for from ``time`` on; repetitions change nothing."""
        info = self._peers.get(peer)
        if info is None:
            info = self._peers[peer] = _PeerAnnouncements()
        elif tx_hash in info.all:
            return
        ann = _Announcement(peer, tx_hash, by_wtxid, preferred, time, self._sequence)
        self._sequence += 1
        self._size += 1
        info.all[tx_hash] = ann
        if (older := self._first.get(tx_hash)) is not None:
            ann.next, older.before = older, ann
        self._first[tx_hash] = ann
        self._wait(ann)

    def disconnected(self, peer: int) -> None:
        """Forget a peer; what it was asked for is asked of others."""
        info = self._peers.get(peer)
        if info is None:
            return
        for ann in list(info.all.values()):
            if self._complete(ann):
                self._unlink(ann)
        self._peers.pop(peer, None)

    def known(self, hashes: Iterable[bytes]) -> list[bytes]:
        """Those of ``hashes`` that somebody has announced."""
        first = self._first
        return [tx_hash for tx_hash in hashes if tx_hash in first] if first else []

    def forget(self, tx_hash: bytes) -> None:
        """The transaction is not needed any more."""
        ann = self._first.pop(tx_hash, None)
        while ann is not None:
            self._set_state(ann, _COMPLETED)
            self._drop(ann)
            ann.before = None  # no circles
            ann = ann.next

    def advance(self, now: float, most: int = sys.maxsize) -> list[tuple[int, bytes, bool]]:
        """Time has come to ``now``; returns the requests (peer, hash, by wtxid) that nobody answered in time.

        ``most``: announcements that are looked at, those of a hash from which another one is chosen included.
        """
        expired: list[tuple[int, bytes, bool]] = []
        heap = self._waiting
        end = self._looked_at + most
        while self._unchosen and self._looked_at < end:
            tx_hash = next(iter(self._unchosen))
            del self._unchosen[tx_hash]
            self._looked_at += 1  # nobody may have it any more
            self._choose(tx_hash)
        self._chosen_until = sys.maxsize  # here each is followed by a look at the end
        while heap and heap[0][0] <= now and self._looked_at < end:
            time, _, ann = heapq.heappop(heap)
            self._looked_at += 1
            if time != ann.time or ann.state not in (_DELAYED, _REQUESTED):
                continue
            if ann.state == _DELAYED:
                self._set_state(ann, _READY)
                self._promote(ann)
            else:
                expired.append((ann.peer, ann.hash, ann.by_wtxid))
                self._complete(ann)
        self._chosen_until = self._looked_at + _CHOICES_AT_ONCE
        return expired

    def requestable(self, peer: int) -> list[tuple[bytes, bool]]:
        """What to ask the peer for now, (hash, by wtxid) in the order of its announcements; see ``advance``."""
        info = self._peers.get(peer)
        if info is None or not info.best:
            return []
        return [(ann.hash, ann.by_wtxid) for ann in sorted(info.best.values(), key=_BY_SEQUENCE)]

    def requested(self, peer: int, tx_hash: bytes, expiry: float) -> None:
        """The peer was asked, and has time until ``expiry``; nothing happens if it is no candidate."""
        info = self._peers.get(peer)
        ann = info.all.get(tx_hash) if info is not None else None
        if ann is None or ann.state > _BEST:
            return
        if ann.state != _BEST:
            other = self._selected.get(tx_hash)
            if other is not None:
                self._set_state(other, _READY if other.state == _BEST else _COMPLETED)
        self._set_state(ann, _REQUESTED)
        ann.time = expiry
        self._wait(ann)

    def answered(self, peer: int, tx_hash: bytes) -> None:
        """The peer sent the transaction, or that it has it not: it is not asked again."""
        info = self._peers.get(peer)
        ann = info.all.get(tx_hash) if info is not None else None
        if ann is not None:
            self._complete(ann)

    # -- reading -------------------------------------------------------------------------------------------------

    def has_announced(self, peer: int) -> bool:
        """Whether anything that the peer announced is remembered: else it has nothing to be asked for."""
        return peer in self._peers

    def is_requested(self, peer: int, tx_hash: bytes) -> bool:
        """Whether the peer was asked for the transaction by this hash, and has not answered."""
        info = self._peers.get(peer)
        ann = info.all.get(tx_hash) if info is not None else None
        return ann is not None and ann.state == _REQUESTED

    def candidates(self, tx_hash: bytes) -> list[int]:
        """Peers that announced the hash and did not fail to deliver it."""
        peers = []
        ann = self._first.get(tx_hash)
        while ann is not None:
            if ann.state != _COMPLETED:
                peers.append(ann.peer)
            ann = ann.next
        peers.reverse()
        return peers

    def count(self, peer: int) -> int:
        """Announcements of a peer, whatever their state."""
        info = self._peers.get(peer)
        return len(info.all) if info is not None else 0

    def in_flight(self, peer: int) -> int:
        """Requests that the peer has not answered."""
        info = self._peers.get(peer)
        return info.requested if info is not None else 0

    def waiting(self, peer: int) -> int:
        """Announcements of the peer that it was not asked for yet."""
        info = self._peers.get(peer)
        return len(info.all) - info.requested - info.completed if info is not None else 0

    def __len__(self) -> int:
        """Announcements of all peers."""
        return self._size

    # -- states --------------------------------------------------------------------------------------------------

    def _wait(self, ann: _Announcement) -> None:
        """Put a delayed or requested announcement on the heap; clean the heap up when most of it is outdated."""
        heap = self._waiting
        self._live += 1
        if len(heap) > 2 * self._live + _HEAP_SLACK:
            heap[:] = [
                entry for entry in heap if entry[0] == entry[2].time and entry[2].state in (_DELAYED, _REQUESTED)
            ]
            heapq.heapify(heap)
        heapq.heappush(heap, (ann.time, self._sequence, ann))
        self._sequence += 1

    def _set_state(self, ann: _Announcement, state: int) -> None:
        """Change the state and all that is counted by it."""
        info = self._peers[ann.peer]
        before = ann.state
        if before in (_DELAYED, _REQUESTED):
            self._live -= 1
            if not self._live:
                self._waiting.clear()  # of outdated entries
        if before in (_BEST, _REQUESTED):
            del self._selected[ann.hash]
        if before == _BEST:
            del info.best[ann.hash]
            if not info.best:
                del self.askable[ann.peer]
        elif before == _REQUESTED:
            info.requested -= 1
        elif before == _COMPLETED:
            info.completed -= 1
        ann.state = state
        if state in (_BEST, _REQUESTED):
            self._selected[ann.hash] = ann
        if state == _BEST:
            info.best[ann.hash] = ann
            self.askable[ann.peer] = None
        elif state == _REQUESTED:
            info.requested += 1
        elif state == _COMPLETED:
            info.completed += 1

    def _promote(self, ann: _Announcement) -> None:
        """A candidate became ready: it is the best if there is no better one and no request under way."""
        best = self._selected.get(ann.hash)
        if best is None:
            self._set_state(ann, _BEST)
        elif best.state == _BEST and self._priority(ann) > self._priority(best):
            self._set_state(best, _READY)
            self._set_state(ann, _BEST)

    def _complete(self, ann: _Announcement) -> bool:
        """Take an announcement out of the race and choose the next; False if that was the last one alive."""
        if ann.state == _COMPLETED:
            return True
        was_selected = ann.state in (_BEST, _REQUESTED)
        self._set_state(ann, _COMPLETED)
        other = self._first.get(ann.hash)
        while other is not None and other.state == _COMPLETED:
            self._looked_at += 1
            other = other.next
        if other is None:
            self.forget(ann.hash)
            return False
        if was_selected and self._looked_at < self._chosen_until:
            self._choose(ann.hash)
        elif was_selected:
            self._unchosen[ann.hash] = None
        return True

    def _choose(self, tx_hash: bytes) -> None:
        """Let the best of those who may be asked for the hash now be asked, unless somebody is."""
        chosen = best = self._selected.get(tx_hash)
        if chosen is not None and chosen.state == _REQUESTED:
            return
        other = self._first.get(tx_hash)
        while other is not None:
            self._looked_at += 1
            if other.state == _READY and (best is None or self._priority(other) > self._priority(best)):
                best = other
            other = other.next
        if best is chosen or best is None:
            return
        if chosen is not None:
            self._set_state(chosen, _READY)
        self._set_state(best, _BEST)

    def _unlink(self, ann: _Announcement) -> None:
        """Take one announcement out of the list of its hash."""
        older, younger = ann.next, ann.before
        ann.next = ann.before = None
        if older is not None:
            older.before = younger
        if younger is not None:
            younger.next = older
        elif older is not None:
            self._first[ann.hash] = older
        else:
            del self._first[ann.hash]
        self._drop(ann)

    def _drop(self, ann: _Announcement) -> None:
        """Forget an announcement on its peer's side; it is completed and in no list of a hash."""
        info = self._peers[ann.peer]
        del info.all[ann.hash]
        info.completed -= 1
        self._size -= 1
        if not info.all:
            del self._peers[ann.peer]

    def _priority(self, ann: _Announcement) -> int:
        """Preferred first, then as good as random but always the same for a peer and a hash."""
        if ann.priority < 0:
            text = ann.hash + ann.peer.to_bytes(8, "little")
            low = int.from_bytes(blake2b(text, digest_size=8, key=self._key).digest(), "little") >> 1
            ann.priority = low | _PREFERRED if ann.preferred else low
        return ann.priority
