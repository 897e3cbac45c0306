"""The address book: where other nodes are, in Bitcoin Core's two tables.

Addresses are *new* until a connection to them succeeded, then *tried*. Both tables are buckets of 64 places. A keyed
hash of an address's group (and of its teller's, while it is new) says which few buckets it may lie in, another one the
place within a bucket, so nobody who tells addresses can choose what they drive out: a group of tellers reaches 64 of
1024 new buckets, a group of addresses 8 of 256 tried ones. A tried address gives way only after a test (see
``select_collision``). All randomness comes from the ``Random`` handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from btcnode.protocol.addresses.address_table import BUCKET_SIZE, Entry, Table, cheap_hash, vector
from btcnode.protocol.addresses.netgroup import NetGroups, address_key
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network

if TYPE_CHECKING:
    from random import Random

NEW_BUCKETS = 1024
TRIED_BUCKETS = 256
TRIED_BUCKETS_PER_GROUP = 8
NEW_BUCKETS_PER_SOURCE_GROUP = 64
MAX_PLACES = 8  # buckets in which one new address may lie
MAX_COLLISIONS = 10  # tried addresses under test
REPLACEMENT = 4 * 3600  # a tried address that answered within this time keeps its place
TEST_WINDOW = 40 * 60  # after this without an answer, or a test, it loses it
UPDATE_ONLINE = 3600  # times of addresses seen online in the last day move at this step, others daily
UPDATE_OFFLINE = 24 * 3600
CONNECTED_STEP = 20 * 60
TEST_KEY = (1).to_bytes(32, "little")  # of a book for tests, whose places are known beforehand


def _silent(_: str) -> None:
    return


class AddressBook:
    """New and tried addresses: at most 65,536 and 16,384."""

    def __init__(
        self,
        rng: Random,
        groups: NetGroups | None = None,
        *,
        key: bytes | None = None,
        log: Callable[[str], None] = _silent,
        check: Callable[[AddressBook], None] | None = None,
    ) -> None:
        """``key``: 32 bytes that decide about places; drawn from ``rng`` when None.

        ``log`` takes what is to be told of a change, ``check`` is called with the book around every operation.
        """
        self._rng = rng
        self.groups = groups if groups is not None else NetGroups()
        self.key = key if key is not None else rng.getrandbits(256).to_bytes(32, "little")
        self.entries: dict[bytes, Entry] = {}
        self.new = Table(NEW_BUCKETS)
        self.tried = Table(TRIED_BUCKETS)
        self.order: list[Entry] = []  # all of them, shuffled bit by bit
        self.counts: dict[Network, list[int]] = {}  # new and tried addresses of each network
        self._collisions: dict[bytes, None] = {}
        self._last_good = 1
        self.changes = 0  # since the last snapshot
        self.log = log
        self._checker = check

    def __len__(self) -> int:
        return len(self.order)

    def __contains__(self, address: NetAddress) -> bool:
        return address_key(address) in self.entries

    @property
    def new_count(self) -> int:
        """Addresses that no connection succeeded to."""
        return sum(count[0] for count in self.counts.values())

    @property
    def tried_count(self) -> int:
        """Addresses that a connection succeeded to."""
        return sum(count[1] for count in self.counts.values())

    def size(self, network: Network) -> tuple[int, int]:
        """Numbers of new and of tried addresses of a network."""
        count = self.counts.get(network, (0, 0))
        return count[0], count[1]

    def check(self) -> None:
        """Have it looked at whether the book is consistent, where somebody wants that."""
        if self._checker is not None:
            self._checker(self)

    # -- places --------------------------------------------------------------------------------------------------

    def tried_slot(self, entry: Entry) -> int:
        """The only place where an address may lie when it is tried: bucket * 64 + position."""
        group = vector(self.groups.group(entry.address))
        first = cheap_hash(self.key + vector(entry.hash_key)) % TRIED_BUCKETS_PER_GROUP
        bucket = cheap_hash(self.key + group + first.to_bytes(8, "little")) % TRIED_BUCKETS
        return bucket * BUCKET_SIZE + self._position(entry, b"K", bucket)

    def new_slot(self, entry: Entry, source: NetAddress | None = None) -> int:
        """Where a new address lies that ``source`` (None: who told it first) tells."""
        group = vector(self.groups.group(entry.address))
        teller = vector(self.groups.group(entry.source if source is None else source))
        first = cheap_hash(self.key + group + teller) % NEW_BUCKETS_PER_SOURCE_GROUP
        bucket = cheap_hash(self.key + teller + first.to_bytes(8, "little")) % NEW_BUCKETS
        return bucket * BUCKET_SIZE + self.new_position(entry, bucket)

    def new_position(self, entry: Entry, bucket: int) -> int:
        """The position of an address within a new bucket."""
        return self._position(entry, b"N", bucket)

    def _position(self, entry: Entry, table: bytes, bucket: int) -> int:
        return cheap_hash(self.key + table + bucket.to_bytes(4, "little") + vector(entry.hash_key)) % BUCKET_SIZE

    # -- learning ------------------------------------------------------------------------------------------------

    def add(self, entries: Iterable[AddrEntry], source: NetAddress, now: int, *, penalty: int = 0) -> int:
        """Add what ``source`` told; returns how many found a place. ``penalty`` seconds are taken off the times.

        Only a node itself is free of the penalty. Unroutable addresses are left out.
        """
        self.check()
        added = total = 0
        for time, services, address in entries:
            total += 1
            if address.is_routable:
                added += self._add(AddrEntry(time, services, address), source, now, penalty)
        if added:
            self.log(
                f"Added {added} addresses (of {total}) from {source.host}: {self.tried_count} tried, "
                f"{self.new_count} new"
            )
        self.check()
        return added

    def _add(self, told: AddrEntry, source: NetAddress, now: int, penalty: int) -> bool:
        time, services, address = told
        key = address_key(address)
        if address.network is source.network and address.raw == source.raw:
            penalty = 0
        entry = self.entries.get(key)
        if entry is None:
            entry = Entry(address, key, services, max(0, time - penalty), source)
            self.insert(entry)
        elif not self._renew(entry, time, services, now, penalty):
            return False
        slot = self.new_slot(entry, source)
        old = self.new.get(slot)
        if old is entry:
            return False
        if old is not None and not (old.is_terrible(now) or (len(old.places) > 1 and not entry.places)):
            if not entry.places:
                self._delete(entry)
            return False
        if old is not None:
            self._clear(slot)
        self.place_new(entry, slot)
        number = self.groups.mapped_as(address)
        where = f" mapped to AS{number}" if number else ""
        self.log(f"Added {address}{where} to new[{slot // BUCKET_SIZE}][{slot % BUCKET_SIZE}]")
        return True

    def _renew(self, entry: Entry, time: int, services: int, now: int, penalty: int) -> bool:
        """What a known address that is told again changes; whether it may get one more place."""
        step = UPDATE_ONLINE if now - time < 24 * 3600 else UPDATE_OFFLINE
        if entry.time < time - step - penalty:
            entry.time = max(0, time - penalty)
            self.changes += 1
        entry.services |= services
        if time <= entry.time or entry.is_tried or len(entry.places) == MAX_PLACES:
            return False
        return not entry.places or not self._rng.randrange(1 << len(entry.places))

    def insert(self, entry: Entry) -> None:
        """Take an address in that has no place yet."""
        self.entries[entry.key] = entry
        entry.position = len(self.order)
        self.order.append(entry)
        self.counts.setdefault(entry.address.network, [0, 0])[0] += 1
        self.changes += 1

    def place_new(self, entry: Entry, slot: int) -> None:
        """Put an address into an empty place of the new table."""
        self.new.put(slot, entry)
        entry.places.append(slot)
        self.changes += 1

    def place_tried(self, entry: Entry, slot: int) -> None:
        """Put an address without a place into an empty one of the tried table."""
        self.tried.put(slot, entry)
        entry.is_tried = True
        count = self.counts[entry.address.network]
        count[0] -= 1
        count[1] += 1
        self.changes += 1

    def _clear(self, slot: int) -> None:
        """Empty a place of the new table; who has no other one is forgotten."""
        entry = self.new.take(slot)
        entry.places.remove(slot)
        self.log(f"Removed {entry.address} from new[{slot // BUCKET_SIZE}][{slot % BUCKET_SIZE}]")
        if not entry.places:
            self._delete(entry)

    def _delete(self, entry: Entry) -> None:
        last = self.order.pop()
        if last is not entry:
            self.order[entry.position] = last
            last.position = entry.position
        del self.entries[entry.key]
        self.counts[entry.address.network][0] -= 1
        self.changes += 1

    # -- experience ----------------------------------------------------------------------------------------------

    def attempt(self, address: NetAddress, now: int, *, count_failure: bool) -> None:
        """A connection is being opened. ``count_failure`` is False while we may be offline ourselves."""
        self.check()
        entry = self.entries.get(address_key(address))
        if entry is None:
            return
        entry.last_try = now
        if count_failure and entry.last_counted < self._last_good:
            entry.last_counted = now
            entry.attempts += 1
        self.changes += 1

    def good(self, address: NetAddress, now: int) -> bool:
        """A handshake succeeded: the address becomes tried unless another has its place. Whether it moved."""
        self.check()
        moved = self._good(address, now, test_first=True)
        self.check()
        return moved

    def _good(self, address: NetAddress, now: int, *, test_first: bool) -> bool:
        self._last_good = now
        entry = self.entries.get(address_key(address))
        if entry is None:
            return False
        entry.last_success = entry.last_try = now
        entry.attempts = 0
        self.changes += 1
        if entry.is_tried:
            return False
        slot = self.tried_slot(entry)
        old = self.tried.get(slot)
        if test_first and old is not None:
            if len(self._collisions) < MAX_COLLISIONS:
                self._collisions[entry.key] = None
            self.log(
                f"Collision with {old.address} while attempting to move {address} to tried table. "
                f"Collisions={len(self._collisions)}"
            )
            return False
        self._make_tried(entry, slot)
        number = self.groups.mapped_as(address)
        where = f" mapped to AS{number}" if number else ""
        self.log(f"Moved {address}{where} to tried[{slot // BUCKET_SIZE}][{slot % BUCKET_SIZE}]")
        return True

    def _make_tried(self, entry: Entry, slot: int) -> None:
        for place in entry.places:
            self.new.take(place)
        entry.places.clear()
        old = self.tried.get(slot)
        if old is not None:
            self._back_to_new(old, slot)
        self.place_tried(entry, slot)

    def _back_to_new(self, old: Entry, slot: int) -> None:
        """A tried address loses its place and drives somebody out of the new table."""
        self.tried.take(slot)
        old.is_tried = False
        count = self.counts[old.address.network]
        count[0] += 1
        count[1] -= 1
        place = self.new_slot(old)
        if self.new.get(place) is not None:
            self._clear(place)
        self.place_new(old, place)
        self.log(
            f"Moved {old.address} from tried[{slot // BUCKET_SIZE}][{slot % BUCKET_SIZE}] to "
            f"new[{place // BUCKET_SIZE}][{place % BUCKET_SIZE}] to make space"
        )

    def connected(self, address: NetAddress, now: int) -> None:
        """A useful connection ended: the node was there until now (times move in steps of 20 minutes)."""
        entry = self.entries.get(address_key(address))
        if entry is not None and now - entry.time > CONNECTED_STEP:
            entry.time = now
            self.changes += 1

    def services(self, address: NetAddress) -> int:
        """The services that the node at ``address`` is said to offer, 0 for an unknown one."""
        entry = self.entries.get(address_key(address))
        return 0 if entry is None else entry.services

    def age(self, address: NetAddress, now: int) -> int:
        """Seconds since the node at ``address`` was seen, 0 for an unknown one."""
        entry = self.entries.get(address_key(address))
        return 0 if entry is None else max(0, now - entry.time)

    def set_services(self, address: NetAddress, services: int) -> None:
        """The node itself told which services it offers."""
        entry = self.entries.get(address_key(address))
        if entry is not None and entry.services != services:
            entry.services = services
            self.changes += 1

    # -- tests before eviction -----------------------------------------------------------------------------------

    def resolve_collisions(self, now: int) -> None:
        """Decide about addresses that want a place in the tried table which another one has."""
        self.check()
        for key in list(self._collisions):
            entry = self.entries.get(key)
            if entry is None or self._decide_collision(entry, now):
                self._collisions.pop(key, None)
        self.check()

    def _decide_collision(self, entry: Entry, now: int) -> bool:
        """Whether it is decided if the address gets the place it wants."""
        old = self.tried.get(self.tried_slot(entry))
        if old is None:
            self._good(entry.address, now, test_first=False)
            return True
        if now - old.last_success < REPLACEMENT:
            return True
        if now - old.last_try < REPLACEMENT:
            if now - old.last_try <= 60:
                return False
            self.log(f"Replacing {old.address} with {entry.address} in tried table")
        elif now - entry.last_success > TEST_WINDOW:
            self.log(f"Unable to test; replacing {old.address} with {entry.address} in tried table anyway")
        else:
            return False
        self._good(entry.address, now, test_first=False)
        return True

    def select_collision(self) -> Entry | None:
        """A tried address to test, as another one wants its place; None when there is none."""
        self.check()
        if not self._collisions:
            return None
        key = list(self._collisions)[self._rng.randrange(len(self._collisions))]
        entry = self.entries.get(key)
        if entry is None:
            del self._collisions[key]
            return None
        return self.tried.get(self.tried_slot(entry))

    # -- choosing ------------------------------------------------------------------------------------------------

    def select(self, now: int, *, new_only: bool = False, networks: Collection[Network] = ()) -> Entry | None:
        """An address to connect to, of ``networks`` (none given: of any); None when there is none.

        New and tried ones have equal chances, then buckets, then experience decides.
        """
        self.check()
        new = any(count[0] for name, count in self.counts.items() if not networks or name in networks)
        tried = any(count[1] for name, count in self.counts.items() if not networks or name in networks)
        if not new and (new_only or not tried):
            return None
        use_tried = tried and not new_only and (not new or bool(self._rng.getrandbits(1)))
        table = self.tried if use_tried else self.new
        factor = 1.0
        while True:
            entry = table.draw(self._rng, networks)
            if self._rng.random() < factor * entry.chance(now):
                self.log(f"Selected {entry.address} from {'tried' if use_tried else 'new'}")
                return entry
            factor *= 1.2

    def offering(self, services: int) -> list[Entry]:
        """The addresses that are said to offer one of these services, in no order that means anything."""
        return [entry for entry in self.order if entry.services & services]

    def sample(self, maximum: int, percent: int, now: int) -> list[AddrEntry]:
        """A random share of the good addresses: at most ``percent`` of all and ``maximum`` (0: no limit by it)."""
        self.check()
        order = self.order
        size = len(order)
        count = size * percent // 100 if percent else size
        if maximum:
            count = min(count, maximum)
        found: list[AddrEntry] = []
        for n in range(size):
            if len(found) >= count:
                break
            other = n + self._rng.randrange(size - n)
            first, second = order[n], order[other]
            order[n], order[other] = second, first
            first.position, second.position = other, n
            if second.is_terrible(now):
                continue
            found.append(AddrEntry(second.time, second.services, second.address))
        self.log(f"GetAddr returned {len(found)} random addresses")
        self.check()
        return found

    # -- consistency ---------------------------------------------------------------------------------------------

    def fault(self) -> int:
        """What is wrong with the book, as Core's number; 0 for nothing."""
        tried = [e for e in self.order if e.is_tried]
        new = [e for e in self.order if not e.is_tried]
        if len(self.order) != len(self.entries) or (len(new), len(tried)) != (self.new_count, self.tried_count):
            return -7
        for position, entry in enumerate(self.order):
            if entry.position != position or self.entries.get(entry.key) is not entry:
                return -14
        if any(not e.last_success for e in tried):
            return -1
        if any(e.places for e in tried):
            return -2
        if any(not 0 < len(e.places) <= MAX_PLACES for e in new):
            return -4
        if any(self.tried.get(self.tried_slot(e)) is not e for e in tried):
            return -17
        for entry in new:
            for slot in entry.places:
                if self.new.get(slot) is not entry:
                    return -12
                if self.new_position(entry, slot // BUCKET_SIZE) != slot % BUCKET_SIZE:
                    return -19
        if len(self.tried) != len(tried) or len(self.new) != sum(len(e.places) for e in new):
            return -15
        return 0 if any(self.key) else -16
