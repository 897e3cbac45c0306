"""What to fetch and what to make of it: Bitcoin Core's ``TxDownloadManager``, without network and validation.

It knows what we have, what was refused lately and what a block confirmed lately; it decides which announcements are
followed, what becomes of a refused transaction (an orphan, half of a package, a reject), and which orphans deserve
another look. Rejects are remembered by wtxid, since a third party can change witnesses; by txid only where the
witness does not matter.
"""

from __future__ import annotations

from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING

from btcnode.mempool.rejection import TxResult
from btcnode.protocol.limits import (
    GETDATA_TX_INTERVAL,
    MAX_ORPHAN_RESOLUTIONS,
    MAX_PEER_TX_ANNOUNCEMENTS,
    MAX_PEER_TX_REQUEST_IN_FLIGHT,
    MAX_TX_ANNOUNCEMENTS,
    NONPREF_PEER_TX_DELAY,
    OVERLOADED_PEER_TX_DELAY,
    RECENT_REJECTS,
    RECENT_REJECTS_BITS_LOG2,
    RECENT_REJECTS_HASHES,
    RECENTLY_CONFIRMED,
    TXID_RELAY_DELAY,
)
from btcnode.protocol.rolling_set import RollingSet
from btcnode.protocol.serving.bloom import BloomHasher, RollingBloom
from btcnode.protocol.transactions.orphanage import Orphanage
from btcnode.protocol.transactions.tx_requests import TxRequests
from btcnode.record import struct
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from random import Random

    from btcnode.primitives.block import ParsedBlock
    from btcnode.primitives.tx import Tx
    from btcnode.protocol.chain_view import TxSource


class Known(Enum):
    """What is known of a transaction's hash."""

    NEW = "new"
    TOO_CHEAP = "too cheap"  # refused for its fee alone: good for half of a package
    FOR_GOOD = "for good"  # we have it, or it was refused for good, or confirmed


class Package(NamedTuple):
    """A parent and its child to be judged together, and the peers that sent them."""

    txs: tuple[Tx, Tx]
    senders: tuple[int, int]


@struct
class Refused:
    """What follows from a refusal: is it news for compact blocks, which parents are missed, which package to try.

    ``worker``: a peer in whose turn an orphan shall be looked at again at once.
    """

    is_news: bool
    parents: list[bytes]
    package: Package | None = None
    worker: int | None = None
    hopeless: bool = False  # no orphan, because parents of it were refused


class _PeerTraits(NamedTuple):
    preferred: bool
    privileged: bool  # has the relay permission: no limits
    wtxid_relay: bool


