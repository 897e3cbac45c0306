"""Blocks and undo data in Bitcoin Core's flat files (``blk00000.dat``, ``rev00000.dat``).

A file is a row of frames ``magic[4] size[u32] payload``, at most 128 MiB of blocks to a file; undo data lies in the
file with the number of its block's. A position names the payload, 8 bytes behind its frame, as Core's FlatFilePos.
Everything is XORed with the directory's key. Files are not preallocated, so each ends with its last frame.

While the chain below a loaded UTXO set is fetched, blocks above the set go to files of their own (``split_at``), as in
Core: old and new ones in one file would keep each other from being pruned.

What counts is what the database records (``FileInfo``): after a crash, bytes beyond the recorded end are cut off at
the next start. For that ``sync_changes`` must have returned before the records of those changes are committed, and
these in one transaction with the index records that point into the files. Files are deleted (pruning) in the opposite
order: ``forget``, the commit that says so, ``remove``; what a crash leaves of them goes at the next start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from btcnode.errors import CorruptionError, LostDatabaseError, StorageError
from btcnode.files import open_regular, read_limited
from btcnode.primitives.compactsize import MAX_SIZE
from btcnode.primitives.hashes import sha256d
from btcnode.record import struct
from btcnode.storage.database import Database
from btcnode.storage.durable import storage_error, sync_directory, sync_file, write_all, write_durably
from btcnode.storage.layout import (
    FILE_RECORD,
    FRAME,
    FRAME_SIZE,
    MAX_BLOCKFILE_SIZE,
    MAX_FILES,
    META_FILE_PREFIX,
    META_PRUNED,
    META_REINDEX,
    META_XOR,
    UNDO_CHECKSUM_SIZE,
    XOR_FILE,
    XOR_KEY_SIZE,
    block_file_name,
    file_key,
    undo_file_name,
)
from btcnode.storage.lmdb_errors import CORE_ADVICE, LOST_ADVICE
from btcnode.storage.obfuscation import MAX_KEY_FILE_BYTES, ZERO_KEY, Obfuscation, open_obfuscation
from btcnode.tuples import NamedTuple

_ADVICE = "start with --reindex"
_BLOCK_FILES = "blk?????.dat"
_CORE_INDEX = Path("index", "CURRENT")  # of Core's LevelDB with its index of blocks

log = logging.getLogger("btcnode.blockstorage")


class BlockPos(NamedTuple):
    """Where a block or its undo data lies: file number, and offset of the payload behind its frame header."""

    file: int
    pos: int


class FileChanges(NamedTuple):
    """What was appended and is not known to be on the disk: files, whether some are new, the records that changed."""

    paths: tuple[Path, ...]
    created: bool
    numbers: frozenset[int]
    records: dict[bytes, bytes]


@struct
class FileInfo:
    """What is recorded of one pair of files (Core's CBlockFileInfo); sizes in bytes, times in Unix seconds."""

    blocks: int = 0
    size: int = 0
    undo_size: int = 0
    height_first: int = 0
    height_last: int = 0
    time_first: int = 0
    time_last: int = 0

    def pack(self) -> bytes:
        """The record."""
        return FILE_RECORD.pack(
            self.blocks,
            self.size,
            self.undo_size,
            self.height_first,
            self.height_last,
            self.time_first,
            self.time_last,
        )

    @classmethod
    def unpack(cls, record: bytes) -> FileInfo:
        """Decode a record; raises CorruptionError for any other length."""
        if len(record) != FILE_RECORD.size:
            raise CorruptionError(f"a block file record has a wrong size: {_ADVICE}")
        return cls(*FILE_RECORD.unpack(record))

    def add_block(self, height: int, time: int) -> None:
        """Count a block."""
        if not self.blocks or height < self.height_first:
            self.height_first = height
        if not self.blocks or time < self.time_first:
            self.time_first = time
        self.height_last = max(self.height_last, height)
        self.time_last = max(self.time_last, time)
        self.blocks += 1


class BlockFiles:
    """The files of one blocks directory. One thread appends and takes changes; any thread reads."""

    def __init__(
        self, directory: Path, magic: bytes, *, use_xor: bool = True, max_file_size: int = MAX_BLOCKFILE_SIZE
    ) -> None:
        """Open or make the directory without records: what lies there will be overwritten.

        Raises StorageError, CorruptionError.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot make {directory}") from None
        self.directory = directory
        self._folder = f"{directory}{os.sep}"
        self.magic = magic
        self.infos: list[FileInfo] = [FileInfo()]
        self.appended = 0  # bytes since the start
        self.have_pruned = False  # files were deleted, now or in an earlier run
        self._max_file_size = max_file_size
        self._obfuscation = open_obfuscation(directory, use_xor=use_xor)
        self._dirty: set[int] = set()  # numbers whose record has changed since it was committed
        self._unsynced: dict[Path, None] = {}
        self._created = False
        self._fds: dict[bool, tuple[Path, int]] = {}  # the file appended to, by "is it undo data"
        self._split: int | None = None  # the height above which blocks have files of their own
        self._upper = -1  # the file that those go to, -1 before the first one; without a split it is the last file
        self._lower = -1  # the file of the others

    @classmethod
    def open(
        cls,
        directory: Path,
        magic: bytes,
        database: Database,
        *,
        use_xor: bool = True,
        adopt: bool = False,
        tidy: bool = False,
        max_file_size: int = MAX_BLOCKFILE_SIZE,
    ) -> BlockFiles:
        """Open the directory as the database knows it: files are cut to their recorded ends.

        A database without records belongs to an empty directory, and gets its first record here. With ``adopt`` it
        takes over the block files that it finds, whole, from number 0 to the first gap, for a reindex; their undo
        data will be overwritten. ``tidy``: block files behind the gap, and all undo data, are deleted first (what
        pruning has left is of no use for a reindex). Raises LostDatabaseError when there are files and no records,
        CorruptionError when a file is missing or shorter than its record.
        """
        _choose_key(directory, magic, database)
        files = cls(directory, magic, use_xor=use_xor, max_file_size=max_file_size)
        if database.get_meta(META_XOR) is None:
            database.commit(meta_puts={META_XOR: files.xor_key})
        records = database.meta_items(META_FILE_PREFIX)
        if records:
            files.have_pruned = database.get_meta(META_PRUNED) is not None
            files._restore(records)
            return files
        if not adopt:
            files._refuse_unknown(database.file)
        if tidy:
            files._remove_unusable()
        found = files._sizes_found()
        if unread := files._numbers_from(len(found)):
            log.warning(
                "%s is missing: %d block files with higher numbers are not read, and will be overwritten",
                files.block_path(len(found)), len(unread),
            )  # fmt: skip
        files.infos = [FileInfo(size=size) for size in found] or [FileInfo()]
        files._dirty.update(range(len(files.infos)))
        under_way = {META_REINDEX: b"1"} if adopt and any(found) else {}
        database.commit(meta_puts=files.take_changes().records | under_way)
        return files

    @property
    def xor_key(self) -> bytes:
        """The 8 bytes of ``xor.dat``."""
        return self._obfuscation.key

    def block_path(self, number: int) -> Path:
        """Where ``blkNNNNN.dat`` of this number lies."""
        return self.directory / block_file_name(number)

    def undo_path(self, number: int) -> Path:
        """Path of a file of undo data."""
        return self.directory / undo_file_name(number)

    def is_there(self, number: int, *, undo: bool = False) -> bool:
        """Whether there is a file of blocks, or of undo data, of this number; asked for each answer from memory."""
        name = undo_file_name(number) if undo else block_file_name(number)
        return os.access(f"{self._folder}{name}", os.F_OK)  # a Path of it takes five times as long

    @property
    def total_size(self) -> int:
        """Bytes of all blocks and undo data (Core's CalculateCurrentUsage)."""
        return sum(info.size + info.undo_size for info in self.infos)

    # -- records -----------------------------------------------------------------------------------------------

    def _restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        infos: list[FileInfo] = []
        for key, record in records:
            if key != file_key(len(infos)):
                raise CorruptionError(f"the records of the block files have gaps: {_ADVICE}")
            infos.append(FileInfo.unpack(record))
        self.infos = infos
        self.remove(self.pruned_numbers())
        for number, info in enumerate(infos):
            _cut(self.block_path(number), info.size)
            _cut(self.undo_path(number), info.undo_size)

    def _sizes_found(self) -> list[int]:
        """Sizes of the block files that are there, up to the first gap."""
        sizes: list[int] = []
        while (path := self.block_path(len(sizes))).exists():
            sizes.append(path.stat().st_size)
        return sizes

    def _refuse_unknown(self, database_file: Path) -> None:
        """Raise LostDatabaseError where any block lies, whatever its file's number: a pruned node has no number 0."""
        if not _first_bytes(self.directory, 1):
            return
        advice = CORE_ADVICE if (self.directory / _CORE_INDEX).exists() else LOST_ADVICE
        raise LostDatabaseError(
            f"{self.directory} has block files that the database does not know ({database_file} is new): {advice}"
        )

    def _numbers_from(self, number: int) -> list[int]:
        """Numbers of the block files that are there, from ``number`` on."""
        digits = (path.stem[3:] for path in self.directory.glob(_BLOCK_FILES))
        return sorted(int(each) for each in digits if each.isascii() and each.isdecimal() and int(each) >= number)

    def take_changes(self) -> FileChanges:
        """What has to reach the disk: ``sync_changes`` brings the files there, then the records are to be committed.

        Appending may go on meanwhile. Where that fails, ``put_back`` makes the changes due again.
        """
        records = {file_key(number): self.infos[number].pack() for number in sorted(self._dirty)}
        changes = FileChanges(tuple(self._unsynced), self._created, frozenset(self._dirty), records)
        if self.have_pruned:
            changes.records[META_PRUNED] = b""
        self._dirty.clear()
        self._unsynced.clear()
        self._created = False
        return changes

    def put_back(self, changes: FileChanges) -> None:
        """Make changes due again that could not be committed."""
        self._dirty |= changes.numbers
        self._unsynced.update(dict.fromkeys(changes.paths))
        self._created |= changes.created

    def sync_changes(self, changes: FileChanges) -> None:
        """Bring what was appended before ``take_changes`` to the disk, new files' names included; from any thread.

        Raises DiskFullError, StorageError.
        """
        try:
            for path in changes.paths:
                sync_file(path)
            if changes.created:
                sync_directory(self.directory)
        except OSError as error:
            raise storage_error(error, f"cannot bring the files in {self.directory} to the disk") from None

    def note_block(self, position: BlockPos, raw: bytes, height: int) -> None:
        """Count a block that an adopted file has already."""
        info = self.infos[position.file]
        info.add_block(height, int.from_bytes(raw[68:72], "little"))
        info.size = max(info.size, position.pos + len(raw))
        self._dirty.add(position.file)

    def adopt_first(self, raw: bytes) -> BlockPos | None:
        """Count the block with which the first adopted file begins, if it is this one: where it lies."""
        position = BlockPos(0, FRAME_SIZE)
        try:
            if not self.infos[0].size or self.read_block(position) != raw:
                return None
        except CorruptionError:
            return None  # no block: whoever reads the files looks for the next one
        self.note_block(position, raw, 0)
        return position

    def end_adoption(self, last: Mapping[int, int]) -> None:
        """What lies behind the last known block of a file counts no more, and may be overwritten.

        As in Core, whose reindex counts the blocks that enter its index: at the end there may be some whose parents
        are not here. ``last``: by file, where its last known block begins; in a file without one only the end of the
        last file is forgotten. Raises CorruptionError when a block is not there.
        """
        for number, info in enumerate(self.infos):
            if number in last:
                pos = last[number]
                size = pos + len(self.read_block(BlockPos(number, pos)))
            elif number == len(self.infos) - 1:
                size = 0
            else:
                continue  # an empty record means that the file is pruned
            if size != info.size:
                info.size = size
                self._dirty.add(number)

    # -- which file --------------------------------------------------------------------------------------------

    def split_at(self, height: int) -> None:
        """Blocks above ``height`` have files of their own from now on."""
        self._split = height
        self._upper = self._lower = -1
        for number, info in enumerate(self.infos):
            if info.size and info.height_last > height:
                self._upper = number
            elif info.size:
                self._lower = number

    @property
    def writing(self) -> Collection[int]:
        """Numbers of the files that blocks are appended to."""
        last = len(self.infos) - 1
        return (last,) if self._split is None else (last, self._lower, self._upper)

    def _file_for(self, height: int, size: int) -> int:
        """Number of the file that a frame of ``size`` bytes goes to; raises StorageError when there is none left."""
        number = len(self.infos) - 1
        if self._split is not None:
            number = self._upper if height > self._split else self._lower
        # Core moves on when a block would end at the limit itself, too; a larger block gets a file of its own
        if number < 0 or (self.infos[number].size and self.infos[number].size + size >= self._max_file_size):
            number = len(self.infos)
            if number >= MAX_FILES:
                raise StorageError(f"{self.directory} has no file numbers left")
        return number

    # -- deleting ----------------------------------------------------------------------------------------------

    def pruned_numbers(self) -> list[int]:
        """Numbers of the files that were deleted, or are about to be."""
        return [number for number, info in enumerate(self.infos[:-1]) if not info.size]

    def is_pruned(self, number: int) -> bool:
        """Whether this file was deleted, or is about to be."""
        return number < len(self.infos) - 1 and not self.infos[number].size

    def forget(self, numbers: Collection[int]) -> None:
        """Empty the records of these files, which must not include those of ``writing``; by the thread that appends."""
        for number in numbers:
            self.infos[number] = FileInfo()
            self._dirty.add(number)
            for path in (self.block_path(number), self.undo_path(number)):
                self._unsynced.pop(path, None)
        self.have_pruned |= bool(numbers)

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete these files, whose empty records are on the disk; raises StorageError."""
        try:
            for number in numbers:
                for path in (self.block_path(number), self.undo_path(number)):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot delete old block files in {self.directory}") from None

    def _remove_unusable(self) -> None:
        """Delete all undo files, and the block files that do not follow each other from number 0 on."""
        unread = self._numbers_from(len(self._sizes_found()))
        try:
            for path in self.directory.glob("rev?????.dat"):
                path.unlink()
            for number in unread:
                self.block_path(number).unlink()
        except OSError as error:
            raise storage_error(error, f"cannot delete old block files in {self.directory}") from None

    # -- writing -----------------------------------------------------------------------------------------------

    def append_block(self, raw: bytes, height: int = 0) -> BlockPos:
        """Append a serialised block; its ``height`` is for the file's record, and for the choice of the file.

        Raises DiskFullError or StorageError: then nothing is recorded of it, and it may be tried again.
        """
        needed = len(raw) + FRAME_SIZE
        if len(raw) > MAX_SIZE:
            raise ValueError(f"a block of {len(raw)} bytes does not fit into a file")
        number = self._file_for(height, needed)
        start = self.infos[number].size if number < len(self.infos) else 0
        self._write(self.block_path(number), False, FRAME.pack(self.magic, len(raw)) + raw, start)
        if not start:
            self._make_undo_file(number)
        if number == len(self.infos):
            self.infos.append(FileInfo())
        if self._split is not None:
            if height > self._split:
                self._upper = number
            else:
                self._lower = number
        info = self.infos[number]
        info.add_block(height, int.from_bytes(raw[68:72], "little"))
        info.size = start + needed
        self._dirty.add(number)
        return BlockPos(number, start + FRAME_SIZE)

    def append_undo(self, file: int, payload: bytes, prev_hash: bytes) -> BlockPos:
        """Append the undo data of a block that lies in file ``file`` and whose parent is ``prev_hash``.

        Raises as ``append_block``.
        """
        info = self.infos[file]
        start = info.undo_size
        data = b"".join((FRAME.pack(self.magic, len(payload)), payload, sha256d(prev_hash + payload)))
        self._write(self.undo_path(file), True, data, start)
        info.undo_size = start + len(data)
        self._dirty.add(file)
        return BlockPos(file, start + FRAME_SIZE)

    def _write(self, path: Path, is_undo: bool, data: bytes, start: int) -> None:
        try:
            current = self._fds.get(is_undo)
            if current is None or current[0] != path:
                if current is not None:
                    del self._fds[is_undo]
                    os.close(current[1])
                self._created |= not path.exists()
                current = self._fds[is_undo] = (path, os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._unsynced[path] = None
            if not start:
                os.ftruncate(current[1], 0)  # what a crash or another node has left
            write_all(current[1], self._obfuscation.apply(data, start), start)
            self.appended += len(data)
        except OSError as error:
            raise storage_error(error, f"cannot write {path}") from None

    def _make_undo_file(self, number: int) -> None:
        """Blocks and undo data come in pairs of files, as tools that count them expect."""
        path = self.undo_path(number)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise storage_error(error, f"cannot make {path}") from None

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync_changes(self.take_changes())
        finally:
            for _, fd in self._fds.values():
                os.close(fd)
            self._fds.clear()

    # -- reading -----------------------------------------------------------------------------------------------

    def read_block(self, position: BlockPos) -> bytes:
        """The serialised block at ``position``; raises CorruptionError when no frame of this network is there."""
        return self._read(self.block_path(position.file), position.pos, 0)

    def read_undo(self, position: BlockPos, prev_hash: bytes) -> bytes:
        """The undo data at ``position``; raises CorruptionError also when its checksum does not fit."""
        data = self._read(self.undo_path(position.file), position.pos, UNDO_CHECKSUM_SIZE)
        payload = data[:-UNDO_CHECKSUM_SIZE]
        if sha256d(prev_hash + payload) != data[-UNDO_CHECKSUM_SIZE:]:
            raise CorruptionError(
                f"undo data at {position.pos} of {self.undo_path(position.file)} is damaged: {_ADVICE}"
            )
        return payload

    def _read(self, path: Path, pos: int, extra: int) -> bytes:
        """Payload and ``extra`` bytes after it of the frame whose payload begins at ``pos``."""
        start = pos - FRAME_SIZE
        if start < 0:
            raise CorruptionError(f"{pos} is no position in {path}: {_ADVICE}")
        try:
            fd = os.open(path, os.O_RDONLY)
            try:
                head = self._obfuscation.apply(os.pread(fd, FRAME_SIZE, start), start)
                magic, size = FRAME.unpack(head) if len(head) == FRAME_SIZE else (b"", 0)
                if magic != self.magic or size > MAX_SIZE:
                    raise CorruptionError(f"no frame of this network at {start} of {path}: {_ADVICE}")
                data = os.pread(fd, size + extra, pos)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise CorruptionError(f"{path} is missing: restore it, or {_ADVICE}") from None
        except OSError as error:
            raise storage_error(error, f"cannot read {path}") from None
        if len(data) != size + extra:
            raise CorruptionError(f"{path} ends within the frame at {start}: {_ADVICE}")
        return self._obfuscation.apply(data, pos)


def _choose_key(directory: Path, magic: bytes, database: Database) -> None:
    """Have the key that reads the block files in ``xor.dat`` and in the database, where one of them has another one.

    The files decide: a key that was lost or damaged comes back, and who has rewritten the files with another key, as
    Core allows it, is followed. Raises StorageError.
    """
    path, known = directory / XOR_FILE, database.get_meta(META_XOR)
    try:
        found = read_limited(path, MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        found = ZERO_KEY  # which is written where there is none
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    if known is None or found == known:
        return
    start = _first_bytes(directory, len(magic))
    if not _reads(known, start, magic) and _reads(found, start, magic):
        database.commit(meta_puts={META_XOR: found})
        return
    log.warning("%s is damaged or missing: it is written anew", path)
    write_durably(path, known)


def _first_bytes(directory: Path, size: int) -> bytes:
    """The first bytes of the first file of blocks that is not empty; raises StorageError."""
    try:
        for path in sorted(directory.glob(_BLOCK_FILES)):
            with open_regular(path) as file:
                if start := file.read(size):
                    return start
    except OSError as error:
        raise storage_error(error, f"cannot read the files in {directory}") from None
    return b""


def _reads(key: bytes, start: bytes, magic: bytes) -> bool:
    """Whether ``key`` makes this network's magic of the first bytes of a file of blocks."""
    return len(key) == XOR_KEY_SIZE and Obfuscation(key).apply(start, 0) == magic


def _cut(path: Path, size: int) -> None:
    """Cut a file to its recorded size; raises CorruptionError when it is shorter."""
    try:
        found = path.stat().st_size
        if found > size:
            os.truncate(path, size)
    except FileNotFoundError:
        found = 0
    except OSError as error:
        raise storage_error(error, f"cannot cut {path} to its recorded size") from None
    if found < size:
        what = "is missing" if not found else f"ends at {found} of {size} bytes"
        raise CorruptionError(f"{path} {what}: restore it, or {_ADVICE}")
