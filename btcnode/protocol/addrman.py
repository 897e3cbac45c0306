"""The address book: where other nodes are, bounded in number and in what one source can place.

Addresses are *new* until a connection to them succeeded, then *tried*. When a table is full the worst of a random
sample makes room; a group of sources (netgroup of the teller) can hold a limited share of the new addresses. Choice
is random, weighted against recent and failed attempts as in Bitcoin Core. All randomness comes from the ``Random``
handed in; the whole book goes to disk as one checksummed byte string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import sha256d
from btcnode.protocol.limits import ADDRESS_BOOK_NEW, ADDRESS_BOOK_PER_SOURCE, ADDRESS_BOOK_TRIED
from btcnode.protocol.netgroup import address_key, netgroup
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import ADDRESS_SIZES, NetAddress, Network

if TYPE_CHECKING:
    from random import Random

HORIZON = 30 * 24 * 3600  # seconds after which an address that nobody saw is of no use
MAX_RETRIES = 3  # failures of an address that never worked
MAX_FAILURES = 10  # failures in at least MIN_FAIL of an address that once worked
MIN_FAIL = 7 * 24 * 3600
GRACE = 60  # an address tried within the last minute is kept
FUTURE = 10 * 60  # how far ahead of our clock a time may lie
UPDATE_ONLINE = 3600  # times of addresses seen online in the last day move at this step, others daily
UPDATE_OFFLINE = 24 * 3600
SAMPLE = 8  # candidates looked at to make room
MAX_CHOICES = 64  # draws before a choice is given up
RECENT_ATTEMPT = 600

_MAGIC = b"btcnode-peers\x01"
_RECORD = Struct("<IQIIIHB")  # time, services, last try, last success, last counted try, attempts, tried flag
_CHECKSUM_SIZE = 32


class Entry:
    """One address. Times are Unix seconds, 0 for never; ``position`` is its place in its table's list."""

    __slots__ = (
        "address", "attempts", "group", "key", "last_counted", "last_success", "last_try", "position", "services",
        "source", "time", "tried",
    )  # fmt: skip

    def __init__(self, address: NetAddress, key: bytes, services: int, time: int, source: bytes) -> None:
        self.address = address
        self.key = key
        self.group = netgroup(address)
        self.services = services
        self.time = time
        self.source = source
        self.last_try = 0
        self.last_success = 0
        self.last_counted = 0
        self.attempts = 0
        self.tried = False
        self.position = 0

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
        return weight * 0.66 ** min(self.attempts, 8)


