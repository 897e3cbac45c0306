"""UTXO sets that are shared in chunks: the file of a set, the hashes of its chunks beside it, and one that is fetched.

``NAME.tree`` beside ``NAME`` saves reading gigabytes at each start: magic[8], the file's length[u64] and time of change
in nanoseconds[u64], the hashes, and a CRC-32 of all before. It is made anew when it does not fit. A set that is fetched
has its final length from the beginning, in ``NAME.part``, and its hashes in ``NAME.part.tree``, which is written once.
Nothing says which chunks are there but their hashes: whatever a kill or a power loss leaves, what is not as it should
be is fetched again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from btcnode.errors import StorageError
from btcnode.files import open_regular, read_limited
from btcnode.primitives.chunk_tree import (
    CHUNK_SIZE,
    HASH_SIZE,
    MAX_CHUNKS,
    chunk_count,
    chunk_hash,
    chunk_root,
    chunk_size,
    split_hashes,
)
from btcnode.storage.durable import storage_error, sync_directory, write_all, write_durably
from btcnode.tuples import NamedTuple

MAGIC = b"btcnutx\x01"
_HEAD = Struct("<8sQQ")
_CRC_SIZE = 4
PART = ".part"
TREE = ".tree"
MAX_TREE_BYTES = _HEAD.size + HASH_SIZE * MAX_CHUNKS + _CRC_SIZE


class ChunkTree(NamedTuple):
    """A file's length in bytes, and the hashes of its chunks side by side."""

    length: int
    hashes: bytes

    @property
    def root(self) -> bytes:
        """The root of the tree over the hashes."""
        return chunk_root(split_hashes(self.hashes))

    @property
    def chunks(self) -> int:
        """How many there are."""
        return len(self.hashes) // HASH_SIZE

    def hash_of(self, chunk: int) -> bytes:
        """The hash of one chunk."""
        return self.hashes[HASH_SIZE * chunk : HASH_SIZE * (chunk + 1)]


def tree_path(path: Path) -> Path:
    """Where the hashes of a file's chunks lie."""
    return path.with_name(path.name + TREE)


def part_path(path: Path) -> Path:
    """Where a file lies that is not whole yet."""
    return path.with_name(path.name + PART)


def write_tree(path: Path, tree: ChunkTree, changed: int) -> None:
    """Write the hashes of the file ``path``, which was changed at that time (0: it does not matter).

    Raises StorageError.
    """
    data = _HEAD.pack(MAGIC, tree.length, changed) + tree.hashes
    write_durably(tree_path(path), data + zlib.crc32(data).to_bytes(_CRC_SIZE, "little"))


def read_tree(path: Path, changed: int) -> ChunkTree | None:
    """What ``write_tree`` wrote for the same file at the same time; None where there is none, or it does not fit."""
    try:
        data = read_limited(tree_path(path), MAX_TREE_BYTES)
    except OSError:
        return None
    body, crc = data[:-_CRC_SIZE], data[-_CRC_SIZE:]
    if len(data) < _HEAD.size + _CRC_SIZE or zlib.crc32(body).to_bytes(_CRC_SIZE, "little") != crc:
        return None
    magic, length, at = _HEAD.unpack_from(body)
    hashes = body[_HEAD.size :]
    fits = magic == MAGIC and at == changed and len(hashes) == HASH_SIZE * chunk_count(length) and hashes
    return ChunkTree(length, hashes) if fits else None


def tree_of(path: Path, between: Callable[[], None]) -> ChunkTree:
    """The hashes of a file's chunks: those beside it, else the file is read and they are written.

    ``between`` is called before each chunk and may raise. Raises StorageError, OSError.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        length, changed = status.st_size, status.st_mtime_ns
        if not 0 < chunk_count(length) <= MAX_CHUNKS:
            raise StorageError(f"{path} has {length} bytes: a set has at most {MAX_CHUNKS * CHUNK_SIZE}")
        known = read_tree(path, changed)
        if known is not None and known.length == length:
            return known
        parts = []
        for _ in range(chunk_count(length)):
            between()
            parts.append(chunk_hash(file.read(CHUNK_SIZE)))
        if os.fstat(file.fileno()).st_mtime_ns != changed:
            raise StorageError(f"{path} is being written")
    tree = ChunkTree(length, b"".join(parts))
    write_tree(path, tree, changed)
    return tree


def read_chunk(path: Path, tree: ChunkTree, chunk: int) -> bytes | None:
    """One chunk of a shared file, None beyond its end; raises StorageError for one that is not what it was, OSError."""
    size = chunk_size(tree.length, chunk)
    if size <= 0:
        return None
    with open_regular(path) as file:
        file.seek(chunk * CHUNK_SIZE)
        data = file.read(size)
    if chunk_hash(data) != tree.hash_of(chunk):
        raise StorageError(f"{path} was changed or is damaged: chunk {chunk} does not have its hash")
    return data


class PartFile:
    """A set that is fetched. Used by one thread at a time."""

    def __init__(self, path: Path, tree: ChunkTree) -> None:
        """``path`` is the name that it gets when it is whole; made with ``begin`` or found by ``resume``."""
        self.path = path
        self.tree = tree
        self._part = part_path(path)
        self._fd = -1

    @classmethod
    def begin(cls, path: Path, tree: ChunkTree) -> PartFile:
        """A new one, or what there is of one with the same hashes; raises StorageError."""
        part = cls(path, tree)
        try:
            if read_tree(part._part, 0) != tree:
                part._part.unlink(missing_ok=True)
                write_tree(part._part, tree, 0)
            part._open()
        except OSError as error:
            raise storage_error(error, f"cannot write {part._part}") from None
        return part

    @classmethod
    def resume(cls, path: Path) -> PartFile | None:
        """What another run has left, None for nothing; raises StorageError."""
        tree = read_tree(part_path(path), 0)
        return None if tree is None else cls.begin(path, tree)

    def _open(self) -> None:
        self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._fd, self.tree.length)

    def has(self, chunk: int) -> bool:
        """Whether a chunk is here; reads and hashes it. Raises StorageError."""
        try:
            data = os.pread(self._fd, chunk_size(self.tree.length, chunk), chunk * CHUNK_SIZE)
        except OSError as error:
            raise storage_error(error, f"cannot read {self._part}") from None
        return self.fits(chunk, data)

    def fits(self, chunk: int, data: bytes) -> bool:
        """Whether these are the bytes of a chunk."""
        return len(data) == chunk_size(self.tree.length, chunk) and chunk_hash(data) == self.tree.hash_of(chunk)

    def write(self, chunk: int, data: bytes) -> None:
        """Put a chunk in its place; raises StorageError (DiskFullError when there is no room)."""
        try:
            write_all(self._fd, data, chunk * CHUNK_SIZE)
        except OSError as error:
            raise storage_error(error, f"cannot write {self._part}") from None

    def finish(self) -> None:
        """All chunks are here: give the file its name; raises StorageError."""
        try:
            os.fsync(self._fd)
            self.close()
            self._part.replace(self.path)
            sync_directory(self.path.parent)
            write_tree(self.path, self.tree, self.path.stat().st_mtime_ns)
            tree_path(self._part).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot write {self.path}") from None

    def close(self) -> None:
        """Let go of the file; what is there stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def discard(path: Path) -> None:
    """Remove a set with what belongs to it; raises OSError."""
    for name in (path, tree_path(path)):
        name.unlink(missing_ok=True)
    discard_part(path)


def discard_part(path: Path) -> None:
    """Remove what is here of a set that is not whole; raises OSError."""
    for name in (part_path(path), tree_path(part_path(path))):
        name.unlink(missing_ok=True)
