"""Whether a wallet's write-ahead log has lost what was synced.

SQLite reads a log up to the first frame whose checksum is wrong and takes what follows for what a crash has left: a
flipped bit would make changes undone that had been answered. Each transaction is synced before the next one is begun,
so a wrong frame with a later transaction behind its own has been right once. In the last one it cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_HEADER = Struct(">8I")  # magic, version, page size, number, two salts, two sums
_FRAME = Struct(">6I")  # page, pages after a commit or 0, two salts, two sums
_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}  # with the byte order of what is summed up
_SUMMED_OF_HEADER, _SUMMED_OF_FRAME = 24, 8
_MASK = 0xFFFFFFFF


class _Frame(NamedTuple):
    is_right: bool  # as all before it are
    of_this_log: bool
    commits: bool


def log_is_damaged(path: Path) -> bool:
    """Whether the log at a path, which nobody writes, has lost a transaction that was synced; raises OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    if len(data) < _HEADER.size + _FRAME.size:
        return False
    *_, first, second = _HEADER.unpack_from(data)
    order = _MAGICS.get(int.from_bytes(data[:4], "big"))
    if order is None or _sums(data[:_SUMMED_OF_HEADER], order, (0, 0)) != (first, second):
        return True  # it was synced before any frame
    wrong = committed = False
    for frame in _frames(data, order, (first, second)):
        wrong = wrong or not frame.is_right
        if wrong and frame.of_this_log:
            if committed:
                return True
            committed = frame.commits
    return False


def _frames(data: bytes, order: str, sums: tuple[int, int]) -> Iterator[_Frame]:
    page_size = int.from_bytes(data[8:12], "big")
    salts, right = data[16:24], True
    for at in range(_HEADER.size, len(data) - page_size - _FRAME.size + 1, page_size + _FRAME.size):
        _, pages, *_, first, second = _FRAME.unpack_from(data, at)
        of_this_log = data[at + 8 : at + 16] == salts
        if right:
            sums = _sums(data[at : at + _SUMMED_OF_FRAME], order, sums)
            sums = _sums(data[at + _FRAME.size : at + _FRAME.size + page_size], order, sums)
            right = of_this_log and sums == (first, second)
        yield _Frame(right, of_this_log, pages != 0)


def _sums(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    one, other = sums
    words = Struct(f"{order}{len(data) // 4}I").unpack(data)
    for n in range(0, len(words), 2):
        one = (one + words[n] + other) & _MASK
        other = (other + words[n + 1] + one) & _MASK
    return one, other
