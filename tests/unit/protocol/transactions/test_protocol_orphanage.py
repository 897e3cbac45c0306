"""The orphanage: Core's limits, scores and eviction."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from random import Random

import pytest

from btcnode.primitives.tx import Tx
from btcnode.protocol.limits import MAX_ORPHANAGE_SCORE, MAX_PACKAGE_CANDIDATES, RESERVED_ORPHAN_WEIGHT_PER_PEER
from btcnode.protocol.transactions.orphanage import Orphanage
from btcnode.testing.small_pool import COIN_VALUE, coin, output, spend


def orphan(number: int, *, inputs: int = 1, padding: int = 0) -> Tx:
    """A transaction of ``inputs`` unknown outputs."""
    prevouts = [b"\x07" + (number * 1000 + i).to_bytes(31, "little") + bytes(4) for i in range(inputs)]
    return spend(prevouts, 1000, 10, padding=padding)


def ids(txs: Iterable[Tx]) -> list[bytes]:
    return [tx.wtxid for tx in txs]


def check(orphanage: Orphanage) -> None:
    """Everything counted twice."""
    infos = orphanage.all()
    assert len(infos) == len(orphanage)
    assert orphanage.announcements == sum(len(info.announcers) for info in infos)
    assert orphanage.weight == sum(info.tx.weight for info in infos)
    assert orphanage.score == orphanage.announcements + sum(len(info.tx.prevouts) // 10 for info in infos)
    peers = {peer for info in infos for peer in info.announcers}
    assert orphanage.max_weight == orphanage.reserved_weight * max(1, len(peers))
    assert not orphanage.is_full
    outpoints = {prevout for info in infos for prevout in info.tx.prevouts}
    assert set(orphanage._spenders) == outpoints


def test_an_orphan_is_kept_for_each_announcer() -> None:
    orphanage = Orphanage()
    tx = orphan(1)
    assert orphanage.add(tx, 1)
    assert not orphanage.add(tx, 1)
    assert not orphanage.add(tx, 2)  # known, but for peer 2 as well now
    assert orphanage.has_from(tx.wtxid, 2)
    assert not orphanage.add_announcer(tx.wtxid, 2)
    assert orphanage.add_announcer(tx.wtxid, 3)
    check(orphanage)
    orphanage.erase_peer(1)
    orphanage.erase_peer(2)
    assert tx.wtxid in orphanage
    orphanage.erase_peer(3)
    assert tx.wtxid not in orphanage
    check(orphanage)


def test_oversized_orphans_are_not_kept() -> None:
    orphanage = Orphanage()
    assert not orphanage.add(orphan(1, inputs=2500), 1)
    assert len(orphanage) == 0


def test_one_peer_fills_the_score_and_loses_its_oldest() -> None:
    orphanage = Orphanage(max_score=10)
    txs = [orphan(n) for n in range(15)]
    for tx in txs:
        orphanage.add(tx, 1)
        check(orphanage)
    assert ids(info.tx for info in orphanage.all()) == ids(txs[5:])


def test_many_inputs_score_more() -> None:
    orphanage = Orphanage(max_score=10)
    orphanage.add(orphan(1, inputs=89), 1)  # 1 + 8
    orphanage.add(orphan(2), 1)
    assert len(orphanage) == 2
    orphanage.add(orphan(3), 1)
    assert [len(info.tx.prevouts) for info in orphanage.all()] == [1, 1]
    check(orphanage)


def test_weight_is_reserved_for_each_peer() -> None:
    light = orphan(0, padding=200)
    orphanage = Orphanage(reserved_weight=5 * light.weight)
    kept = [orphan(n, padding=200) for n in range(100, 105)]
    for tx in kept:
        orphanage.add(tx, 1)
    for n in range(40):
        orphanage.add(orphan(n, padding=200), 2)
        check(orphanage)
    assert [orphanage.has_from(tx.wtxid, 1) for tx in kept] == [True] * 5
    assert sum(2 in info.announcers for info in orphanage.all()) == 5


def test_nobody_evicts_what_others_announced() -> None:
    """CVE-2012-3789: a flood of orphans costs the flooder's own."""
    orphanage = Orphanage(max_score=100)
    honest = [orphan(n) for n in range(10)]
    for tx in honest:
        orphanage.add(tx, 1)
    for n in range(1000, 3000):
        orphanage.add(orphan(n, inputs=1 + n % 30), 2 + n % 4)
    check(orphanage)
    assert all(orphanage.has_from(tx.wtxid, 1) for tx in honest)


