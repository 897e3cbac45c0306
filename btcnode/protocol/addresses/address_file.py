"""The address book and the anchors as bytes, in Bitcoin Core's formats: peers.dat (formats 0 to 4) and anchors.dat.

Both files are the network's magic, the content and SHA-256d of all before it. Numbers are little-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.protocol.addresses.address_table import BUCKET_SIZE, Entry
from btcnode.protocol.addresses.addrman import MAX_PLACES, NEW_BUCKETS, TRIED_BUCKETS, AddressBook
from btcnode.protocol.addresses.netgroup import address_key, is_internal
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network

if TYPE_CHECKING:
    pass

FORMAT = 4  # several ports of one host
_FORMAT_BIP155, _FORMAT_ASMAP, _FORMAT_DETERMINISTIC = 3, 2, 1
_COMPATIBILITY_BASE = 32
_BUCKETS_MARK = 1 << 30
_DISK_VERSION = 220_000
_DISK_VERSION_MASK = 0x7FFFF
_DISK_V2 = 1 << 29
_MAX_ADDRESS_SIZE = 512
_NOWHERE = NetAddress(Network.IPV6, bytes(16), 0)
_I32, _U32, _I64 = Struct("<i"), Struct("<I"), Struct("<q")
_STREAM = ": iostream error"  # what the C++ library appends to errors of streams


class AddressFileError(DecodeError):
    """The file is damaged; the text is Core's."""


class AddressFileVersionError(DecodeError):
    """The file is of a version that is not known here."""


class _Reader:
    """Reads numbers and addresses from bytes; raises AddressFileError at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def take(self, size: int) -> bytes:
        end = self.pos + size
        if end > len(self.data):
            raise AddressFileError(f"AutoFile::read: end of file{_STREAM}")
        piece = self.data[self.pos : end]
        self.pos = end
        return piece

    def number(self, form: Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def size(self, limit: int = 2**64) -> int:
        try:
            value, self.pos = read_compact_size(self.data, self.pos, limit)
        except DecodeError as error:
            raise AddressFileError(f"{error}{_STREAM}") from None
        return value

    def host(self, v2: bool) -> tuple[Network, bytes]:
        """Network and bytes of an address; unspecified IPv6 for what cannot be a node's."""
        if not v2:
            address = NetAddress.from_v1(self.take(16), 0)
            return address.network, address.raw
        number = self.take(1)[0]
        raw = self.take(self.size(_MAX_ADDRESS_SIZE))
        try:
            known = NetAddress.from_bip155(number, raw, 0)
        except DecodeError as error:
            raise AddressFileError(f"{error}{_STREAM}") from None
        if known is not None:
            return known.network, raw
        internal = number == Network.IPV6 and is_internal(NetAddress(Network.IPV6, raw, 0))
        return Network.IPV6, raw if internal else _NOWHERE.raw

    def entry(self, allow_v2: bool) -> AddrEntry:
        """A ``CAddress`` as on disk."""
        version = self.number(_U32) & ~_DISK_VERSION_MASK
        if version not in (0, _DISK_V2) or (version and not allow_v2):
            raise AddressFileError(f"Unsupported CAddress disk format version{_STREAM}")
        v2 = bool(version)
        time = self.number(_U32)
        services = self.size() if v2 else int.from_bytes(self.take(8), "little")
        network, raw = self.host(v2)
        return AddrEntry(time, services, NetAddress(network, raw, int.from_bytes(self.take(2), "big")))

    def known(self, allow_v2: bool) -> Entry:
        """An ``AddrInfo``: an address with what is remembered of it."""
        time, services, address = self.entry(allow_v2)
        network, raw = self.host(allow_v2)
        entry = Entry(address, address_key(address), services, time, NetAddress(network, raw, 0))
        entry.last_success = self.number(_I64)
        entry.attempts = self.number(_I32)
        return entry


def _host_bytes(address: NetAddress) -> bytes:
    return bytes((address.network,)) + compact_size(len(address.raw)) + address.raw


def _entry_bytes(time: int, services: int, address: NetAddress) -> bytes:
    return (
        _U32.pack(_DISK_VERSION | _DISK_V2)
        + _U32.pack(time)
        + compact_size(services)
        + _host_bytes(address)
        + address.port.to_bytes(2, "big")
    )


def _known_bytes(e: Entry) -> bytes:
    return (
        _entry_bytes(e.time, e.services, e.address)
        + _host_bytes(e.source)
        + _I64.pack(e.last_success)
        + _I32.pack(min(e.attempts, 0x7FFFFFFF))
    )


class Snapshot:
    """A book's tables as they are at a moment: quickly taken, then encoded at leisure in another thread.

    What is told of an address (time, services, attempts) may be a little newer than the tables.
    """

    def __init__(self, book: AddressBook) -> None:
        """Clears the book's ``changes``."""
        self._new = [entry for entry in book.order if not entry.is_tried]
        self._tried = [entry for entry in book.order if entry.is_tried]
        self._buckets = [book.new.bucket(number) for number in range(NEW_BUCKETS)]
        self._key = book.key
        self._asmap = book.groups.version
        book.changes = 0

    def encode(self, magic: bytes) -> bytes:
        """The bytes of peers.dat (Core's format 4) of the network with this ``magic`` (4 bytes)."""
        numbers = {entry.key: number for number, entry in enumerate(self._new)}
        parts = [magic, bytes((FORMAT, _COMPATIBILITY_BASE + FORMAT)), self._key]
        parts += [_I32.pack(len(self._new)), _I32.pack(len(self._tried)), _I32.pack(NEW_BUCKETS ^ _BUCKETS_MARK)]
        parts += [_known_bytes(entry) for entry in self._new]
        parts += [_known_bytes(entry) for entry in self._tried]
        for bucket in self._buckets:
            parts.append(_I32.pack(len(bucket)))
            parts += [_I32.pack(numbers[entry.key]) for entry in bucket]
        parts.append(self._asmap)
        body = b"".join(parts)
        return body + sha256d(body)


