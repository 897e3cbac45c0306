"""Inbound eviction against a model that was written from Bitcoin Core's rules alone, one peer at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from btcnode.protocol.connections.eviction import Candidate, select_for_eviction
from btcnode.wire.netaddr import Network

Rank = Callable[[Candidate], tuple[float, ...]]
RARE: dict[str, Callable[[Candidate], bool]] = {  # in the order in which equally rare ones come
    "cjdns": lambda c: c.network == Network.CJDNS,
    "i2p": lambda c: c.network == Network.I2P,
    "local": lambda c: c.is_local,
    "onion": lambda c: c.network == Network.TORV3,
}


class Model:
    """Whoever is spared leaves ``left``."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self.left = {c.peer_id: c for c in candidates}

    def best(self, rank: Rank) -> Candidate:
        return max(self.left.values(), key=lambda c: (*rank(c), -c.connected))

    def spare(self, count: int, rank: Rank) -> None:
        for _ in range(min(count, len(self.left))):
            del self.left[self.best(rank).peer_id]

    def spare_block_relayers(self) -> None:
        """Of the eight best at relaying blocks alone, those who do nothing else and offer what we want."""
        ranked = sorted(
            self.left.values(),
            key=lambda c: (not c.relays_txs, c.last_block, c.relevant_services, -c.connected),
            reverse=True,
        )
        for c in ranked[:8]:
            if not c.relays_txs and c.relevant_services:
                del self.left[c.peer_id]

    def spare_half(self) -> None:
        """Half of them: first rare networks, at most a quarter, in rounds with equal shares; then the oldest."""
        half = len(self.left) // 2
        room = half // 2
        counts = Counter({name: sum(map(test, self.left.values())) for name, test in RARE.items()})
        order = sorted(RARE, key=lambda name: counts[name])
        while room > 0 and any(counts.values()):
            share = max(room // sum(1 for name in order if counts[name]), 1)
            at_start, spared = room, 0
            for name in order:
                members = sorted(filter(RARE[name], self.left.values()), key=lambda c: c.connected)[:share]
                if not counts[name] or spared >= at_start:
                    continue
                for c in members:
                    del self.left[c.peer_id]
                counts[name] -= len(members)
                spared += len(members)
            if not spared:
                break
            room -= spared
        spared_by_network = half // 2 - room
        self.spare(half - spared_by_network, lambda c: ())

    def victim(self) -> int | None:
        self.spare(4, lambda c: (int.from_bytes(c.group, "big"),))
        self.spare(8, lambda c: (-c.ping,))
        self.spare(4, lambda c: (c.last_tx, c.relays_txs, not c.has_bloom_filter))
        self.spare_block_relayers()
        self.spare(4, lambda c: (c.last_block, c.relevant_services))
        self.spare_half()
        if any(c.prefer_evict for c in self.left.values()):
            self.left = {i: c for i, c in self.left.items() if c.prefer_evict}
        if not self.left:
            return None
        sizes = Counter(c.group for c in self.left.values())
        youngest = {c.group: c for c in sorted(self.left.values(), key=lambda c: c.connected)}
        return max(youngest.values(), key=lambda c: (sizes[c.group], c.connected)).peer_id


def crowd(rng: Random) -> list[Candidate]:
    """Up to 130 peers; no two connected or answered a ping at the same time, so that each order is one order."""
    count = rng.randrange(1, 40) if rng.random() < 0.3 else rng.randrange(20, 130)
    networks = [rng.choice((0, 1, 3, 6)) for _ in range(3)]
    connected, pings = rng.sample(range(1000), count), rng.sample(range(10_000), count)
    groups, relaying, preferred = rng.randrange(1, count + 2), rng.random(), rng.choice((0, 0.05, 0.3))
    kinds = (Network.IPV4, Network.IPV6, Network.TORV3, Network.I2P, Network.CJDNS)
    return [
        Candidate(
            peer_id=i,
            connected=float(connected[i]),
            ping=float(pings[i]),
            last_block=rng.choice((0, rng.randrange(100))),
            last_tx=rng.choice((0, rng.randrange(100))),
            relevant_services=rng.random() < 0.7,
            relays_txs=rng.random() < relaying,
            has_bloom_filter=rng.random() < 0.3,
            group=rng.randrange(groups).to_bytes(8, "big"),
            network=rng.choices(kinds, weights=(10, 5, *networks))[0],
            is_local=rng.random() < 0.1,
            prefer_evict=rng.random() < preferred,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_the_same_peer_goes(seed: int) -> None:
    rng = Random(seed)
    for _ in range(300):
        candidates = crowd(rng)
        expected = Model(candidates).victim()
        assert select_for_eviction(candidates) == expected
        rng.shuffle(candidates)
        assert select_for_eviction(candidates) == expected  # whatever order they come in
