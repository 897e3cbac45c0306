"""The address book of the running node: kept on disk, its map watched over, and shown to RPC."""

from __future__ import annotations

import asyncio
import logging
import time
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from btcnode.errors import StorageError
from btcnode.networks.seeds import embedded_asmap
from btcnode.protocol.addresses.address_file import Snapshot
from btcnode.record import record
from btcnode.services.peers_file import PEERS, save_book
from btcnode.storage.durable import write_durably
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from btcnode.protocol.addresses.address_table import Entry
    from btcnode.protocol.addresses.addrman import AddressBook
    from btcnode.protocol.addresses.netgroup import NetGroups
    from btcnode.services.clock import Clock

HEALTH_CHECK_INTERVAL = 24 * 3600.0  # seconds

log = logging.getLogger("btcnode.net")


@record
class BookEntry:
    """An address in a table of the book; ``slot`` is bucket * 64 + position, ASNs are 0 for none."""

    slot: int
    address: NetAddress
    mapped_as: int
    services: int
    time: int
    source: NetAddress
    source_mapped_as: int


class Addresses:
    """The book on disk and for its readers; everything but writing happens on the loop's thread."""

    def __init__(self, book: AddressBook, directory: Path, magic: bytes, clock: Clock, *, cjdns: bool) -> None:
        """``cjdns``: whether fc00::/8 is CJDNS here."""
        self.book = book
        self._directory = directory
        self._magic = magic
        self._clock = clock
        self._cjdns = cjdns
        self._saving: asyncio.Task[None] | None = None
        self._health: asyncio.TimerHandle | None = None

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look now and daily how well the map fits."""
        if self.book.groups.asmap:
            self._check_health()

    def _check_health(self) -> None:
        known = [entry.address for entry in self.book.order if entry.address.network in (Network.IPV4, Network.IPV6)]
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, _tell_health, known, self.book.groups)
        self._health = loop.call_later(HEALTH_CHECK_INTERVAL, self._check_health)

    def save(self) -> None:
        """Write the book soon, unless it is being written."""
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._save())

    async def _save(self) -> None:
        begin = time.perf_counter()
        snapshot, size = Snapshot(self.book), len(self.book)
        await asyncio.to_thread(lambda: save_book(self._directory / PEERS, snapshot.encode(self._magic)))
        log.debug("Flushed %d addresses to peers.dat  %dms", size, (time.perf_counter() - begin) * 1000)

    async def close(self) -> None:
        """Write the book."""
        if self._health is not None:
            self._health.cancel()
        if self._saving is not None:
            await self._saving
        await self._save()

    # -- for RPC -------------------------------------------------------------------------------------------------

    def sampling(self, count: int, network: Network | None) -> Callable[[], list[AddrEntry]]:
        """What gives addresses in random order, at most ``count`` (0: all), without useless ones, on any thread.

        They are of those that there are now; what is told of one may be a little newer.
        """
        self.book.check()
        order, now = self.book.order[:], self._clock.now()

        def sample() -> list[AddrEntry]:
            Random().shuffle(order)
            found: list[AddrEntry] = []
            for entry in order:
                if (network is None or entry.address.network is network) and not entry.is_terrible(now):
                    found.append(AddrEntry(entry.time, entry.services, entry.address))
                    if len(found) == count:
                        break
            return found

        return sample

    def add(self, address: NetAddress, tried: bool) -> str:
        """Add an address as if it had told itself; what failed, or an empty text."""
        now = self._clock.now()
        if self._cjdns:
            address = address.as_cjdns()
        if not self.book.add([AddrEntry(now, NODE_NETWORK | NODE_WITNESS, address)], address, now):
            return "failed-adding-to-new"
        if tried and not self.book.good(address, now):
            return "failed-adding-to-tried"
        return ""

    def counts(self) -> dict[str, tuple[int, int]]:
        """New and tried addresses of each network."""
        return {name: self.book.size(network) for network, name in NETWORK_NAMES.items()}

    def table(self, *, tried: bool) -> Iterator[BookEntry]:
        """One of the tables as it is now, in order; the entries are described as they are taken, on any thread."""
        table = self.book.tried if tried else self.book.new
        places, groups = table.places(), self.book.groups
        return (_describe(slot, entry, groups) for slot, entry in places)

    def export_asmap(self, name: str) -> tuple[Path, int, bytes]:
        """Write the built-in map to a file; returns where, how many bytes, and SHA-256. Raises StorageError."""
        path = self._directory / name
        data = embedded_asmap()
        if data is None:
            raise StorageError("No embedded ASMap data available")
        if path.is_dir():
            raise StorageError(f"Failed to open asmap file: {path}")
        write_durably(path, data)
        return path, len(data), sha256(data).digest()


def _describe(slot: int, entry: Entry, groups: NetGroups) -> BookEntry:
    return BookEntry(
        slot=slot,
        address=entry.address,
        mapped_as=groups.mapped_as(entry.address),
        services=entry.services,
        time=entry.time,
        source=entry.source,
        source_mapped_as=groups.mapped_as(entry.source),
    )


def _tell_health(known: list[NetAddress], groups: NetGroups) -> None:
    """How well the map fits the addresses that are known."""
    numbers = [groups.mapped_as(address) for address in known]
    logging.getLogger("btcnode.node").info(
        "ASMap Health Check: %d clearnet peers are mapped to %d ASNs with %d peers being unmapped",
        len(known), len(set(numbers) - {0}), numbers.count(0),
    )  # fmt: skip
