"""Which peer is asked for which transaction: Core's rules, and a naive reference beside it."""

from __future__ import annotations

import gc
from random import Random
from typing import Any

import pytest

from btcnode.protocol.transactions import tx_requests
from btcnode.protocol.transactions.tx_requests import TxRequests

A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))


class Reference:
    """The rules as written, with one flat list; choices are those that the tracker under test reports."""

    def __init__(self) -> None:
        self.anns: list[dict[str, Any]] = []

    def of(self, **wanted: object) -> list[dict[str, Any]]:
        return [a for a in self.anns if all(a[k] == v for k, v in wanted.items())]

    def announced(self, peer: int, tx_hash: bytes, by_wtxid: bool, preferred: bool, time: float) -> None:
        if not self.of(peer=peer, hash=tx_hash):
            self.anns.append(
                {"peer": peer, "hash": tx_hash, "w": by_wtxid, "pref": preferred, "time": time, "state": "candidate"}
            )

    def cleanup(self) -> None:
        alive = {a["hash"] for a in self.anns if a["state"] != "completed"}
        self.anns = [a for a in self.anns if a["hash"] in alive]

    def forget(self, tx_hash: bytes) -> None:
        self.anns = [a for a in self.anns if a["hash"] != tx_hash]

    def disconnected(self, peer: int) -> None:
        self.anns = [a for a in self.anns if a["peer"] != peer]
        self.cleanup()

    def advance(self, now: float) -> list[tuple[object, object, object]]:
        expired = [a for a in self.of(state="requested") if a["time"] <= now]
        for a in expired:
            a["state"] = "completed"
        result = [(a["peer"], a["hash"], a["w"]) for a in expired]
        self.cleanup()
        return result

    def requested(self, peer: int, tx_hash: bytes, expiry: float) -> None:
        for a in self.of(peer=peer, hash=tx_hash, state="candidate"):
            for other in self.of(hash=tx_hash, state="requested"):
                other["state"] = "completed"
            a.update(state="requested", time=expiry)

    def answered(self, peer: int, tx_hash: bytes) -> None:
        for a in self.of(peer=peer, hash=tx_hash):
            a["state"] = "completed"
        self.cleanup()

    def eligible(self, tx_hash: bytes, now: float) -> list[dict[str, Any]]:
        """Candidates one of which must be chosen."""
        if self.of(hash=tx_hash, state="requested"):
            return []
        ready = [a for a in self.of(hash=tx_hash, state="candidate") if a["time"] <= now]
        return [a for a in ready if a["pref"]] or ready


@pytest.mark.parametrize("seed", range(12))
def test_against_a_naive_reference(seed: int) -> None:
    rng = Random(seed)
    tracker, reference = TxRequests(rng.randbytes(16)), Reference()
    hashes = [rng.randbytes(32) for _ in range(rng.choice([3, 12]))]
    peers = list(range(1, rng.choice([4, 9])))
    now = 0.0
    for _ in range(3000):
        now += rng.choice([0, 0, 0.1, 1, 5])
        expired = tracker.advance(now)
        assert sorted(expired) == sorted(reference.advance(now))
        peer, tx_hash = rng.choice(peers), rng.choice(hashes)
        action = rng.randrange(100)
        if action < 45:
            announcement = (peer, tx_hash, rng.random() < 0.5, rng.random() < 0.3, now + rng.choice([0, 2, 4, 6]))
            tracker.announced(*announcement)
            reference.announced(*announcement)
            tracker.advance(now)
        elif action < 60:
            tracker.answered(peer, tx_hash)
            reference.answered(peer, tx_hash)
        elif action < 65:
            tracker.forget(tx_hash)
            reference.forget(tx_hash)
        elif action < 67:
            tracker.disconnected(peer)
            reference.disconnected(peer)
        elif action < 72:
            tracker.requested(peer, tx_hash, now + 60)
            reference.requested(peer, tx_hash, now + 60)
        else:
            for wanted, _ in tracker.requestable(peer):
                tracker.requested(peer, wanted, now + 60)
                reference.requested(peer, wanted, now + 60)
        chosen: dict[bytes, int] = {}
        for p in peers:
            for wanted, by_wtxid in tracker.requestable(p):
                assert wanted not in chosen, "two peers for one transaction"
                chosen[wanted] = p
                assert reference.of(peer=p, hash=wanted, w=by_wtxid)
            assert tracker.count(p) == len(reference.of(peer=p))
            assert tracker.in_flight(p) == len(reference.of(peer=p, state="requested"))
            assert tracker.waiting(p) == len(reference.of(peer=p, state="candidate"))
        for h in hashes:
            eligible = [a["peer"] for a in reference.eligible(h, now)]
            assert (chosen.get(h) in eligible) if eligible else h not in chosen
            assert sorted(tracker.candidates(h)) == sorted(
                a["peer"] for a in reference.of(hash=h) if a["state"] != "completed"
            )
        assert len(tracker) == len(reference.anns)


