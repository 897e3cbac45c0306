"""Importing block files: ``--loadblock`` of somebody else's, and ``--reindex`` of our own.

Blocks may stand in any order. One whose parent is unknown is remembered by its place and read again when the parent
arrives. The chain driver connects while the importer reads on; a bounded number of bytes runs ahead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import cast

from btcnode.errors import BtcnodeError, DecodeError, Fault, RuleViolation, StorageError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.record import record, struct
from btcnode.shielding import shielded
from btcnode.storage.block_import import BlockImport, iter_blocks, xor_key_beside
from btcnode.storage.blockfiles import BlockPos
from btcnode.sync.driver import ChainDriver
from btcnode.tuples import NamedTuple

READ_AHEAD_BYTES = 8 << 20  # read from a file and not stored yet, if there is memory; twice that while a batch is read
READ_AHEAD_BLOCKS = 512
MAX_WAITING = 200_000  # places of blocks without parent: 200,000 x 250 B = 50 MB
LOG_EVERY = 10_000  # blocks

log = logging.getLogger("btcnode.reindex")


@struct
class ImportReport:
    """What an import found."""

    files: int = 0
    blocks: int = 0
    known: int = 0
    rejected: int = 0
    orphans: int = 0


@record
class _Place:
    """Where a block without known parent lies."""

    path: Path
    file: int
    position: int
    size: int


class _Frame(NamedTuple):
    """A block of a file on its way: where its bytes begin, the bytes, and the worker's answer about them to come."""

    position: int
    raw: bytes
    decoding: Future[ParsedBlock | None] | None