class TxDownload:
    """The memory of all transaction downloads. ``source`` is the mempool."""

    def __init__(self, source: TxSource, rng: Random, *, memory_shift: int = 0) -> None:
        """``memory_shift``: what was refused or confirmed is remembered 2**n times less long."""
        self._source = source
        self._rng = rng
        self.orphanage = Orphanage()
        self.tracker = TxRequests(rng.randbytes(16))
        hasher = BloomHasher(rng.randbytes(16), RECENT_REJECTS_BITS_LOG2 - memory_shift, RECENT_REJECTS_HASHES)
        self._hasher = hasher
        self._rejects = RollingBloom(b"", RECENT_REJECTS >> memory_shift, hasher=hasher)
        self._reconsiderable = RollingBloom(b"", RECENT_REJECTS >> memory_shift, hasher=hasher)
        self._confirmed = RollingSet(RECENTLY_CONFIRMED >> memory_shift)
        self._peers: dict[int, _PeerTraits] = {}
        self._wtxid_peers = 0

    # -- peers and blocks ----------------------------------------------------------------------------------------

    def connected(self, peer: int, *, preferred: bool, privileged: bool, wtxid_relay: bool) -> None:
        """A peer that may announce transactions; see the class of its traits."""
        if peer not in self._peers:
            self._peers[peer] = _PeerTraits(preferred, privileged, wtxid_relay)
            self._wtxid_peers += wtxid_relay

    def disconnected(self, peer: int) -> None:
        """Forget a peer."""
        traits = self._peers.pop(peer, None)
        if traits is not None:
            self._wtxid_peers -= traits.wtxid_relay
        self.orphanage.erase_peer(peer)
        self.tracker.disconnected(peer)

    def tip_changed(self) -> None:
        """What was refused may be valid now."""
        self._rejects.clear()
        self._reconsiderable.clear()

    def block_connected(self, block: ParsedBlock) -> int:
        """Confirmed transactions are not asked for, and orphans that conflict are dropped; returns how many."""
        erased = self.orphanage.erase_spenders(block.prevouts())
        for hashes in (block.txids, block.wtxids):
            self._confirmed.add(hashes)
            for tx_hash in self.tracker.known(hashes):
                self.tracker.forget(tx_hash)
        return erased

    def block_disconnected(self) -> None:
        """What was confirmed may not be so any more."""
        self._confirmed.clear()

    # -- announcements and requests ------------------------------------------------------------------------------

    def known(self, tx_hash: bytes, by_wtxid: bool) -> Known:
        """What is known of the transaction.

        Orphans are looked for by wtxid only: another one may have the same txid.
        """
        if tx_hash in self.orphanage or self._source.find_tx(tx_hash, by_wtxid) is not None:
            return Known.FOR_GOOD
        if tx_hash in self._confirmed:
            return Known.FOR_GOOD
        if self._rejects.is_empty and self._reconsiderable.is_empty:
            return Known.NEW
        positions = self._hasher.positions(tx_hash)
        if self._rejects.has(positions):
            return Known.FOR_GOOD
        return Known.TOO_CHEAP if self._reconsiderable.has(positions) else Known.NEW

    def already_have(self, tx_hash: bytes, by_wtxid: bool, *, reconsiderable: bool) -> bool:
        """Whether the transaction need not be fetched; ``reconsiderable``: nor if it was refused for its fee alone."""
        known = self.known(tx_hash, by_wtxid)
        return known is Known.FOR_GOOD or (reconsiderable and known is Known.TOO_CHEAP)

    def announced(self, peer: int, tx_hash: bytes, by_wtxid: bool, now: float) -> bool:
        """A peer announced a transaction; tells whether we had it. For an orphan of ours it may know the parents."""
        if by_wtxid and tx_hash in self.orphanage and self._may_resolve(tx_hash, peer):
            # once for each peer and orphan, also if nothing is missing: looking at thousands of parents takes long
            self._resolve_by(self._missing_parents(self.orphanage.prevouts(tx_hash)), peer, now)
            self.orphanage.add_announcer(tx_hash, peer)
            return True
        if self.already_have(tx_hash, by_wtxid, reconsiderable=True):
            return True
        traits = self._peers.get(peer)
        if traits is None or (not traits.privileged and self.tracker.count(peer) >= self._peer_limit()):
            return False
        time = now
        if not traits.preferred:
            time += NONPREF_PEER_TX_DELAY
        if not by_wtxid and self._wtxid_peers:
            time += TXID_RELAY_DELAY
        self.tracker.announced(peer, tx_hash, by_wtxid, traits.preferred, time + self._overload_delay(peer, traits))
        return False

    def _peer_limit(self) -> int:
        """How many announcements of one peer are remembered: fewer when all peers together have too many."""
        if len(self.tracker) < MAX_TX_ANNOUNCEMENTS:
            return MAX_PEER_TX_ANNOUNCEMENTS
        return min(MAX_PEER_TX_ANNOUNCEMENTS, MAX_TX_ANNOUNCEMENTS // max(1, len(self._peers)))

    def _overload_delay(self, peer: int, traits: _PeerTraits) -> float:
        busy = not traits.privileged and self.tracker.in_flight(peer) >= MAX_PEER_TX_REQUEST_IN_FLIGHT
        return OVERLOADED_PEER_TX_DELAY if busy else 0.0

    def _may_resolve(self, wtxid: bytes, peer: int, tx: Tx | None = None) -> bool:
        """Whether the peer is one to be asked for the parents; every input counts as one of them, to decide quickly."""
        traits = self._peers.get(peer)
        if traits is None or self.orphanage.has_from(wtxid, peer):
            return False
        inputs = len(tx.prevouts if tx is not None else self.orphanage.prevouts(wtxid))
        return traits.privileged or self.tracker.count(peer) + inputs <= self._peer_limit()

    def _resolve_by(self, parents: list[bytes], peer: int, now: float) -> None:
        """Take a peer with an orphan as one with its parents too."""
        traits = self._peers[peer]
        time = now
        if not traits.preferred:
            time += NONPREF_PEER_TX_DELAY
        if self._wtxid_peers:
            time += TXID_RELAY_DELAY  # the parent may be on its way
        time += self._overload_delay(peer, traits)
        for txid in parents:
            self.tracker.announced(peer, txid, False, traits.preferred, time)

    def requests(self, peer: int, now: float, busy: Container[bytes], limit: int) -> list[tuple[bytes, bool]]:
        """What to ask the peer for now, (hash, by wtxid), at most ``limit``; ``busy`` is being validated and waits."""
        tracker = self.tracker
        found: list[tuple[bytes, bool]] = []
        for tx_hash, by_wtxid in tracker.requestable(peer):
            if tx_hash in busy:
                continue
            if self.already_have(tx_hash, by_wtxid, reconsiderable=False):
                tracker.forget(tx_hash)
                continue
            tracker.requested(peer, tx_hash, now + GETDATA_TX_INTERVAL)
            found.append((tx_hash, by_wtxid))
            if len(found) >= limit:
                break
        return found

    # -- transactions --------------------------------------------------------------------------------------------

    def received(self, peer: int, tx: Tx, known: Known | None = None) -> tuple[bool, Package | None]:
        """A peer sent a transaction: is it to be judged by itself, or as part of a package, or (False, None) not.

        ``known``: what ``known`` has just said of its wtxid, where it was asked.
        """
        wtxid = tx.wtxid
        if self.tracker.has_announced(peer):
            self.tracker.answered(peer, tx.txid)
            if tx.has_witness:
                self.tracker.answered(peer, wtxid)
        if known is None:
            known = self.known(wtxid, True)
        return known is Known.NEW, self._package(tx, peer) if known is Known.TOO_CHEAP else None

    def accepted(self, tx: Tx) -> list[int]:
        """The transaction is in the mempool; returns the peers in whose turn orphans deserve another look."""
        if self.tracker:
            self.tracker.forget(tx.txid)
            self.tracker.forget(tx.wtxid)
        if not self.orphanage:
            return []
        peers = self.orphanage.parent_came(tx, self._rng)
        self.orphanage.erase(tx.wtxid)
        return peers

    def refused_unread(self, wtxid: bytes) -> None:
        """A transaction that is beyond every limit, whatever it contains."""
        self._rejects.add(wtxid)
        self.tracker.forget(wtxid)

    def refused(self, tx: Tx, result: TxResult, peer: int, *, first_time: bool, now: float, since: int = 0) -> Refused:
        """The transaction was not accepted. ``first_time``: it came from the peer just now, alone.

        ``since`` is the mempool's sequence when it was handed over: parents that came in later make it worth another
        look at once.
        """
        refused = Refused(first_time, [])
        if result is TxResult.MISSING_INPUTS:
            if first_time and tx.wtxid not in self._rejects:
                self._orphan(tx, peer, refused, now, since)
            return refused
        if result is TxResult.WITNESS_STRIPPED:
            refused.is_news = False  # the same with its witness may be fine: nothing is remembered
        else:
            self._remember(tx, result)
            if result is TxResult.RECONSIDERABLE and first_time:
                refused.package = self._package(tx, peer)
        self.orphanage.erase(tx.wtxid)
        return refused

    def package_refused(self, txs: tuple[Tx, ...]) -> None:
        """This very package is not tried again."""
        self._reconsiderable.add(package_hash([tx.wtxid for tx in txs]))

    def _remember(self, tx: Tx, result: TxResult) -> None:
        txid, wtxid = tx.txid, tx.wtxid
        (self._reconsiderable if result is TxResult.RECONSIDERABLE else self._rejects).add(wtxid)
        self.tracker.forget(wtxid)
        if result is TxResult.INPUTS_NOT_STANDARD and tx.has_witness:
            self._rejects.add(txid)  # no witness would help
            self.tracker.forget(txid)

    def _orphan(self, tx: Tx, peer: int, refused: Refused, now: float, since: int) -> None:
        """Keep a transaction without parents, unless these were refused themselves."""
        txid, wtxid = tx.txid, tx.wtxid
        refused.is_news = refused.is_news and wtxid not in self.orphanage
        everybody = dict.fromkeys([peer, *self.tracker.candidates(txid), *self.tracker.candidates(wtxid)])
        candidates = [candidate for candidate in everybody if self._may_resolve(wtxid, candidate, tx)]
        if candidates:
            missing, came_since = self._judge_parents(tx, since)
            if missing is None:
                refused.hopeless = True
                self._rejects.add(txid)
                self._rejects.add(wtxid)
            else:
                refused.parents = missing
                askable = max(1, MAX_ORPHAN_RESOLUTIONS // max(1, len(missing)))
                for candidate in candidates[:askable]:
                    self._resolve_by(missing, candidate, now)
                    self.orphanage.add(tx, candidate)
                if came_since:
                    refused.worker = candidates[0]
                    self.orphanage.mark_for_reconsideration(wtxid, refused.worker)
        self.tracker.forget(txid)
        self.tracker.forget(wtxid)

    def _judge_parents(self, tx: Tx, since: int) -> tuple[list[bytes] | None, bool]:
        """The parents to be fetched, and whether one came into the mempool since; one walk over all of them.

        None instead if there is no hope: a parent was refused for good, or more than one for its fee, as a package
        has one parent.
        """
        missing: list[bytes] = []
        too_cheap = 0
        came_since = False
        for txid in _parents(tx.prevouts):
            positions = self._hasher.positions(txid)
            if self._rejects.has(positions):
                return None, False
            entry = self._source.find_tx(txid, False)
            if entry is not None:
                came_since = came_since or entry.sequence >= since
                continue
            too_cheap += self._reconsiderable.has(positions)
            if txid not in self.orphanage and txid not in self._confirmed:
                missing.append(txid)
        return (None, False) if too_cheap > 1 else (missing, came_since)

    def _missing_parents(self, prevouts: Sequence[bytes]) -> list[bytes]:
        return [txid for txid in _parents(prevouts) if not self.already_have(txid, False, reconsiderable=False)]

    def _package(self, parent: Tx, peer: int) -> Package | None:
        """The parent with a child from the same peer that was not refused with it before.

        Of the same peer only: else an attacker's children would be tried in place of the honest one.
        """
        for child in self.orphanage.children_from(parent, peer):
            if package_hash((parent.wtxid, child.wtxid)) in self._reconsiderable or child.txid in self._rejects:
                continue
            if (tx := self.orphanage.get(child.wtxid)) is not None:
                return Package((parent, tx), (peer, peer))
        return None


def _parents(prevouts: Sequence[bytes]) -> list[bytes]:
    """Txids that are spent from, each once."""
    return list(dict.fromkeys([prevout[:32] for prevout in prevouts]))


def package_hash(wtxids: Sequence[bytes]) -> bytes:
    """SHA-256 over the sorted wtxids: names a set of transactions, whatever their order."""
    return sha256(b"".join(sorted(wtxids))).digest()