def crowd(tracker: TxRequests, peers: int, hashes: list[bytes]) -> None:
    """All peers announce all hashes, to be asked for them at once."""
    for peer in range(peers):
        for tx_hash in hashes:
            tracker.announced(peer, tx_hash, True, False, 0.0)


def askable(tracker: TxRequests, peers: int) -> set[bytes]:
    return {tx_hash for peer in range(peers) for tx_hash, _ in tracker.requestable(peer)}


def test_what_a_crowd_announced_becomes_due_bit_by_bit() -> None:
    tracker, hashes = TxRequests(b"key"), [n.to_bytes(32, "little") for n in range(100)]
    crowd(tracker, 40, hashes)
    tracker.advance(1.0, 70)
    assert len(askable(tracker, 40)) == 70  # the first peer's
    for _ in range(4_000 // 70):
        tracker.advance(1.0, 70)
    assert askable(tracker, 40) == set(hashes)
    wanted = [(peer, tx_hash) for peer in range(40) for tx_hash, _ in tracker.requestable(peer)]
    for peer, tx_hash in wanted:
        tracker.requested(peer, tx_hash, 60.0)
    seen: list[int] = []
    while len(tracker.requestable(39)) < 1:  # requests that were in vain: another one is chosen from all of a hash
        before = tracker._looked_at
        seen.append(len(tracker.advance(61.0, 70)))
        assert tracker._looked_at - before <= 70 + 40
    assert max(seen) <= 70 // 40 + 1


def test_a_peer_of_a_crowd_is_forgotten_without_a_walk_over_the_others() -> None:
    tracker, hashes = TxRequests(b"key"), [n.to_bytes(32, "little") for n in range(100)]
    crowd(tracker, 40, hashes)
    tracker.advance(1.0)
    chosen = len(tracker.requestable(0))
    before = tracker._looked_at
    tracker.disconnected(0)
    assert tracker._looked_at - before <= 40 * chosen + 2 * (100 - chosen)
    assert askable(tracker, 40) == set(hashes)
    assert len(tracker) == 3_900


def test_thousands_of_others_are_chosen_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One peer was asked for all that a crowd has announced, and is gone, or has nothing of it."""
    monkeypatch.setattr(tx_requests, "_CHOICES_AT_ONCE", 500)
    hashes = [n.to_bytes(32, "little") for n in range(100)]
    for is_gone in (True, False):
        tracker = TxRequests(b"key")
        crowd(tracker, 1, hashes)
        tracker.advance(1.0)
        for tx_hash in hashes:
            tracker.requested(0, tx_hash, 60.0)
        crowd(tracker, 40, hashes)
        tracker.advance(2.0, 4_000)
        before = tracker._looked_at
        if is_gone:
            tracker.disconnected(0)
        else:
            for tx_hash in hashes:
                tracker.answered(0, tx_hash)
        assert tracker._looked_at - before <= 500 + 40 + 2 * len(hashes)
        assert 10 <= len(askable(tracker, 40)) <= 20
        steps = 0
        while len(askable(tracker, 40)) < 100:
            before = tracker._looked_at
            tracker.advance(2.0, 200)
            assert tracker._looked_at - before <= 200 + 40
            steps += 1
        assert steps > 10


def test_the_best_is_asked_also_where_the_choice_had_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, later = TxRequests(b"key"), TxRequests(b"key")
    for tracker in (at_once, later):
        tracker.announced(0, A, True, False, 0.0)
        tracker.advance(0.0)
        tracker.requested(0, A, 60.0)
        for peer in range(1, 9):
            tracker.announced(peer, A, True, peer == 5, 0.0)
        tracker.advance(0.0, 100)
    monkeypatch.setattr(later, "_chosen_until", 0)
    for tracker in (at_once, later):
        tracker.answered(0, A)
    assert at_once.requestable(5)
    assert not any(later.requestable(peer) for peer in range(9))
    later.announced(9, A, True, False, 0.0)
    later.advance(1.0)
    assert later.requestable(5)


def test_requests_come_in_the_order_of_announcements() -> None:
    tracker = TxRequests(b"key")
    rng = Random(3)
    hashes = [rng.randbytes(32) for _ in range(50)]
    for tx_hash in hashes:
        tracker.announced(1, tx_hash, True, True, 0.0)
    tracker.advance(0.0)
    assert [h for h, _ in tracker.requestable(1)] == hashes


def test_preferred_peers_come_first_and_chance_decides_among_equals() -> None:
    winners: dict[int, int] = {}
    for key in range(200):
        tracker = TxRequests(key.to_bytes(2, "little"))
        for peer in (1, 2, 3):
            tracker.announced(peer, A, True, peer != 3, 0.0)
        tracker.advance(0.0)
        (winner,) = [peer for peer in (1, 2, 3) if tracker.requestable(peer)]
        winners[winner] = winners.get(winner, 0) + 1
    assert set(winners) == {1, 2}
    assert min(winners.values()) > 60


def test_the_same_peer_and_hash_always_draw_the_same_lot() -> None:
    """Coming back or announcing again must not buy another chance."""
    for key in range(20):
        seen = set()
        for _ in range(2):
            tracker = TxRequests(bytes([key]))
            for peer in (7, 4, 9):
                tracker.announced(peer, B, False, False, 0.0)
            tracker.advance(1.0)
            seen.add(tuple(bool(tracker.requestable(peer)) for peer in (4, 7, 9)))
        assert len(seen) == 1


def test_a_silent_peer_is_replaced_after_its_time_and_never_asked_again() -> None:
    """CVE-2024-52913: who announces first and withholds delays a transaction by one minute, not for good."""
    tracker = TxRequests(b"key")
    tracker.announced(1, A, True, True, 0.0)
    tracker.advance(0.0)
    tracker.requested(1, A, 60.0)
    tracker.announced(2, A, True, False, 2.0)
    tracker.announced(1, A, True, True, 3.0)  # again, to no avail
    tracker.advance(59.9)
    assert not tracker.requestable(2)
    assert tracker.advance(60.0) == [(1, A, True)]
    assert tracker.requestable(2) == [(A, True)]
    assert not tracker.requestable(1)
    tracker.requested(2, A, 120.0)
    tracker.answered(2, A)
    assert len(tracker) == 0  # all failed: forgotten


def test_answered_requests_are_let_go_before_their_time_outs() -> None:
    before = _announcements()  # other tests may have left some
    tracker = TxRequests(b"key")
    for n in range(50_000):
        tx_hash = n.to_bytes(32, "little")
        tracker.announced(1, tx_hash, True, True, 0.0)
        tracker.advance(0.0)
        tracker.requested(1, tx_hash, 60.0)
        tracker.answered(1, tx_hash)
    assert len(tracker) == 0
    assert _announcements() < before + 5000


def _announcements() -> int:
    return sum(type(found).__name__ == "_Announcement" for found in gc.get_objects())


def test_a_peer_that_leaves_frees_its_requests() -> None:
    tracker = TxRequests(b"key")
    for peer in (1, 2):
        for tx_hash in (A, B, C):
            tracker.announced(peer, tx_hash, True, peer == 1, 0.0)
    tracker.advance(0.0)
    for tx_hash, _ in tracker.requestable(1):
        tracker.requested(1, tx_hash, 60.0)
    tracker.answered(1, C)
    tracker.disconnected(1)
    assert [h for h, _ in tracker.requestable(2)] == [A, B, C]
    assert tracker.count(1) == 0
