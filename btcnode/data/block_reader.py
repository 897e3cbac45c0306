"""Reading blocks and what they spend out of a folder of block files, ours or Core's, in whichever process.

Which undo data is a block's is told by its checksum, which is taken of the parent's hash and the data: children of one
parent have to be told apart otherwise (``rivals.py``), so that their places name the undo data.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from btcnode.data.frames import FrameWalk, read_at
from btcnode.errors import BtcnodeError, DecodeError, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import sha256d, to_display
from btcnode.storage.block_import import xor_key_beside
from btcnode.storage.layout import FRAME, FRAME_SIZE, UNDO_CHECKSUM_SIZE, XOR_FILE, block_file_name, undo_file_name
from btcnode.storage.obfuscation import Obfuscation
from btcnode.storage.undo import decode_undo

COUNT_SIZE = 9  # the longest CompactSize
MAX_UNDO_FILES = 4  # whose frames a process remembers: 20 bytes for each block
LEAST_UNDO = 1
MOST_UNDO = 2**32 - 1  # more than any block has: coins may be far larger than the inputs that spend them


class DataError(BtcnodeError):
    """The data that was asked for is not there, or damaged: which block of it, and why."""


class Place(NamedTuple):
    """Where a block of the chain lies, and what is known of it by its ancestors.

    ``hash`` is in internal order; ``pos`` and ``size`` are bytes in file number ``file``; ``rank`` is how many blocks
    of the chain lie in that file below it, ``median_time`` its own median time past (Unix seconds). ``undo`` is where
    its undo data lies when that had to be found out, since others could be taken for it; -1: the checksum tells.
    """

    height: int
    hash: bytes
    file: int
    pos: int
    size: int
    n_tx: int
    rank: int
    median_time: int
    undo: int = -1


class SourceBlock(NamedTuple):
    """A block, and the packed coins that each of its transactions but the coinbase spends; None: not asked for."""

    height: int
    median_time: int
    block: ParsedBlock
    coins: list[list[bytes]] | None


class UndoFile:
    """The frames of one file of undo data: offsets, sizes, and how many transactions each has."""

    def __init__(self, path: Path, magic: bytes, obfuscation: Obfuscation) -> None:
        self._path = path
        self._obfuscation = obfuscation
        self._walk = FrameWalk(
            path, magic, obfuscation, head=COUNT_SIZE, least=LEAST_UNDO, most=MOST_UNDO, tail=UNDO_CHECKSUM_SIZE
        )
        self._pos = array("Q")
        self._size = array("I")
        self._count = array("q")

    def refresh(self) -> None:
        """Take in what was appended."""
        for frame in self._walk.more():
            self._pos.append(frame.pos)
            self._size.append(frame.size)
            self._count.append(count_at(frame.head, 0))

    def __len__(self) -> int:
        return len(self._pos)

    def find(self, prev_hash: bytes, spenders: int, near: int) -> Iterator[tuple[int, bytes]]:
        """Places and undo data that the checksum says is of a child of ``prev_hash``, with so many transactions but
        the coinbase; the search begins at frame ``near``.

        Raises StorageError.
        """
        for k in outwards(near, len(self._pos)):
            if self._count[k] == spenders and (found := self._checked(k, prev_hash)) is not None:
                yield self._pos[k], found

    def spenders(self, k: int) -> int:
        """How many transactions but the coinbase frame ``k`` says that it is of, -1 where it says nothing."""
        return self._count[k]

    def is_of(self, k: int, prev_hash: bytes) -> bool:
        """Whether frame ``k`` is of a child of ``prev_hash``; raises StorageError."""
        return self._checked(k, prev_hash) is not None

    def _checked(self, k: int, prev_hash: bytes) -> bytes | None:
        size = self._size[k]
        data = read_at(self._path, self._pos[k], size + UNDO_CHECKSUM_SIZE, self._obfuscation)
        return data[:size] if sha256d(prev_hash + data[:size]) == data[size:] else None


def outwards(near: int, count: int) -> Iterator[int]:
    """All numbers below ``count``, those nearest to ``near`` first."""
    near = min(max(near, 0), max(count - 1, 0))
    for distance in range(count):
        if near + distance < count:
            yield near + distance
        if distance and near >= distance:
            yield near - distance
        if near + distance >= count and near < distance:
            return


def count_at(head: bytes, pos: int) -> int:
    """The CompactSize at a place, -1 where there is none."""
    try:
        return read_compact_size(head, pos)[0]
    except (DecodeError, IndexError):
        return -1


class BlockReader:
    """Reads blocks and undo data of a folder whose chain is known."""

    def __init__(self, directory: Path, magic: bytes) -> None:
        """Raises StorageError, CorruptionError for a folder without its key."""
        self._directory = directory
        self._magic = magic
        self._obfuscation = Obfuscation(xor_key_beside(directory / XOR_FILE))
        self._undo: dict[int, UndoFile] = {}

    @property
    def obfuscation(self) -> Obfuscation:
        """The folder's key."""
        return self._obfuscation

    def block(self, place: Place) -> ParsedBlock:
        """The block at a place; raises DataError unless it is whole and the one that is expected."""
        name = f"block {to_display(place.hash)} at height {place.height}"
        path = self._directory / block_file_name(place.file)
        try:
            block = parse_block(read_at(path, place.pos, place.size, self._obfuscation))
        except (DecodeError, StorageError) as error:
            raise DataError(f"{name} cannot be read from {path.name}: {error}") from None
        if block.hash != place.hash:
            raise DataError(f"{name} is not where it was in {path.name}")
        return block

    def undo_file(self, file: int) -> UndoFile | None:
        """The undo data of a file as it is now, None where there is no such file; raises StorageError."""
        known = self._undo.get(file)
        if known is None:
            path = self._directory / undo_file_name(file)
            if not path.exists():
                return None
            if len(self._undo) >= MAX_UNDO_FILES:
                del self._undo[next(iter(self._undo))]
            known = self._undo[file] = UndoFile(path, self._magic, self._obfuscation)
        known.refresh()
        return known

    def undo(self, file: int, prev_hash: bytes, n_tx: int, near: int) -> bytes | None:
        """The undo data of a block in file ``file``, None where there is none that its checksum says is this block's.

        Raises StorageError.
        """
        known = self._undo.get(file)
        for where in (known, None):
            where = where or self.undo_file(file)  # the second time anew: it may have come since
            if where is not None and (found := next(where.find(prev_hash, n_tx - 1, near), None)) is not None:
                return found[1]
        return None

    def undo_at(self, file: int, pos: int, prev_hash: bytes) -> bytes | None:
        """The undo data at a place, None unless its checksum holds; raises StorageError."""
        path = self._directory / undo_file_name(file)
        _, size = FRAME.unpack(read_at(path, pos - FRAME_SIZE, FRAME_SIZE, self._obfuscation))
        data = read_at(path, pos, size + UNDO_CHECKSUM_SIZE, self._obfuscation)
        return data[:size] if sha256d(prev_hash + data[:size]) == data[size:] else None

    def coins(self, place: Place, block: ParsedBlock) -> list[list[bytes]]:
        """The coins that a block spends, by transaction; raises DataError when its undo data is missing or damaged."""
        if block.n_tx == 1:
            return []
        name = f"block {to_display(place.hash)} at height {place.height}"
        try:
            if place.undo >= 0:
                data = self.undo_at(place.file, place.undo, block.prev_hash)
            else:
                data = self.undo(place.file, block.prev_hash, block.n_tx, place.rank)
        except StorageError as error:
            raise DataError(f"the undo data of {name} cannot be read: {error}") from None
        if data is None:
            raise DataError(f"the undo data of {name} is missing or damaged in {undo_file_name(place.file)}")
        try:
            return coins_for(block, data)
        except DecodeError as error:
            raise DataError(f"the undo data of {name} cannot be read: {error}") from None


def coins_for(block: ParsedBlock, data: bytes) -> list[list[bytes]]:
    """Undo data as coins; raises DecodeError unless each transaction of the block has as many as it has inputs."""
    coins = decode_undo(data)
    if list(map(len, coins)) != [block.first_in[i + 1] - block.first_in[i] for i in range(1, block.n_tx)]:
        raise DecodeError("it is of another block")
    return coins


@lru_cache(maxsize=4)
def reader_of(directory: str, magic: bytes, thread: int) -> BlockReader:
    """The reader of a folder for one thread of this process; raises StorageError, CorruptionError."""
    return BlockReader(Path(directory), magic)


class FolderSource(NamedTuple):
    """What a worker process needs to read blocks of a folder."""

    directory: str
    params: NetworkParams

    def read(self, places: Sequence[Place], *, with_coins: bool) -> Iterator[SourceBlock]:
        """The blocks at these places; raises DataError, StorageError."""
        reader = reader_of(self.directory, self.params.magic, threading.get_ident())
        for place in places:
            block = reader.block(place)
            coins = reader.coins(place, block) if with_coins else None
            yield SourceBlock(place.height, place.median_time, block, coins)
