"""Reading files: never more of one than it may have, whatever its name turns out to stand for.

A name that a user gives, or that is found in a directory, may be a device without an end, a FIFO that nobody writes to,
a file of gigabytes or one that grows while it is read.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import Any, BinaryIO

STEP_BYTES = 1 << 20
MIB = 1 << 20


def open_at_once(path: Path) -> BinaryIO:
    """Open whatever a name stands for, without waiting for somebody who writes to it; raises OSError."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises OSError, also for what is none."""
    file = open_at_once(path)
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "Not a regular file", str(path))


def read_limited(path: Path, limit: int) -> bytes:
    """All of a regular file of at most ``limit`` bytes; raises OSError (EFBIG for a larger one)."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        parts: list[bytes] = []
        found = 0
        while size <= limit and found <= limit and (part := file.read(min(STEP_BYTES, limit + 1 - found))):
            parts.append(part)
            found += len(part)
    if max(size, found) > limit:
        raise OSError(errno.EFBIG, f"File too large (more than {limit} bytes)", str(path))
    return b"".join(parts)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def parse_json(data: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON in UTF-8; raises ValueError, also for what is nested too deeply and for ``NaN`` and its like.

    ``pairs`` makes each object.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
