"""Importing block files: ``--loadblock`` of somebody else's, and ``--reindex`` of our own.

Blocks may stand in any order. One whose parent is unknown is remembered by its place and read again when the parent
arrives. The chain driver connects while the importer reads on; a bounded number of bytes runs ahead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from btcnode.errors import BtcnodeError, DecodeError, Fault, RuleViolation, StorageError
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.block_import import BlockImport, iter_blocks, xor_key_beside
from btcnode.storage.blockfiles import BlockPos
from btcnode.sync.driver import ChainDriver

RUN_AHEAD_BYTES = 32 << 20  # stored and not connected yet: half of what the executor keeps parsed
MAX_WAITING = 200_000  # places of blocks without parent: 200,000 x 250 B = 50 MB
LOG_EVERY = 10_000  # blocks

log = logging.getLogger("btcnode.reindex")


@dataclass(slots=True)
class ImportReport:
    """What an import found."""

    files: int = 0
    blocks: int = 0
    known: int = 0
    rejected: int = 0
    orphans: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block without known parent lies."""

    path: Path
    file: int
    position: int
    size: int


def block_files(path: Path) -> list[Path]:
    """The files to import for a path that the user gave: itself, or the ``blk*.dat`` of a folder in order.

    Raises StorageError when there is nothing.
    """
    if path.is_dir():
        found = sorted(path.glob("blk?????.dat")) or sorted((path / "blocks").glob("blk?????.dat"))
        if not found:
            raise StorageError(f"no blk*.dat files in {path}")
        return found
    if not path.is_file():
        raise StorageError(f"cannot import blocks: no such file {path}")
    return [path]


class BlockImporter:
    """Feeds block files to a chain driver."""

    def __init__(self, driver: ChainDriver, magic: bytes, now: Callable[[], int], *, own_files: bool = False) -> None:
        self._driver = driver
        self._magic = magic
        self._now = now
        self._own_files = own_files
        self._waiting: dict[bytes, list[_Place]] = {}
        self._waiting_count = 0
        self._ahead = 0
        self.report = ImportReport()

    async def run(self, paths: list[Path]) -> ImportReport:
        """Import files in order; raises StorageError when one cannot be read or the chain stops."""
        for number, path in enumerate(paths):
            log.info("importing blocks from %s", path)
            await self._import_file(path, number)
            self.report.files += 1
        await self._driver.settled()
        self.report.orphans = self._waiting_count
        return self.report

    async def _import_file(self, path: Path, number: int) -> None:
        source = iter_blocks(path, self._magic, xor_key_beside(path))
        frames: Iterator[tuple[int, bytes]] = iter(source)
        while (frame := await self._driver.in_reader(lambda: next(frames, None))) is not None:
            position, raw = frame
            await self._offer(source, _Place(path, number, position, len(raw)), raw)

    async def _offer(self, source: BlockImport, place: _Place, raw: bytes) -> None:
        prev = raw[4:36]
        tree = self._driver.chainstate.tree
        if tree.find(prev) < 0 and tree.find(header_hash(raw[:HEADER_SIZE])) < 0:
            self._remember(prev, place)
            return
        try:
            await self._process(place, raw)
        except DecodeError:
            source.reject()
            self.report.rejected += 1

    def _remember(self, prev: bytes, place: _Place) -> None:
        if self._waiting_count >= MAX_WAITING:
            raise StorageError("too many blocks without their parents in the files to import")
        self._waiting.setdefault(prev, []).append(place)
        self._waiting_count += 1

    async def _process(self, place: _Place, raw: bytes) -> None:
        """Store one block, then every block that waited for it."""
        queue = [(place, raw)]
        while queue:
            where, data = queue.pop()
            if not await self._store(where, data):
                continue
            for child in self._waiting.pop(header_hash(data[:HEADER_SIZE]), ()):
                self._waiting_count -= 1
                queue.append((child, await self._driver.in_reader(partial(self._read, child))))

    def _read(self, place: _Place) -> bytes:
        key = xor_key_beside(place.path)
        source = iter_blocks(place.path, self._magic, key)
        return source.read_at(place.position, place.size)

    async def _store(self, place: _Place, raw: bytes) -> bool:
        """Hand a block to the driver; returns whether its header is in the tree now."""
        position = BlockPos(place.file, place.position) if self._own_files else None
        try:
            outcome = await self._driver.store_block(raw, self._now(), requested=True, position=position)
        except RuleViolation as violation:
            self._refused(raw, violation)
            return violation.fault is Fault.CACHED_INVALID
        self.report.blocks += 1
        if not outcome.new:
            self.report.known += 1
        elif outcome.violation is not None:
            self._refused(raw, outcome.violation)
        if self.report.blocks % LOG_EVERY == 0:
            log.info("imported %d blocks", self.report.blocks)
        self._ahead += len(raw)
        if self._ahead > RUN_AHEAD_BYTES:
            self._ahead = 0
            await self._driver.settled()
        return True

    def _refused(self, raw: bytes, error: BtcnodeError) -> None:
        self.report.rejected += 1
        log.warning("block %s of the import is refused: %s", to_display(header_hash(raw[:HEADER_SIZE])), error)


async def import_paths(driver: ChainDriver, magic: bytes, now: Callable[[], int], paths: list[Path]) -> ImportReport:
    """Import what the user named with ``--loadblock``; raises StorageError."""
    files = [file for path in paths for file in await asyncio.to_thread(block_files, path)]
    return await BlockImporter(driver, magic, now).run(files)