def decode_book(data: bytes, magic: bytes, make_book: Callable[[bytes], AddressBook]) -> tuple[AddressBook, str]:
    """The book in the bytes of a peers.dat, and a line about what was lost on the way (empty: nothing was).

    ``make_book`` makes an empty one with the key (32 bytes) that the file has.

    Raises AddressFileVersionError when it is of a later version, AddressFileError when it is damaged.
    """
    reader = _Reader(data)
    if reader.take(4) != magic:
        raise AddressFileError("Invalid network magic number")
    book, note = _read_book(reader, make_book)
    body = data[: reader.pos]
    if reader.take(32) != sha256d(body):
        raise AddressFileError("Checksum mismatch, data corrupted")
    book.changes = 0
    return book, note


def _read_book(reader: _Reader, make_book: Callable[[bytes], AddressBook]) -> tuple[AddressBook, str]:
    version = _read_version(reader)
    book = make_book(reader.take(32))
    new_count, tried_count = reader.number(_I32), reader.number(_I32)
    buckets = reader.number(_I32) ^ (_BUCKETS_MARK if version >= _FORMAT_DETERMINISTIC else 0)
    _check_count("nNew", new_count, NEW_BUCKETS)
    _check_count("nTried", tried_count, TRIED_BUCKETS)
    v2 = version >= _FORMAT_BIP155
    new = [reader.known(v2) for _ in range(new_count)]
    tried = [reader.known(v2) for _ in range(tried_count)]
    lost_tried = sum(not _restore_tried(book, entry) for entry in tried)
    places = _read_places(reader, buckets, new_count)
    map_version = reader.take(32) if version >= _FORMAT_ASMAP else bytes(32)
    same = buckets == NEW_BUCKETS and map_version == book.groups.version
    note = "" if same else "Bucketing method was updated, re-bucketing addrman entries from disk"
    for bucket, index in places:
        if new[index].address.is_valid:
            _restore_new(book, new[index], bucket if same else None)
    lost_new = sum(not entry.places for entry in new)
    if lost_new or lost_tried:
        note = f"addrman lost {lost_new} new and {lost_tried} tried addresses due to collisions or invalid addresses"
    code = book.fault()
    if code:
        raise AddressFileError(f"Corrupt data. Consistency check failed with code {code}{_STREAM}")
    return book, note


def _read_version(reader: _Reader) -> int:
    version, compatible = reader.take(2)
    if compatible < _COMPATIBILITY_BASE:
        raise AddressFileError(
            f"Corrupted addrman database: The compat value ({compatible}) is lower than the expected minimum value "
            f"{_COMPATIBILITY_BASE}.{_STREAM}"
        )
    if compatible - _COMPATIBILITY_BASE > FORMAT:
        raise AddressFileVersionError(
            f"Unsupported format of addrman database: {version}. It is compatible with formats "
            f">={compatible - _COMPATIBILITY_BASE}, but the maximum supported by this node is {FORMAT}."
        )
    return int(version)


def _check_count(name: str, count: int, buckets: int) -> None:
    most = buckets * BUCKET_SIZE
    if not 0 <= count <= most:
        raise AddressFileError(f"Corrupt AddrMan serialization: {name}={count}, should be in [0, {most}]{_STREAM}")


def _read_places(reader: _Reader, buckets: int, count: int) -> list[tuple[int, int]]:
    """Pairs of a new bucket and the number of an address that lies in it."""
    places = []
    for bucket in range(buckets):
        for _ in range(reader.number(_I32)):
            index = reader.number(_I32)
            if 0 <= index < count:
                places.append((bucket, index))
    return places


def _restore_tried(book: AddressBook, entry: Entry) -> bool:
    if not entry.address.is_valid or entry.key in book.entries:
        return False
    slot = book.tried_slot(entry)
    if book.tried.get(slot) is not None:
        return False
    book.insert(entry)
    book.place_tried(entry, slot)
    return True


def _restore_new(book: AddressBook, entry: Entry, bucket: int | None) -> None:
    """Give a new address a place: the one it had in ``bucket``, or the one its first teller would give it."""
    if len(entry.places) >= MAX_PLACES or (not entry.places and entry.key in book.entries):
        return
    slot = -1 if bucket is None else bucket * BUCKET_SIZE + book.new_position(entry, bucket)
    if slot < 0 or book.new.get(slot) is not None:
        slot = book.new_slot(entry)
    if book.new.get(slot) is None:
        if not entry.places:
            book.insert(entry)
        book.place_new(entry, slot)


def encode_anchors(anchors: list[AddrEntry], magic: bytes) -> bytes:
    """The bytes of anchors.dat, as Bitcoin Core writes them (``DumpAnchors``)."""
    body = magic + compact_size(len(anchors)) + b"".join(_entry_bytes(*entry) for entry in anchors)
    return body + sha256d(body)


def decode_anchors(data: bytes, magic: bytes) -> list[AddrEntry]:
    """The anchors in the bytes of an anchors.dat; raises AddressFileError."""
    reader = _Reader(data)
    if reader.take(4) != magic:
        raise AddressFileError("Invalid network magic number")
    anchors = [reader.entry(True) for _ in range(reader.size(1000))]
    if reader.take(32) != sha256d(data[: len(data) - 32]):
        raise AddressFileError("Checksum mismatch, data corrupted")
    return anchors
