"""The checksum behind the data of a file whose format is Bitcoin Core's and has none.

``data + MARK + CRC-32(data + MARK)[u32 LE]``. Core's readers of mempool.dat and fee_estimates.dat stop where the data
ends and do not look at what follows, so files go both ways; a file that ends with its data comes from Core.
"""

from __future__ import annotations

import os
from typing import BinaryIO
from zlib import crc32

from btcnode.errors import CorruptionError

MARK = b"\xf1btcncrc"
TRAILER_SIZE = len(MARK) + 4
_CHUNK = 1 << 20


def with_trailer(*parts: bytes) -> bytes:
    """The bytes of a file whose data are these parts."""
    check = 0
    for part in (*parts, MARK):
        check = crc32(part, check)
    return b"".join((*parts, MARK, check.to_bytes(4, "little")))


def without_trailer(stored: bytes) -> bytes:
    """The data of a file, also of one that has no trailer; raises CorruptionError when it is not what was written."""
    body, mark, check = stored[:-TRAILER_SIZE], stored[-TRAILER_SIZE:-4], stored[-4:]
    if mark != MARK:
        return stored
    if crc32(mark, crc32(body)) != int.from_bytes(check, "little"):
        raise CorruptionError("its bytes do not fit its checksum")
    return body


def check_trailer(file: BinaryIO) -> bool:
    """As ``without_trailer`` for a large file, which is read in steps and stands at its begin afterwards.

    Returns whether there is a trailer; raises CorruptionError, OSError.
    """
    left = file.seek(0, os.SEEK_END) - TRAILER_SIZE
    found = left >= 0
    if found:
        file.seek(left)
        trailer = file.read(TRAILER_SIZE)
        found = trailer[: len(MARK)] == MARK
    check = 0
    file.seek(0)
    while found and left and (part := file.read(min(_CHUNK, left))):
        check = crc32(part, check)
        left -= len(part)
    if found and trailer[len(MARK) :] != crc32(MARK, check).to_bytes(4, "little"):
        raise CorruptionError("its bytes do not fit its checksum")
    file.seek(0)
    return found
