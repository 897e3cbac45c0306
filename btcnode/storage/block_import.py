"""Reading block files that others wrote: Core's ``-loadblock`` and ``-reindex``.

Such files may hold anything between and within their frames: zeros of a preallocation, torn writes of a crash,
frames of other networks. The reader looks for the magic, believes a frame whose size is possible and whose bytes are
all there, and resumes right behind the magic of a frame that turns out to be none (Core's LoadExternalBlockFile).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from btcnode.errors import CorruptionError
from btcnode.files import read_limited
from btcnode.storage.durable import storage_error
from btcnode.storage.layout import FRAME, FRAME_SIZE, XOR_FILE, XOR_KEY_SIZE
from btcnode.storage.obfuscation import MAX_KEY_FILE_BYTES, ZERO_KEY, Obfuscation

MIN_BLOCK_SIZE = 80
MAX_BLOCK_SIZE = 4_000_000  # Core's MAX_BLOCK_SERIALIZED_SIZE
WINDOW = 4 << 20  # bytes read at a time


class BlockImport:
    """Iterates over ``(position, raw block)`` of one file in order, with at most one block and one window in memory.

    A frame is not checked further. When its bytes are no block, ``reject`` makes the search go on behind its magic
    instead of behind the frame, so that whatever follows a torn frame is found.
    """

    def __init__(self, path: Path, magic: bytes, xor_key: bytes = ZERO_KEY) -> None:
        self._path = path
        self._magic = magic
        self._obfuscation = Obfuscation(xor_key)
        self._fd = -1
        self._size = 0
        self._buffer = b""
        self._base = 0  # file position of the buffer's first byte
        self._next = 0  # where the search goes on
        self._frame = 0

    def reject(self, position: int | None = None) -> None:
        """The bytes given last, or those given as ``position``, are no block.

        After a ``position`` that was not the last one iterate anew: what was given since is given again.
        """
        self._next = (self._frame if position is None else position - FRAME_SIZE) + 1

    def read_at(self, position: int, size: int) -> bytes:
        """The block that iteration gave as ``position`` with ``size`` bytes, once more; raises StorageError."""
        try:
            fd = os.open(self._path, os.O_RDONLY)
            try:
                return self._obfuscation.apply(os.pread(fd, size, position), position)
            finally:
                os.close(fd)
        except OSError as error:
            raise storage_error(error, f"cannot read {self._path}") from None

    @property
    def progress(self) -> float:
        """Part of the file that was read, 0 to 1."""
        return self._next / self._size if self._size else 1.0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Raises StorageError when the file cannot be read."""
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO has nothing, and is not waited for
            try:
                self._size = os.fstat(self._fd).st_size
                while (frame := self._find()) is not None:
                    yield frame
            finally:
                os.close(self._fd)
        except OSError as error:
            raise storage_error(error, f"cannot read {self._path}") from None

    def _find(self) -> tuple[int, bytes] | None:
        """The next frame from ``_next`` on; None at the end of the file."""
        magic = self._magic
        while self._next + FRAME_SIZE <= self._size:
            if len(self._bytes(self._next, FRAME_SIZE)) < FRAME_SIZE:
                break  # the file has become shorter
            at = self._buffer.find(magic, self._next - self._base)
            if at < 0:
                # the last three bytes may be the beginning of a magic
                self._next = max(self._base + len(self._buffer) - len(magic) + 1, self._next + 1)
                continue
            start = self._frame = self._base + at
            self._next = start + 1
            head = self._bytes(start, FRAME_SIZE)
            if len(head) < FRAME_SIZE:
                break
            size = FRAME.unpack(head)[1]
            begin = start + FRAME_SIZE
            if MIN_BLOCK_SIZE <= size <= MAX_BLOCK_SIZE and begin + size <= self._size:
                raw = self._bytes(begin, size)
                if len(raw) == size:
                    self._next = begin + size
                    return begin, raw
        self._next = self._size
        return None

    def _bytes(self, start: int, count: int) -> bytes:
        """``count`` clear bytes from ``start``, fewer at the end of the file; reads a window at a time."""
        at = start - self._base
        if at < 0 or at + count > len(self._buffer):
            self._buffer = b""  # so that never two windows are held
            self._buffer = self._obfuscation.apply(os.pread(self._fd, max(count, WINDOW), start), start)
            self._base = start
            at = 0
        return self._buffer[at : at + count]


def iter_blocks(path: Path, magic: bytes, xor_key: bytes = ZERO_KEY) -> BlockImport:
    """The blocks of a file in Core's form, one ``(position, raw block)`` at a time."""
    return BlockImport(path, magic, xor_key)


def xor_key_beside(path: Path) -> bytes:
    """The key in the ``xor.dat`` beside a block file; the zero key where there is none.

    So a Core blocks directory can be imported as it lies there. Raises StorageError, CorruptionError.
    """
    try:
        key = read_limited(path.with_name(XOR_FILE), MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        return ZERO_KEY
    except OSError as error:
        raise storage_error(error, f"cannot read {path.with_name(XOR_FILE)}") from None
    if len(key) != XOR_KEY_SIZE:
        raise CorruptionError(f"{path.with_name(XOR_FILE)} has {len(key)} bytes instead of {XOR_KEY_SIZE}")
    return key
