"""What is done to a node's files: other bytes, other pages, a file that is cut off, gone, or as it was long ago."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
CHANGED, CUT, GONE, OLD = "changed", "cut off", "gone", "of an older state"
WHOLE_FILE = (CUT, GONE, OLD)  # a part of what the node knew may be lost by these, but nothing else


@dataclass(frozen=True)
class Damage:
    """Damage to one file of the node ``home``: ``data`` at ``offset`` (CHANGED), a length of ``offset`` (CUT)."""

    home: str
    file: str
    kind: str = CHANGED
    offset: int = 0
    data: bytes = b""

    def apply(self, directory: Path, older: Path) -> None:
        """Do it to a copy of the node; ``older`` has its files of an earlier moment."""
        path = directory / self.file
        if self.kind == GONE:
            path.unlink()
        elif self.kind == CUT:
            with path.open("r+b") as file:
                file.truncate(self.offset)
        elif self.kind == OLD:
            shutil.copyfile(older / self.file, path)
        else:
            with path.open("r+b") as file:
                file.seek(self.offset)
                file.write(self.data)

    def __str__(self) -> str:
        what = f"{len(self.data)} bytes at {self.offset}" if self.kind == CHANGED else f"at {self.offset}"
        return f"{self.home}, {self.file}: {self.kind}, {what}"


def other_byte(home: str, directory: Path, file: str, rng: random.Random) -> Damage:
    """One byte of a file, at a random place."""
    data = (directory / file).read_bytes()
    offset = rng.randrange(len(data))
    return Damage(home, file, CHANGED, offset, bytes([data[offset] ^ rng.randrange(1, 256)]))


def other_page(home: str, directory: Path, file: str, rng: random.Random) -> Damage:
    """A page of a file: random, zeros, or another page of the same file."""
    data = (directory / file).read_bytes()
    pages = -(-len(data) // PAGE)
    offset, other = rng.randrange(pages) * PAGE, rng.randrange(pages) * PAGE
    length = min(PAGE, len(data) - offset)
    fresh = rng.choice([rng.randbytes(length), bytes(length), data[other : other + length]])
    return Damage(home, file, CHANGED, offset, fresh)


def whole_files(home: str, directory: Path, older: Path, files: Sequence[str], rng: random.Random) -> list[Damage]:
    """Every file gone, cut off at random places and at its first page, and put back as it was."""
    found = []
    for file in files:
        size = (directory / file).stat().st_size
        found.append(Damage(home, file, GONE))
        cuts = {0, min(PAGE, size), size // PAGE // 2 * PAGE, rng.randrange(size), size - 1} if size else set()
        found += [Damage(home, file, CUT, length) for length in sorted(cuts - {size})]
        if (older / file).exists():
            found.append(Damage(home, file, OLD))
    return found