class AddressBook:
    """New and tried addresses of at most ``max_new`` + ``max_tried`` nodes."""

    def __init__(
        self,
        rng: Random,
        *,
        max_new: int = ADDRESS_BOOK_NEW,
        max_tried: int = ADDRESS_BOOK_TRIED,
        max_per_source: int = ADDRESS_BOOK_PER_SOURCE,
    ) -> None:
        self._rng = rng
        self._max_new = max_new
        self._max_tried = max_tried
        self._max_per_source = max_per_source
        self._entries: dict[bytes, Entry] = {}
        self._new: list[Entry] = []
        self._tried: list[Entry] = []
        self._per_source: dict[bytes, int] = {}  # new addresses by group of the teller; no more keys than addresses
        self._last_good = 1
        self.changes = 0  # since the last serialize

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, address: NetAddress) -> bool:
        return address_key(address) in self._entries

    @property
    def new_count(self) -> int:
        """Addresses that no connection succeeded to."""
        return len(self._new)

    @property
    def tried_count(self) -> int:
        """Addresses that a connection succeeded to."""
        return len(self._tried)

    # -- learning ------------------------------------------------------------------------------------------------

    def add(self, entries: Iterable[AddrEntry], source: NetAddress, now: int, *, penalty: int = 0) -> int:
        """Add what ``source`` told; returns how many are new. ``penalty`` seconds are taken off the times.

        Only a node itself is free of the penalty. Unroutable addresses are the caller's to filter.
        """
        teller = netgroup(source)
        own = address_key(source)
        added = 0
        for time, services, address in entries:
            key = address_key(address)
            added += self._add(address, key, services, max(0, time - (0 if key == own else penalty)), teller, now)
        return added

    def _add(self, address: NetAddress, key: bytes, services: int, time: int, teller: bytes, now: int) -> bool:
        entry = self._entries.get(key)
        if entry is not None:
            step = UPDATE_ONLINE if now - time < 24 * 3600 else UPDATE_OFFLINE
            if time and entry.time < time - step:
                entry.time = time
                self.changes += 1
            entry.services |= services
            return False
        if self._per_source.get(teller, 0) >= self._max_per_source and not self._evict_of(teller, now):
            return False
        if len(self._new) >= self._max_new:
            self._remove(self._worst(self._new, now))
        entry = Entry(address, key, services, time, teller)
        self._entries[key] = entry
        self._append(self._new, entry)
        self._per_source[teller] = self._per_source.get(teller, 0) + 1
        self.changes += 1
        return True

    def _evict_of(self, teller: bytes, now: int) -> bool:
        """Drop a terrible address of the same tellers, if a sample has one."""
        for _ in range(SAMPLE):
            entry = self._new[self._rng.randrange(len(self._new))]
            if entry.source == teller and entry.is_terrible(now):
                self._remove(entry)
                return True
        return False

    def _worst(self, table: list[Entry], now: int) -> Entry:
        sample = [table[self._rng.randrange(len(table))] for _ in range(SAMPLE)]
        return min(sample, key=lambda e: (not e.is_terrible(now), e.last_success, e.time))

    @staticmethod
    def _append(table: list[Entry], entry: Entry) -> None:
        entry.position = len(table)
        table.append(entry)

    def _take(self, entry: Entry) -> None:
        """Take an entry out of its table: the last one takes its place."""
        table = self._tried if entry.tried else self._new
        last = table.pop()
        if last is not entry:
            table[entry.position] = last
            last.position = entry.position
        if not entry.tried:
            left = self._per_source[entry.source] - 1
            if left:
                self._per_source[entry.source] = left
            else:
                del self._per_source[entry.source]

    def _remove(self, entry: Entry) -> None:
        self._take(entry)
        del self._entries[entry.key]
        self.changes += 1

    # -- experience ----------------------------------------------------------------------------------------------

    def attempt(self, address: NetAddress, now: int, *, count_failure: bool) -> None:
        """A connection is being opened. ``count_failure`` is False while we may be offline ourselves."""
        entry = self._entries.get(address_key(address))
        if entry is None:
            return
        entry.last_try = now
        if count_failure and entry.last_counted < self._last_good:
            entry.last_counted = now
            entry.attempts += 1
        self.changes += 1

    def good(self, address: NetAddress, now: int) -> None:
        """A handshake succeeded: the address is tried now. Another tried one may have to go back to the new."""
        self._last_good = now
        entry = self._entries.get(address_key(address))
        if entry is None:
            return
        entry.last_success = entry.last_try = now
        entry.attempts = 0
        self.changes += 1
        if entry.tried:
            return
        self._take(entry)
        if len(self._tried) >= self._max_tried:
            demoted = self._worst(self._tried, now)
            self._take(demoted)
            demoted.tried = False
            self._append(self._new, demoted)
            self._per_source[demoted.source] = self._per_source.get(demoted.source, 0) + 1
        entry.tried = True
        self._append(self._tried, entry)

    def connected(self, address: NetAddress, now: int) -> None:
        """A useful connection ended: the node was there until now (times move in steps of 20 minutes)."""
        entry = self._entries.get(address_key(address))
        if entry is not None and now - entry.time > 20 * 60:
            entry.time = now
            self.changes += 1

    def services(self, address: NetAddress) -> int:
        """The services that the node at ``address`` is said to offer, 0 for an unknown one."""
        entry = self._entries.get(address_key(address))
        return 0 if entry is None else entry.services

    def age(self, address: NetAddress, now: int) -> int:
        """Seconds since the node at ``address`` was seen, 0 for an unknown one."""
        entry = self._entries.get(address_key(address))
        return 0 if entry is None else max(0, now - entry.time)

    def set_services(self, address: NetAddress, services: int) -> None:
        """The node itself told which services it offers."""
        entry = self._entries.get(address_key(address))
        if entry is not None and entry.services != services:
            entry.services = services
            self.changes += 1

    # -- choosing ------------------------------------------------------------------------------------------------

    def select(
        self, now: int, *, new_only: bool = False, accept: Callable[[Entry], bool] | None = None
    ) -> Entry | None:
        """An address to connect to: new and tried ones with equal chances, then by experience. None if none fits."""
        factor = 1.0
        for _ in range(MAX_CHOICES):
            use_tried = bool(self._tried) and not new_only and (not self._new or self._rng.random() < 0.5)
            table = self._tried if use_tried else self._new
            if not table:
                return None
            entry = table[self._rng.randrange(len(table))]
            if accept is not None and not accept(entry):
                continue
            if self._rng.random() < factor * entry.chance(now):
                return entry
            factor *= 1.2
        return None

    def sample(self, maximum: int, percent: int, now: int, accept: Callable[[Entry], bool]) -> list[AddrEntry]:
        """A random share of the good addresses for a getaddr answer: at most ``percent`` of all and ``maximum``."""
        count = min(maximum, len(self._entries) * percent // 100)
        tables = self._new, self._tried
        total = len(self._entries)
        found: list[AddrEntry] = []
        for i in self._rng.sample(range(total), min(total, 2 * count)):
            entry = tables[0][i] if i < len(tables[0]) else tables[1][i - len(tables[0])]
            if not entry.is_terrible(now) and accept(entry):
                found.append(AddrEntry(entry.time, entry.services, entry.address))
                if len(found) >= count:
                    break
        return found

    # -- disk ----------------------------------------------------------------------------------------------------

    def serialize(self) -> bytes:
        """The whole book: magic, count, records (little-endian), SHA-256d of all before it. Clears ``changes``."""
        parts = [_MAGIC, len(self._entries).to_bytes(4, "little")]
        for e in self._entries.values():
            parts.append(
                _RECORD.pack(
                    e.time, e.services, e.last_try, e.last_success, e.last_counted, min(e.attempts, 0xFFFF), e.tried
                )
            )
            parts.append(bytes((len(e.source),)) + e.source + e.key)
        body = b"".join(parts)
        self.changes = 0
        return body + sha256d(body)

    @classmethod
    def deserialize(cls, data: bytes, rng: Random) -> AddressBook:
        """The book that ``serialize`` wrote; raises DecodeError for anything else. Times ahead are kept as they are."""
        book = cls(rng)
        body = data[:-_CHECKSUM_SIZE]
        if not body.startswith(_MAGIC) or sha256d(body) != data[-_CHECKSUM_SIZE:]:
            raise DecodeError("address book is damaged or of another version")
        p = len(_MAGIC)
        count = int.from_bytes(body[p : p + 4], "little")
        p += 4
        try:
            for _ in range(count):
                p = book._read_record(body, p)
        except (IndexError, ValueError, KeyError) as error:
            raise DecodeError(f"address book has a record that cannot be read: {error}") from None
        if p != len(body):
            raise DecodeError("address book has bytes left over")
        book.changes = 0
        return book

    def _read_record(self, body: bytes, p: int) -> int:
        if p + _RECORD.size >= len(body):
            raise DecodeError("truncated")
        time, services, last_try, last_success, last_counted, attempts, tried = _RECORD.unpack_from(body, p)
        p += _RECORD.size
        source = body[p + 1 : p + 1 + body[p]]
        p += 1 + len(source)
        network = Network(body[p])
        end = p + 1 + ADDRESS_SIZES[network]
        key = body[p : end + 2]
        address = NetAddress(network, body[p + 1 : end], int.from_bytes(body[end : end + 2], "big"))
        table, maximum = (self._tried, self._max_tried) if tried else (self._new, self._max_new)
        if key not in self._entries and len(table) < maximum:
            entry = Entry(address, key, services, time, source)
            entry.last_try, entry.last_success, entry.last_counted = last_try, last_success, last_counted
            entry.attempts, entry.tried = attempts, bool(tried)
            self._entries[key] = entry
            self._append(table, entry)
            if not tried:
                self._per_source[source] = self._per_source.get(source, 0) + 1
        return end + 2