def test_an_announcement_of_the_flooder_goes_but_not_the_orphan_of_another() -> None:
    orphanage = Orphanage(max_score=6)
    shared = orphan(1)
    orphanage.add(shared, 1)
    orphanage.add(shared, 2)
    for n in range(2, 9):
        orphanage.add(orphan(n), 2)
    assert not orphanage.has_from(shared.wtxid, 2)
    assert orphanage.has_from(shared.wtxid, 1)
    check(orphanage)


def test_those_to_be_reconsidered_are_evicted_last() -> None:
    orphanage = Orphanage(max_score=3)
    parent = spend([coin(1)], COIN_VALUE, 100)
    child = spend([output(parent)], 1000, 10)
    orphanage.add(child, 1)
    assert orphanage.parent_came(parent, Random(1)) == [1]
    for n in range(5):
        orphanage.add(orphan(n), 1)
    assert child.wtxid in orphanage
    assert orphanage.take_work(1) == child.wtxid
    orphanage.add(orphan(9), 1)
    assert child.wtxid not in orphanage  # the oldest again


def test_work_is_given_once_and_to_one_peer() -> None:
    orphanage = Orphanage()
    parent = spend([coin(1)], COIN_VALUE, 100, outputs=3)
    other = spend([coin(2)], COIN_VALUE, 100)
    children = [spend([output(parent, i)], 1000, 10) for i in range(3)]
    both = spend([output(parent, 0), output(other)], 1000, 10)
    for tx in [*children, both]:
        orphanage.add(tx, 1)
        orphanage.add(tx, 2)
    peers = orphanage.parent_came(parent, Random(4))
    assert not orphanage.parent_came(parent, Random(5))  # marked already
    work: list[bytes] = []
    for peer in (1, 2):
        assert orphanage.has_work(peer) == (peer in peers)
        while (taken := orphanage.take_work(peer)) is not None:
            work.append(taken)
    assert sorted(work) == sorted(tx.wtxid for tx in [*children, both])
    assert not orphanage.has_work(1)
    assert orphanage.parent_came(other, Random(6))  # there is a new reason
    check(orphanage)


def test_blocks_erase_what_they_confirm_or_conflict_with() -> None:
    orphanage = Orphanage()
    txs = [orphan(n) for n in range(4)]
    for tx in txs:
        orphanage.add(tx, 1)
    assert orphanage.erase_spenders([txs[1].prevouts[0], txs[3].prevouts[0], coin(8)]) == 2
    assert ids(info.tx for info in orphanage.all()) == ids([txs[0], txs[2]])
    check(orphanage)


def test_children_of_the_same_peer_newest_first() -> None:
    orphanage = Orphanage()
    parent = spend([coin(1)], COIN_VALUE, 100)
    children = [spend([output(parent)], 1000, fee) for fee in range(150)]
    for n, child in enumerate(children):
        orphanage.add(child, 2 if n == 140 else 1)
    found = orphanage.children_from(parent, 1)
    mine = [tx for n, tx in enumerate(children) if n != 140]
    assert list(found) == [(tx.wtxid, tx.txid) for tx in mine[::-1][:MAX_PACKAGE_CANDIDATES]]
    assert [wtxid for wtxid, _ in orphanage.children_from(parent, 2)] == ids([children[140]])
    assert not list(orphanage.children_from(parent, 3))


