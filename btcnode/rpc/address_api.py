"""What RPC methods ask of the address book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from btcnode.wire.messages import AddrEntry
    from btcnode.wire.netaddr import NetAddress, Network


@dataclass(frozen=True, slots=True)
class BookEntry:
    """An address in a table of the book; ``slot`` is bucket * 64 + position, ASNs are 0 for none."""

    slot: int
    address: NetAddress
    mapped_as: int
    services: int
    time: int
    source: NetAddress
    source_mapped_as: int


class AddressApi(Protocol):
    """Addresses of nodes."""

    def node_addresses(self, count: int, network: Network | None) -> Sequence[AddrEntry]:
        """Addresses in random order, at most ``count`` (0: all), without useless ones."""

    def add_address(self, address: NetAddress, tried: bool) -> str:
        """Add an address as if it had told itself; what failed, or an empty text."""

    def address_counts(self) -> Mapping[str, tuple[int, int]]:
        """New and tried addresses of each network."""

    def address_table(self, *, tried: bool) -> Sequence[BookEntry]:
        """One of the tables, in order."""

    def export_asmap(self, name: str) -> tuple[Path, int, bytes]:
        """Write the built-in map to a file; returns where, how many bytes, and SHA-256. Raises StorageError."""
