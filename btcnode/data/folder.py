"""A folder of block files, Core's or ours, and the chain in it as its headers tell it.

Nothing but the files is read (``blkNNNNN.dat``, ``revNNNNN.dat``, ``xor.dat``): they have one form in both programs,
and may be read while a node appends to them. The chain is the one with the most work of those that a node has
connected: its tip has undo data. Blocks that a sync has stored ahead are left out, and so is a heavier branch that was
found bad.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from btcnode.chain.header_tree import HeaderTree
from btcnode.data.frames import Frame, FrameWalk, read_at
from btcnode.errors import BtcnodeError, ConfigError, DecodeError, RuleViolation, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import sha256d, to_display
from btcnode.primitives.header import HEADER_SIZE
from btcnode.storage.block_import import MIN_BLOCK_SIZE, xor_key_beside
from btcnode.storage.layout import UNDO_CHECKSUM_SIZE, XOR_FILE, block_file_name, undo_file_name
from btcnode.storage.obfuscation import Obfuscation
from btcnode.storage.undo import decode_undo

COUNT_SIZE = 9  # the longest CompactSize
MAX_UNDO_FILES = 4  # whose frames a process remembers: 20 bytes for each block
LEAST_UNDO = 1


class DataError(BtcnodeError):
    """The data that was asked for is not there, or damaged: which block of it, and why."""


class Place(NamedTuple):
    """Where a block of the chain lies, and what is known of it by its ancestors.

    ``hash`` is in internal order; ``pos`` and ``size`` are bytes in file number ``file``; ``rank`` is how many blocks
    of the chain lie in that file below it, ``median_time`` its own median time past (Unix seconds).
    """

    height: int
    hash: bytes
    file: int
    pos: int
    size: int
    n_tx: int
    rank: int
    median_time: int


class SourceBlock(NamedTuple):
    """A block, and the packed coins that each of its transactions but the coinbase spends; None: not asked for."""

    height: int
    median_time: int
    block: ParsedBlock
    coins: list[list[bytes]] | None


class Refused(NamedTuple):
    """A block in the files whose header breaks a rule: its file, its place there, its hash, and which rule."""

    file: int
    pos: int
    hash: bytes
    reason: str


class _Waiting(NamedTuple):
    """A block whose parent was not met so far."""

    header: bytes
    file: int
    pos: int
    size: int
    n_tx: int


class _UndoFile:
    """The frames of one file of undo data: offsets, sizes, and how many transactions each has."""

    def __init__(self, path: Path, magic: bytes, obfuscation: Obfuscation) -> None:
        self._path = path
        self._obfuscation = obfuscation
        self._walk = FrameWalk(path, magic, obfuscation, head=COUNT_SIZE, least=LEAST_UNDO, tail=UNDO_CHECKSUM_SIZE)
        self._pos = array("Q")
        self._size = array("I")
        self._count = array("q")

    def refresh(self) -> None:
        """Take in what was appended."""
        for frame in self._walk.more():
            self._pos.append(frame.pos)
            self._size.append(frame.size)
            self._count.append(_count_at(frame.head, 0))

    def find(self, prev_hash: bytes, spenders: int, near: int) -> bytes | None:
        """The undo data of a block with so many transactions but the coinbase; the search begins at frame ``near``.

        The checksum tells whose it is: it is taken of the parent's hash and the data.
        """
        for k in _outwards(near, len(self._pos)):
            if self._count[k] == spenders and (found := self._checked(k, prev_hash)) is not None:
                return found
        return None

    def _checked(self, k: int, prev_hash: bytes) -> bytes | None:
        size = self._size[k]
        data = read_at(self._path, self._pos[k], size + UNDO_CHECKSUM_SIZE, self._obfuscation)
        return data[:size] if sha256d(prev_hash + data[:size]) == data[size:] else None


def _outwards(near: int, count: int) -> Iterator[int]:
    """All numbers below ``count``, those nearest to ``near`` first."""
    near = min(max(near, 0), max(count - 1, 0))
    for distance in range(count):
        if near + distance < count:
            yield near + distance
        if distance and near >= distance:
            yield near - distance
        if near + distance >= count and near < distance:
            return


def _count_at(head: bytes, pos: int) -> int:
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
        self._undo: dict[int, _UndoFile] = {}

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

    def undo(self, file: int, prev_hash: bytes, n_tx: int, near: int) -> bytes | None:
        """The undo data of a block in file ``file``, None where there is none that its checksum says is this block's.

        Raises StorageError.
        """
        known = self._undo.get(file)
        if known is None:
            path = self._directory / undo_file_name(file)
            if not path.exists():
                return None
            if len(self._undo) >= MAX_UNDO_FILES:
                del self._undo[next(iter(self._undo))]
            known = self._undo[file] = _UndoFile(path, self._magic, self._obfuscation)
            known.refresh()
        found = known.find(prev_hash, n_tx - 1, near)
        if found is None:
            known.refresh()  # it may have come since
            found = known.find(prev_hash, n_tx - 1, near)
        return found

    def coins(self, place: Place, block: ParsedBlock) -> list[list[bytes]]:
        """The coins that a block spends, by transaction; raises DataError when its undo data is missing or damaged."""
        if block.n_tx == 1:
            return []
        data = self.undo(place.file, block.prev_hash, block.n_tx, place.rank)
        name = f"block {to_display(place.hash)} at height {place.height}"
        if data is None:
            raise DataError(f"the undo data of {name} is missing or damaged in {undo_file_name(place.file)}")
        try:
            coins = decode_undo(data)
        except DecodeError as error:
            raise DataError(f"the undo data of {name} cannot be read: {error}") from None
        wanted = [block.first_in[i + 1] - block.first_in[i] for i in range(1, block.n_tx)]
        if list(map(len, coins)) != wanted:
            raise DataError(f"the undo data of {name} is of another block")
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


class BlockFolder:
    """The headers of all blocks in a folder, as a tree, and where each block lies.

    Memory: some 180 bytes for each block.
    """

    def __init__(self, directory: Path, params: NetworkParams) -> None:
        """Raises ConfigError for a folder without block files, StorageError, CorruptionError."""
        if not (directory / block_file_name(0)).exists() and not list(directory.glob("blk?????.dat")):
            raise ConfigError(f"There are no block files in {directory}")
        self.directory = directory
        self.params = params
        self.reader = BlockReader(directory, params.magic)
        self.tree = HeaderTree(params)
        self.refused: list[Refused] = []
        self._walks: dict[int, FrameWalk] = {}
        self._waiting: dict[bytes, list[_Waiting]] = {}
        self._file = array("i", [-1])
        self._pos = array("Q", [0])
        self._size = array("I", [0])
        self._n_tx = array("I", [0])
        self.refresh()

    @property
    def source(self) -> FolderSource:
        """For those who read the blocks."""
        return FolderSource(str(self.directory), self.params)

    def refresh(self) -> None:
        """Take in what was appended since the last time; raises StorageError, DataError for a pruned folder."""
        for path in sorted(self.directory.glob("blk?????.dat")):
            number = path.stem[3:]
            if not (number.isascii() and number.isdecimal()):
                continue
            walk = self._walks.get(int(number))
            if walk is None:
                walk = FrameWalk(
                    path,
                    self.params.magic,
                    self.reader.obfuscation,
                    head=HEADER_SIZE + COUNT_SIZE,
                    least=MIN_BLOCK_SIZE,
                    tail=0,
                )
                self._walks[int(number)] = walk
            for frame in walk.more():
                if not self._take(int(number), frame):
                    walk.reject()
        if self._file[0] < 0:
            raise DataError(self._what_is_missing())

    def _take(self, number: int, frame: Frame) -> bool:
        """A block was met: it and those that have waited for it go into the tree; whether its header was good."""
        header = frame.head[:HEADER_SIZE]
        count = max(_count_at(frame.head, HEADER_SIZE), 0)
        found = [_Waiting(header, number, frame.pos, frame.size, count)]
        refused = len(self.refused)
        now = int(time.time())
        while found:
            item = found.pop()
            try:
                row, new = self.tree.add(item.header, now)
            except RuleViolation as violation:
                if violation.code == "prev-blk-not-found":
                    self._waiting.setdefault(item.header[4:36], []).append(item)
                else:
                    self.refused.append(Refused(item.file, item.pos, sha256d(item.header), str(violation)))
                continue
            if new:
                for column in (self._file, self._pos, self._size, self._n_tx):
                    column.append(0)
            elif self._file[row] >= 0:
                continue  # the same block once more
            self._file[row], self._pos[row], self._size[row] = item.file, item.pos, item.size
            self._n_tx[row] = item.n_tx
            found += self._waiting.pop(self.tree.hash(row), ())
        return len(self.refused) == refused or self.refused[refused].pos != frame.pos

    @property
    def unlinked(self) -> int:
        """How many blocks do not follow from the genesis block, since one before them is not here."""
        return sum(map(len, self._waiting.values()))

    def _what_is_missing(self) -> str:
        lowest = min((height for item in self._some_waiting() if (height := self._height_told(item)) >= 0), default=-1)
        if lowest < 0:
            return f"the blocks in {self.directory} are not of network {self.params.name}, or their key is another one"
        return (
            f"the node in {self.directory} is pruned: blocks below about {lowest} are gone, and headers cannot be "
            "followed from the genesis block. Use a node that is not pruned"
        )

    def _some_waiting(self) -> list[_Waiting]:
        """One of each file."""
        return list({item.file: item for items in reversed(self._waiting.values()) for item in items}.values())

    def _height_told(self, item: _Waiting) -> int:
        """The height in the coinbase (BIP34), -1 where it has none that can be read."""
        place = Place(-1, sha256d(item.header), item.file, item.pos, item.size, item.n_tx, 0, 0)
        try:
            block = self.reader.block(place)
        except (DataError, StorageError):
            return -1
        start = block.in_pos[0] + 37
        size = block.raw[start]
        return int.from_bytes(block.raw[start + 1 : start + 1 + size], "little") if 1 <= size <= 4 else -1

    # -- the chain ---------------------------------------------------------------------------------------------

    def tip(self) -> int:
        """The tree's row of the last block that a node has connected; without any undo data, that of most work."""
        tree = self.tree
        if not any(self.directory.glob("rev?????.dat")):
            return tree.best_header
        best = 0
        for row in sorted(tree.tips(), key=tree.chainwork, reverse=True):
            at = row
            while at > 0 and tree.chainwork(at) > tree.chainwork(best):
                if self._has_undo(at):
                    best = at
                at = tree.prev(at)
        return best

    def _has_undo(self, row: int) -> bool:
        """Whether there is undo data of a block."""
        prev_hash = self.tree.hash(self.tree.prev(row))
        return self.reader.undo(self._file[row], prev_hash, self._n_tx[row], len(self._file)) is not None

    def chain(self) -> Chain:
        """The chain up to ``tip``."""
        tree, at = self.tree, self.tip()
        rows = array("i", bytes(4 * (tree.height(at) + 1)))
        for height in range(len(rows) - 1, -1, -1):
            rows[height] = at
            at = tree.prev(at)
        ranks = array("i")
        counts: dict[int, int] = {}
        for row in rows:
            file = self._file[row]
            ranks.append(counts.get(file, 0))
            counts[file] = ranks[-1] + 1
        return Chain(self, rows, ranks)

    def place(self, row: int, rank: int) -> Place:
        """Where the block of a row of the tree lies; ``rank`` is handed on."""
        tree = self.tree
        where = self._file[row], self._pos[row], self._size[row], self._n_tx[row]
        return Place(tree.height(row), tree.hash(row), *where, rank, tree.median_time_past(row))


class Chain:
    """The blocks from the genesis block to a tip, by height."""

    def __init__(self, folder: BlockFolder, rows: Sequence[int], ranks: Sequence[int]) -> None:
        self._folder = folder
        self._rows = rows
        self._ranks = ranks

    @property
    def tip(self) -> int:
        """Height of the last block."""
        return len(self._rows) - 1

    @property
    def height_above(self) -> int:
        """Height of a chain of more work in the folder that no node has connected, -1 where there is none."""
        tree = self._folder.tree
        best = tree.best_header
        return tree.height(best) if tree.chainwork(best) > tree.chainwork(self._rows[-1]) else -1

    def hash(self, height: int) -> bytes:
        """Hash of the block at a height, internal order."""
        return self._folder.tree.hash(self._rows[height])

    def places(self, first: int, last: int) -> list[Place]:
        """Where the blocks from one height to another lie, both included."""
        return [self._folder.place(self._rows[at], self._ranks[at]) for at in range(first, last + 1)]

    def median_times(self) -> array[int]:
        """Median time past of every block by height, Unix seconds."""
        median = self._folder.tree.median_time_past
        return array("I", [median(row) for row in self._rows])
