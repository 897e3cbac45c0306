"""The frames of a file in Core's form, by their heads: nothing is read of what lies behind them.

A file may grow while it is read, and may hold anything between its frames: zeros of a preallocation, what a crash has
torn. Where no frame follows a frame, the magic is searched for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from btcnode.errors import StorageError
from btcnode.files import open_regular
from btcnode.storage.durable import storage_error
from btcnode.storage.layout import FRAME, FRAME_SIZE
from btcnode.storage.obfuscation import Obfuscation

WINDOW = 1 << 20  # bytes that are searched at a time


class Frame(NamedTuple):
    """Where a payload begins in its file, its size in bytes, and its first bytes."""

    pos: int
    size: int
    head: bytes


class FrameWalk:
    """One pass over a file, that can be taken up again when the file has grown.

    ``head`` is how many bytes of each payload are told, ``least`` and ``most`` the sizes of the smallest and largest
    payload, ``tail`` how many bytes follow each payload.
    """

    def __init__(
        self, path: Path, magic: bytes, obfuscation: Obfuscation, *, head: int, least: int, most: int, tail: int
    ) -> None:
        self._path = path
        self._magic = magic
        self._obfuscation = obfuscation
        self._head = head
        self._least = least
        self._most = most
        self._tail = tail
        self._next = 0
        self._last = 0
        self._doubted = -1  # where the first frame stood that was rejected the last time
        self._seen = (-1, 0)  # size and time of the file when it was walked last

    def more(self) -> Iterator[Frame]:
        """The frames that are new since the last time, and all from the first that was rejected then.

        Raises StorageError.
        """
        try:
            with open_regular(self._path) as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size
                stamp = (size, os.fstat(fd).st_mtime_ns)
                if self._doubted >= 0:
                    self._next, self._doubted = self._doubted, -1
                elif stamp == self._seen:
                    return
                while (frame := self._find(fd, size)) is not None:
                    yield frame
                self._seen = stamp
        except OSError as error:
            raise storage_error(error, f"cannot read {self._path}") from None

    def reject(self) -> None:
        """The frame that was given last is none: the search goes on behind its magic.

        The next time it is given again, with what follows it: it may be being written now.
        """
        if self._doubted < 0:
            self._doubted = self._last
        self._next = self._last + 1

    def _find(self, fd: int, size: int) -> Frame | None:
        """The frame at the place where the last one has ended, or the next one behind it."""
        at = self._next
        while at >= 0:
            frame = self._frame_at(fd, at, size)
            if frame is not None:
                self._last = at
                self._next = frame.pos + frame.size + self._tail
                return frame
            at = self._search(fd, at + 1, size)
        return None  # the next time the search begins where this one did: what is there may not be whole yet

    def _frame_at(self, fd: int, at: int, size: int) -> Frame | None:
        data = self._obfuscation.apply(os.pread(fd, FRAME_SIZE + self._head, at), at)
        if len(data) < FRAME_SIZE or data[:4] != self._magic:
            return None
        length = FRAME.unpack_from(data)[1]
        begin = at + FRAME_SIZE
        if not self._least <= length <= self._most or begin + length + self._tail > size:
            return None
        return Frame(begin, length, data[FRAME_SIZE : FRAME_SIZE + length])

    def _search(self, fd: int, at: int, size: int) -> int:
        """Where the magic stands next, -1 if nowhere."""
        while at + FRAME_SIZE <= size:
            window = self._obfuscation.apply(os.pread(fd, WINDOW, at), at)
            found = window.find(self._magic)
            if found >= 0:
                return at + found
            if len(window) < len(self._magic):
                break
            at += len(window) - len(self._magic) + 1
        return -1


def read_at(path: Path, pos: int, size: int, obfuscation: Obfuscation) -> bytes:
    """So many clear bytes of a file; raises StorageError, also where the file is shorter."""
    try:
        with open_regular(path) as file:
            data = os.pread(file.fileno(), size, pos)
    except OSError as error:
        raise storage_error(error, f"cannot read {path}") from None
    if len(data) != size:
        raise StorageError(f"{path} ends before {pos + size}")
    return obfuscation.apply(data, pos)