class _FileReader:
    """Reads a file ahead, so that worker processes decode blocks before their turn comes."""

    def __init__(self, driver: ChainDriver, source: BlockImport) -> None:
        self._driver = driver
        self._source = source
        self._frames = cast("Generator[tuple[int, bytes]]", iter(source))
        self._ahead: deque[_Frame] = deque()
        self._bytes = 0
        self._ended = False

    async def next(self) -> _Frame | None:
        """The next frame, None at the end; raises StorageError when the file cannot be read."""
        if self._bytes <= self._most // 2 and not self._ended:
            reading = asyncio.ensure_future(self._driver.in_reader(self._read))
            try:
                frames = await shielded(reading)
            except asyncio.CancelledError:
                await asyncio.wait({reading})  # the file belongs to the thread until then
                raise
            for position, raw in frames:
                self._ahead.append(_Frame(position, raw, self._driver.decode(raw)))
                self._bytes += len(raw)
        if not self._ahead:
            return None
        frame = self._ahead.popleft()
        self._bytes -= len(frame.raw)
        return frame

    @property
    def _most(self) -> int:
        return min(READ_AHEAD_BYTES, self._driver.run_ahead // 2)

    def _read(self) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        size = self._bytes
        most = self._most
        while size < most and len(found) < READ_AHEAD_BLOCKS:
            frame = next(self._frames, None)
            if frame is None:
                self._ended = True
                break
            found.append(frame)
            size += len(frame[1])
        return found

    def reject(self, position: int) -> None:
        """The frame at ``position``, the last that ``next`` has given, is no block: search its bytes for others."""
        self.close()
        self._source.reject(position)
        self._frames = cast("Generator[tuple[int, bytes]]", iter(self._source))
        self._ended = False

    def close(self) -> None:
        """Give up what was read ahead."""
        self._frames.close()
        for frame in self._ahead:
            if frame.decoding is not None:
                frame.decoding.cancel()
        self._ahead.clear()
        self._bytes = 0


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
        self._ahead: deque[tuple[int, int]] = deque()  # height and size of blocks stored last
        self._ahead_bytes = 0
        self.report = ImportReport()

    async def run(self, paths: list[Path]) -> ImportReport:
        """Import files in order; raises StorageError when one cannot be read or the chain stops."""
        for number, path in enumerate(paths):
            if self._own_files:
                log.info("Reindexing block file %s (%d%% complete)...", path.name, number * 100 // len(paths))
            else:
                log.info("Importing blocks file %s...", path)
            await self._import_file(path, number)
            self.report.files += 1
        await self._driver.settled()
        self.report.orphans = self._waiting_count
        return self.report

    async def _import_file(self, path: Path, number: int) -> None:
        reader = _FileReader(self._driver, iter_blocks(path, self._magic, xor_key_beside(path)))
        try:
            while (frame := await reader.next()) is not None:
                place = _Place(path, number, frame.position, len(frame.raw))
                if not await self._offer(frame, place):
                    reader.reject(frame.position)
                    self.report.rejected += 1
        finally:
            reader.close()

    async def _offer(self, frame: _Frame, place: _Place) -> bool:
        """Take a frame's block; returns whether it was one."""
        prev = frame.raw[4:36]
        tree = self._driver.chainstate.tree
        if tree.find(prev) < 0 and tree.find(header_hash(frame.raw[:HEADER_SIZE])) < 0:
            own = to_display(header_hash(frame.raw[:HEADER_SIZE]))
            log.debug("LoadExternalBlockFile: Out of order block %s, parent %s not known", own, to_display(prev))
            self._remember(prev, place)
            return True
        parsed = None if frame.decoding is None else await asyncio.wrap_future(frame.decoding)
        try:
            await self._store_with_waiting(place, frame.raw, parsed)
        except DecodeError:
            return False
        return True

    def _remember(self, prev: bytes, place: _Place) -> None:
        if self._waiting_count >= MAX_WAITING:
            raise StorageError("too many blocks without their parents in the files to import")
        self._waiting.setdefault(prev, []).append(place)
        self._waiting_count += 1

    async def _store_with_waiting(self, place: _Place, raw: bytes, parsed: ParsedBlock | None) -> None:
        """Store one block, then every block that waited for it."""
        queue = [(place, raw)]
        while queue:
            where, data = queue.pop()
            known = parsed if where is place else None
            if not await self._store(where, data, known):
                continue
            for child in self._waiting.pop(header_hash(data[:HEADER_SIZE]), ()):
                self._waiting_count -= 1
                parent = to_display(header_hash(data[:HEADER_SIZE]))
                log.debug("LoadExternalBlockFile: Processing out of order child of %s", parent)
                queue.append((child, await self._driver.in_reader(partial(self._read, child))))

    def _read(self, place: _Place) -> bytes:
        key = xor_key_beside(place.path)
        source = iter_blocks(place.path, self._magic, key)
        return source.read_at(place.position, place.size)

    async def _store(self, place: _Place, raw: bytes, parsed: ParsedBlock | None) -> bool:
        """Hand a block to the driver; returns whether its header is in the tree now."""
        position = BlockPos(place.file, place.position) if self._own_files else None
        try:
            outcome = await self._driver.store_block(raw, self._now(), requested=True, position=position, parsed=parsed)
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
        await self._hold_back(self._driver.chainstate.tree.height(outcome.index), len(raw))
        return True

    async def _hold_back(self, height: int, size: int) -> None:
        """Wait while more than the driver's ``run_ahead`` are stored and not connected yet."""
        self._ahead.append((height, size))
        self._ahead_bytes += size
        while self._ahead_bytes > self._driver.run_ahead:
            oldest, freed = self._ahead.popleft()
            await self._driver.reached(oldest)
            self._ahead_bytes -= freed

    def _refused(self, raw: bytes, error: BtcnodeError) -> None:
        self.report.rejected += 1
        log.warning("block %s of the import is refused: %s", to_display(header_hash(raw[:HEADER_SIZE])), error)


async def import_paths(driver: ChainDriver, magic: bytes, now: Callable[[], int], paths: list[Path]) -> ImportReport:
    """Import what the user named with ``--loadblock``; what is not there is said in the log. Raises StorageError."""
    files: list[Path] = []
    for path in paths:
        try:
            files += await asyncio.to_thread(block_files, path)
        except StorageError as error:
            log.warning("Could not open blocks file %s: %s", path, error)
    return await BlockImporter(driver, magic, now).run(files)
