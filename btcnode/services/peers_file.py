"""peers.dat and anchors.dat: read at the start, replaced as a whole by a rename."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError, StorageError
from btcnode.files import MIB, read_limited
from btcnode.networks.seeds import embedded_asmap, fixed_seeds
from btcnode.protocol.addresses.address_file import (
    AddressFileError,
    AddressFileVersionError,
    Snapshot,
    decode_anchors,
    decode_book,
    encode_anchors,
)
from btcnode.protocol.addresses.addrman import TEST_KEY, AddressBook
from btcnode.protocol.addresses.asmap import AsMap
from btcnode.protocol.addresses.netgroup import NetGroups
from btcnode.protocol.limits import MAX_ANCHORS
from btcnode.settings.groups.connections import EMBEDDED
from btcnode.storage.durable import write_durably
from btcnode.wire.netaddr import NetAddress, Network

if TYPE_CHECKING:
    from btcnode.settings.settings import Settings
    from btcnode.wire.messages import AddrEntry

PEERS, ANCHORS = "peers.dat", "anchors.dat"
MAX_PEERS_BYTES = 64 * MIB  # a full book has 10
MAX_ANCHORS_BYTES = MIB
MAX_MAP_BYTES = 64 * MIB  # maps of the whole Internet have 2
BUG_REPORT = "https://github.com/bitcoin/bitcoin/issues"  # the file's format is theirs

log = logging.getLogger("btcnode.addrman")
init_log = logging.getLogger("btcnode.node")


def seed_addresses(network: str) -> list[NetAddress]:
    """The package's own addresses of nodes of a network (by our name of it)."""
    return [NetAddress(Network(seed.network_id), seed.address, seed.port) for seed in fixed_seeds(network)]


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def load_groups(settings: Settings) -> NetGroups:
    """How addresses are grouped; raises ConfigError when the map that the user named is not usable."""
    if settings.connections.asmap is None:
        init_log.info("Using /16 prefix for IP bucketing")
        return NetGroups()
    if settings.connections.asmap is EMBEDDED:
        data = embedded_asmap()
        if data is None:
            raise ConfigError("Embedded asmap data not available")
        init_log.info("Opened asmap data (%d bytes) from embedded byte array", len(data))
        asmap = AsMap(data)
        if not asmap.is_sane():
            raise ConfigError("Could not read embedded asmap data")
    else:
        asmap = _load_map(settings.net_dir / settings.connections.asmap)
    init_log.info("Using asmap version %s for IP bucketing", asmap.version[::-1].hex())
    return NetGroups(asmap)


def _load_map(path: Path) -> AsMap:
    if not path.exists():
        raise ConfigError(f"Could not find asmap file {_quoted(path)}")
    try:
        data = read_limited(path, MAX_MAP_BYTES)
    except OSError as error:
        init_log.warning("Failed to open asmap file from disk: %s", error)
        data = b""
    init_log.info("Opened asmap file %s (%d bytes) from disk", _quoted(path), len(data))
    asmap = AsMap(data)
    if not asmap.is_sane():
        init_log.warning("Sanity check of asmap file %s failed", _quoted(path))
        raise ConfigError(f"Could not parse asmap file {_quoted(path)}")
    return asmap


def load_book(settings: Settings, magic: bytes, rng: Random, groups: NetGroups) -> AddressBook:
    """The stored address book, or a new one when there is none or it is of a later version.

    Raises StorageError, in Core's words, when the file is damaged.
    """
    path = settings.net_dir / PEERS
    begin = time.perf_counter()
    key = None
    if "addrman" in settings.chain.test:
        rng, key = Random(0), TEST_KEY
    ratio = settings.connections.checkaddrman
    check = _make_check(ratio, rng) if ratio else None

    def make_book(stored: bytes | None = key) -> AddressBook:
        return AddressBook(rng, groups, key=stored, log=lambda text: log.debug("%s", text), check=check)

    try:
        book, note = decode_book(read_limited(path, MAX_PEERS_BYTES), magic, make_book)
    except FileNotFoundError:
        book = make_book()
        log.info("Creating peers.dat because the file was not found (%s)", _quoted(path))
        save_book(path, Snapshot(book).encode(magic))
    except AddressFileVersionError:
        book = make_book()
        _set_aside(path)
        save_book(path, Snapshot(book).encode(magic))
    except (AddressFileError, OSError) as error:
        raise StorageError(
            f"Invalid or corrupt peers.dat ({error}). If you believe this is a bug, please report it to {BUG_REPORT}."
            f" As a workaround, you can move the file ({_quoted(path)}) out of the way (rename, move, or delete) to"
            " have a new one created on the next start."
        ) from None
    else:
        if note:
            log.debug("%s", note)
        log.info("Loaded %d addresses from peers.dat %dms", len(book), (time.perf_counter() - begin) * 1000)
    return book


def _set_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(path.name + ".bak"))
    except OSError:
        raise StorageError("Failed to rename invalid peers.dat file. Please move or delete it and try again.") from None
    log.warning(
        "Creating new peers.dat because the file version was not compatible (%s). Original backed up to peers.dat.bak",
        _quoted(path),
    )


def _make_check(ratio: int, rng: Random) -> Callable[[AddressBook], None]:
    """What looks whether a book is consistent, once in ``ratio`` operations; it raises StorageError if not."""

    def check(book: AddressBook) -> None:
        if rng.randrange(ratio):
            return
        begin = time.perf_counter()
        log.debug("CheckAddrman: new %d, tried %d, total %d started", book.new_count, book.tried_count, len(book))
        code = book.fault()
        log.debug("CheckAddrman: completed (%.2fms)", (time.perf_counter() - begin) * 1000)
        if code:
            log.error("ADDRMAN CONSISTENCY CHECK FAILED!!! err=%d", code)
            raise StorageError(f"the address book is not consistent: {code}")

    return check


def save_book(path: Path, data: bytes) -> None:
    """Write the encoded book; a failure costs nothing but the book and is logged."""
    try:
        write_durably(path, data)
    except StorageError as error:
        log.warning("the address book is not saved: %s", error)


def read_anchors(directory: Path, magic: bytes) -> tuple[AddrEntry, ...]:
    """Block-relay peers of the last run; what is wrong with the file is logged."""
    path = directory / ANCHORS
    anchors: list[AddrEntry] = []
    try:
        anchors = decode_anchors(read_limited(path, MAX_ANCHORS_BYTES), magic)
        log.info('Loaded %d addresses from "%s"', len(anchors), ANCHORS)
    except FileNotFoundError:
        pass
    except (AddressFileError, OSError) as error:
        log.debug("%s is of no use: %s", path, error)
    anchors = anchors[:MAX_ANCHORS]
    log.info("%d block-relay-only anchors will be tried for connections.", len(anchors))
    return tuple(anchors)


def forget_anchors(directory: Path) -> None:
    """The anchors are about to be connected to: delete the file, so that a crash does not use them twice."""
    path = directory / ANCHORS
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be deleted: %s", path, error.strerror)


def save_anchors(directory: Path, anchors: tuple[AddrEntry, ...], magic: bytes) -> None:
    """Keep the block-relay peers for the next run; a failure is logged."""
    log.info("DumpAnchors: Flush %d outbound block-relay-only peer addresses to anchors.dat started", len(anchors))
    save_book(directory / ANCHORS, encode_anchors(list(anchors), magic))
    log.info("DumpAnchors: Flush %d outbound block-relay-only peer addresses to anchors.dat completed", len(anchors))
