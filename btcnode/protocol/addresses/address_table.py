"""An entry of the address book, and a table of buckets that entries lie in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from btcnode.primitives.hashes import sha256d
from btcnode.protocol.addresses.netgroup import address_bytes
from btcnode.wire.netaddr import NetAddress, Network

if TYPE_CHECKING:
    from random import Random

BUCKET_SIZE = 64
HORIZON = 30 * 24 * 3600  # seconds after which an address that nobody saw is of no use
MAX_RETRIES = 3  # failures of an address that never worked
MAX_FAILURES = 10  # failures in at least MIN_FAIL of an address that once worked
MIN_FAIL = 7 * 24 * 3600
GRACE = 60  # an address tried within the last minute is kept
FUTURE = 10 * 60  # how far ahead of our clock a time may lie
RECENT_ATTEMPT = 600


def cheap_hash(data: bytes) -> int:
    """The first 8 bytes of SHA-256d, little-endian."""
    return int.from_bytes(sha256d(data)[:8], "little")


def vector(data: bytes) -> bytes:
    """``data`` (less than 253 bytes) behind its length, as Core hashes byte vectors."""
    return bytes((len(data),)) + data


class Entry:
    """One address. Times are Unix seconds, 0 for never; ``places`` are its slots of the new table, ``position`` is
    its index in the book's list of all addresses."""

    __slots__ = (
        "address", "attempts", "is_tried", "key", "last_counted", "last_success", "last_try", "places", "position",
        "services", "source", "time",
    )  # fmt: skip

    def __init__(self, address: NetAddress, key: bytes, services: int, time: int, source: NetAddress) -> None:
        self.address = address
        self.key = key
        self.services = services
        self.time = time
        self.source = source
        self.last_try = 0
        self.last_success = 0
        self.last_counted = 0
        self.attempts = 0
        self.is_tried = False
        self.places: list[int] = []
        self.position = 0

    @property
    def hash_key(self) -> bytes:
        """What places are computed from: Core's bytes of the address, and the port (big-endian)."""
        return address_bytes(self.address) + self.address.port.to_bytes(2, "big")

    def is_terrible(self, now: int) -> bool:
        """Whether the address may be forgotten (Core's IsTerrible)."""
        if now - self.last_try <= GRACE:
            return False
        if self.time > now + FUTURE or now - self.time > HORIZON:
            return True
        if not self.last_success and self.attempts >= MAX_RETRIES:
            return True
        return now - self.last_success > MIN_FAIL and self.attempts >= MAX_FAILURES

    def chance(self, now: int) -> float:
        """Relative probability of being chosen: 1 % if tried within ten minutes, two thirds for each failure."""
        weight = 0.01 if now - self.last_try < RECENT_ATTEMPT else 1.0
        return float(weight * 0.66 ** min(self.attempts, 8))


class Table:
    """Buckets of 64 places; a slot is ``bucket * 64 + position``. Empty buckets cost nothing and are never drawn."""

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self._places: dict[int, dict[int, Entry]] = {}  # bucket -> position -> entry
        self._by_network: dict[Network, dict[int, int]] = {}  # network -> bucket -> entries of it there
        self._size = 0
        self._choices: dict[
            tuple[Network, ...], list[int]
        ] = {}  # buckets to draw from; until one more or less is filled

    def __len__(self) -> int:
        return self._size

    def get(self, slot: int) -> Entry | None:
        """Who lies in a place."""
        bucket = self._places.get(slot // BUCKET_SIZE)
        return None if bucket is None else bucket.get(slot % BUCKET_SIZE)

    def put(self, slot: int, entry: Entry) -> None:
        """Fill an empty place."""
        bucket = slot // BUCKET_SIZE
        self._places.setdefault(bucket, {})[slot % BUCKET_SIZE] = entry
        counts = self._by_network.setdefault(entry.address.network, {})
        if bucket not in counts:
            self._choices.clear()
        counts[bucket] = counts.get(bucket, 0) + 1
        self._size += 1

    def take(self, slot: int) -> Entry:
        """Empty a place that is filled."""
        bucket = slot // BUCKET_SIZE
        places = self._places[bucket]
        entry = places.pop(slot % BUCKET_SIZE)
        if not places:
            del self._places[bucket]
            self._choices.clear()
        counts = self._by_network[entry.address.network]
        counts[bucket] -= 1
        if not counts[bucket]:
            del counts[bucket]
            self._choices.clear()
        self._size -= 1
        return entry

    def places(self) -> list[tuple[int, Entry]]:
        """All filled places in order, as they are now."""
        return list(self.slots())

    def slots(self) -> Iterator[tuple[int, Entry]]:
        """All filled places in order."""
        for bucket in sorted(self._places):
            places = self._places[bucket]
            for position in sorted(places):
                yield bucket * BUCKET_SIZE + position, places[position]

    def bucket(self, number: int) -> list[Entry]:
        """The entries of a bucket."""
        places = self._places.get(number)
        return [] if places is None else list(places.values())

    def draw(self, rng: Random, networks: Collection[Network] = ()) -> Entry:
        """An entry (of ``networks``, when some are given): first the bucket by chance, then where to begin in it.

        There must be one.
        """
        choice = self._choices.get(asked := tuple(networks))
        if choice is None:
            if networks:
                choice = list({b: None for name in networks for b in self._by_network.get(name, ())})
            else:
                choice = list(self._places)
            self._choices[asked] = choice
        places = self._places[choice[rng.randrange(len(choice))]]
        start = rng.randrange(BUCKET_SIZE)
        if len(places) == 1:
            (entry,) = places.values()
            if not networks or entry.address.network in networks:
                return entry
        fit = [p for p, e in places.items() if not networks or e.address.network in networks]
        return places[min(fit, key=lambda p: (p - start) % BUCKET_SIZE)]