@pytest.mark.parametrize("seed", range(6))
def test_random_use_keeps_the_books(seed: int) -> None:
    rng = Random(seed)
    orphanage = Orphanage(max_score=40, reserved_weight=3000)
    parents = [spend([coin(n)], COIN_VALUE, 100, outputs=4) for n in range(5)]
    txs = [orphan(n, inputs=rng.choice([1, 2, 15])) for n in range(30)]
    txs += [spend([output(rng.choice(parents), rng.randrange(4))], 1000, n) for n in range(30)]
    for _ in range(1500):
        tx, peer = rng.choice(txs), rng.randrange(6)
        action = rng.randrange(12)
        if action < 6:
            orphanage.add(tx, peer)
        elif action < 8:
            orphanage.parent_came(rng.choice(parents), rng)
        elif action < 9:
            orphanage.take_work(peer)
        elif action < 10:
            orphanage.erase(tx.wtxid)
        elif action < 11:
            orphanage.erase_peer(peer)
        else:
            orphanage.erase_spenders(tx.prevouts[:1])
        check(orphanage)
        marked = [o.reconsider for o in orphanage._orphans.values() if o.reconsider is not None]
        assert sum(orphanage.has_work(p) for p in range(6)) == len(set(marked))


class Reference:
    """The rule of eviction as it is written, with everything counted anew at every step; nothing is reconsidered."""

    def __init__(self, max_score: int, reserved_weight: int) -> None:
        self.max_score = max_score
        self.reserved_weight = reserved_weight
        self.announcements: list[tuple[Tx, int]] = []  # oldest first

    def limit(self) -> None:
        peers = {peer for _, peer in self.announcements}
        share = self.max_score // max(1, len(peers))
        max_weight = self.reserved_weight * max(1, len(peers))

        def excess(peer: int) -> tuple[Fraction, bool, int]:
            mine = [tx for tx, announcer in self.announcements if announcer == peer]
            score = Fraction(sum(1 + len(tx.prevouts) // 10 for tx in mine), share)
            weight = Fraction(sum(tx.weight for tx in mine), self.reserved_weight)
            return max(score, weight), score >= weight, peer

        beyond = {peer for peer in peers if excess(peer)[0] > 1}
        while True:
            txs = {tx.wtxid: tx for tx, _ in self.announcements}.values()
            score = len(self.announcements) + sum(len(tx.prevouts) // 10 for tx in txs)
            if score <= self.max_score and sum(tx.weight for tx in txs) <= max_weight:
                return
            worst = max(beyond, key=excess)
            self.announcements.remove(next(one for one in self.announcements if one[1] == worst))
            peers = {peer for _, peer in self.announcements}
            max_weight = self.reserved_weight * max(1, len(peers))


@pytest.mark.parametrize("seed", range(4))
def test_the_oldest_of_the_peer_furthest_beyond_its_share_goes(seed: int) -> None:
    rng = Random(seed)
    orphanage, reference = Orphanage(max_score=40, reserved_weight=3000), Reference(40, 3000)
    txs = [orphan(n, inputs=rng.choice([1, 2, 15]), padding=rng.choice([0, 400])) for n in range(60)]
    for _ in range(1000):
        tx, peer = rng.choice(txs), rng.choice((1, 1, 1, 2, 3, 4))
        if rng.random() < 0.9:
            orphanage.add(tx, peer)
            if (tx, peer) not in reference.announcements:
                reference.announcements.append((tx, peer))
        elif rng.random() < 0.8:
            orphanage.erase(tx.wtxid)
            reference.announcements = [one for one in reference.announcements if one[0] is not tx]
        else:
            orphanage.erase_peer(peer)
            reference.announcements = [one for one in reference.announcements if one[1] != peer]
        reference.limit()
        kept = {(info.tx.wtxid, announcer) for info in orphanage.all() for announcer in info.announcers}
        assert kept == {(tx.wtxid, announcer) for tx, announcer in reference.announcements}


def test_the_default_limits_are_cores() -> None:
    orphanage = Orphanage()
    assert orphanage.max_score == MAX_ORPHANAGE_SCORE == 3000
    assert orphanage.reserved_weight == RESERVED_ORPHAN_WEIGHT_PER_PEER == 404_000
