"""A folder of block files, Core's or ours, and the chain in it as its headers tell it.

Nothing but the files is read (``blkNNNNN.dat``, ``revNNNNN.dat``, ``xor.dat``): they have one form in both programs,
and may be read while a node appends to them. The chain is the one with the most work of those that a node has
connected: its tip has undo data. Blocks that a sync has stored ahead are left out, and so is a heavier branch that was
found bad.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.blocks import check_merkle_root, check_witness_malleation
from btcnode.data.block_reader import (
    COUNT_SIZE,
    BlockReader,
    DataError,
    FolderSource,
    Place,
    SourceBlock,
    count_at,
    outwards,
)
from btcnode.data.frames import Frame, FrameWalk
from btcnode.data.rivals import is_undo_of
from btcnode.errors import ConfigError, RuleViolation, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import sha256d, to_display
from btcnode.primitives.header import HEADER_SIZE
from btcnode.storage.block_import import MAX_BLOCK_SIZE, MIN_BLOCK_SIZE
from btcnode.storage.layout import block_file_name, undo_file_name

__all__ = ["BlockFolder", "Chain", "DataError", "FolderSource", "Place", "Refused", "SourceBlock"]


class Refused(NamedTuple):
    """A block in the files whose header breaks a rule: its file, its place there, its hash, and which rule."""

    file: int
    pos: int
    hash: bytes
    reason: str


class _Stored(NamedTuple):
    """A block as it lies in a file: its header, and how many transactions it says that it has."""

    header: bytes
    file: int
    pos: int
    size: int
    n_tx: int


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
        self._refused: dict[tuple[int, int], Refused] = {}
        self._copies: dict[int, list[_Stored]] = {}  # of blocks that the files have more than once
        self._walks: dict[int, FrameWalk] = {}
        self._waiting: dict[bytes, list[_Stored]] = {}
        self._file = array("i", [-1])
        self._pos = array("Q", [0])
        self._size = array("I", [0])
        self._n_tx = array("I", [0])
        self.refresh()

    @property
    def source(self) -> FolderSource:
        """For those who read the blocks."""
        return FolderSource(str(self.directory.absolute()), self.params)  # workers are elsewhere

    @property
    def refused(self) -> list[Refused]:
        """What stands in the files as a block and has a bad header, as they are now."""
        return list(self._refused.values())

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
                    most=MAX_BLOCK_SIZE,
                    tail=0,
                )
                self._walks[int(number)] = walk
            for frame in walk.more():
                if not self._take(int(number), frame):
                    walk.reject()
        if self._file[0] < 0:
            raise DataError(self._what_is_missing())

    def _take(self, number: int, frame: Frame) -> bool:
        """A block was met: it and those that have waited for it go into the tree; whether it can be one.

        What is none yet may be being written, or have a time that is still to come: it is asked for again.
        """
        count = count_at(frame.head, HEADER_SIZE)
        here = number, frame.pos
        self._refused.pop(here, None)
        if count < 1:
            self._refused[here] = Refused(*here, sha256d(frame.head[:HEADER_SIZE]), "it has no transactions")
            return False
        found = [_Stored(frame.head[:HEADER_SIZE], number, frame.pos, frame.size, count)]
        now = int(time.time())
        while found:
            item = found.pop()
            try:
                row, new = self.tree.add(item.header, now)
            except RuleViolation as violation:
                if violation.code != "prev-blk-not-found":
                    refused = Refused(item.file, item.pos, sha256d(item.header), str(violation))
                    self._refused[item.file, item.pos] = refused
                elif item not in (same := self._waiting.setdefault(item.header[4:36], [])):
                    same.append(item)
                continue
            if new:
                for column in (self._file, self._pos, self._size, self._n_tx):
                    column.append(0)
            if self._file[row] < 0 or new:
                self._put(row, item)
            elif (self._file[row], self._pos[row]) != (item.file, item.pos):
                copies = self._copies.setdefault(row, [self._stored(row)])
                if item not in copies:
                    copies.append(item)
            found += self._waiting.pop(self.tree.hash(row), ())
        return here not in self._refused

    def _put(self, row: int, item: _Stored) -> None:
        self._file[row], self._pos[row], self._size[row], self._n_tx[row] = item[1:]

    def _stored(self, row: int) -> _Stored:
        where = self._file[row], self._pos[row], self._size[row], self._n_tx[row]
        return _Stored(self.tree.raw(row), *where)

    def _choose_copies(self) -> None:
        """Of a block that is there more than once (a crash has torn the first) take one that is whole.

        Where several are, the one that has undo data beside it.
        """
        for row, copies in self._copies.items():
            whole = []
            for item in copies:
                self._put(row, item)
                if self._is_whole(row):
                    whole.append(item)
                    if self._undo_of(row) is not None:
                        break
            else:
                self._put(row, (whole or copies)[0])

    def _is_whole(self, row: int) -> bool:
        """Whether a block can be read, and has the transactions and witnesses that its header says."""
        block = self._block(row)
        if block is None:
            return False
        try:
            check_merkle_root(block)
            check_witness_malleation(block, self.tree.height(row) >= self.params.segwit_height)
        except RuleViolation:
            return False
        return True

    def _block(self, row: int) -> ParsedBlock | None:
        try:
            return self.reader.block(self.place(row, 0))
        except DataError:
            return None

    @property
    def unlinked(self) -> int:
        """How many blocks do not follow from the genesis block, since one before them is not here."""
        return sum(map(len, self._waiting.values()))

    def damage_beside(self, tip: int) -> str:
        """What shows that blocks which do not lead to ``tip`` were connected once: they are not just stored ahead.

        Empty where nothing does: none of those without an ancestor has undo data, and no undo data is of no block.
        ``tip`` is a row of the tree. Raises StorageError.
        """
        waiting = [item for items in self._waiting.values() for item in items]
        for item in waiting:
            if self.reader.undo(item.file, item.header[4:36], item.n_tx, len(self._file)) is not None:
                name = to_display(sha256d(item.header))
                return f"block {name} was connected, and a block before it is missing or damaged"
        files = {self._file[tip], *[item.file for item in waiting]}
        files |= {self._file[row] for row in range(len(self._file)) if self.tree.height(row) > self.tree.height(tip)}
        for file in sorted(files):
            if lost := self._undo_of_nobody(file):
                return f"{lost} entries of {undo_file_name(file)} are undo data of no block that is here, or damaged"
        return ""

    def _undo_of_nobody(self, file: int) -> int:
        """How many frames of undo data in a file are of no block in it."""
        frames = self.reader.undo_file(file)
        if frames is None:
            return 0
        tree = self.tree
        rows = sorted((row for row, where in enumerate(self._file) if where == file and row), key=tree.height)
        parents: dict[int, list[bytes]] = {}
        for row in rows:
            parents.setdefault(self._n_tx[row] - 1, []).append(tree.hash(tree.prev(row)))
        near = dict.fromkeys(parents, 0)
        lost = 0
        for k in range(len(frames)):
            spenders = frames.spenders(k)
            same = parents.get(spenders, [])
            at = next((at for at in outwards(near.get(spenders, 0), len(same)) if frames.is_of(k, same[at])), None)
            if at is None:
                lost += 1
            else:
                near[spenders] = at + 1  # blocks were connected in the order of their heights, as a rule
        return lost

    def _what_is_missing(self) -> str:
        lowest = min((height for item in self._some_waiting() if (height := self._height_told(item)) >= 0), default=-1)
        if lowest < 0:
            return f"the blocks in {self.directory} are not of network {self.params.name}, or their key is another one"
        return (
            f"the node in {self.directory} is pruned: blocks below about {lowest} are gone, and headers cannot be "
            "followed from the genesis block. Use a node that is not pruned"
        )

    def _some_waiting(self) -> list[_Stored]:
        """One of each file."""
        return list({item.file: item for items in reversed(self._waiting.values()) for item in items}.values())

    def _height_told(self, item: _Stored) -> int:
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
        self._choose_copies()
        if not any(self.directory.glob("rev?????.dat")):
            return tree.best_header
        best = 0
        for row in sorted(tree.tips(), key=tree.chainwork, reverse=True):
            at = row
            while at > 0 and tree.chainwork(at) > tree.chainwork(best):
                if self._undo_of(at) is not None:
                    best = at
                at = tree.prev(at)
        return best

    def _undo_of(self, row: int) -> int | None:
        """Where the undo data of a block lies, None where it has none: its node has not connected it."""
        tree, file, n_tx = self.tree, self._file[row], self._n_tx[row]
        prev = tree.prev(row)
        frames = self.reader.undo_file(file)
        if frames is None:
            return None
        found = frames.find(tree.hash(prev), n_tx - 1, len(frames))
        first = next(found, None)
        if first is None:
            return None
        rivals = [
            other for other in tree.children(prev)
            if other != row and self._file[other] == file and self._n_tx[other] == n_tx
        ]  # fmt: skip
        if not rivals:
            return first[0]
        block = self._block(row)
        blocks = [other for other in map(self._block, rivals) if other is not None]
        if block is None:
            return None

        def block_at(height: int) -> ParsedBlock | None:
            return self._block(tree.ancestor(row, height))

        height = tree.height(row)
        places = sorted(pos for pos, data in (first, *found) if is_undo_of(data, block, height, blocks, block_at))
        same = [other for other in rivals if self._spends_as(other, block)]
        # the data of those that spend the same coins is the same: a block that was stored first was connected first
        earlier = sum(self._pos[other] < self._pos[row] for other in same)
        return places[earlier] if earlier < len(places) else None

    def _spends_as(self, row: int, block: ParsedBlock) -> bool:
        other = self._block(row)
        return other is not None and other.prevouts()[1:] == block.prevouts()[1:] and other.first_in == block.first_in

    def chain(self) -> Chain:
        """The chain up to ``tip``."""
        tree, at = self.tree, self.tip()
        rows = array("i", bytes(4 * (tree.height(at) + 1)))
        for height in range(len(rows) - 1, -1, -1):
            rows[height] = at
            at = tree.prev(at)
        undo = self._told_apart(rows)
        ranks = array("i")
        counts: dict[int, int] = {}
        for row in rows:
            file = self._file[row]
            ranks.append(counts.get(file, 0))
            counts[file] = ranks[-1] + 1
        return Chain(self, rows, ranks, undo)

    def _told_apart(self, rows: Sequence[int]) -> dict[int, int]:
        """Where the undo data of those rows lies whose parent has another child in the same file."""
        tree = self.tree
        on_chain = bytearray(len(tree))
        for row in rows:
            on_chain[row] = 1
        found = {}
        for row in range(len(tree)):
            if not on_chain[row] and on_chain[tree.prev(row)] and tree.height(row) < len(rows):
                own = rows[tree.height(row)]
                if self._n_tx[own] > 1 and own not in found and (pos := self._undo_of(own)) is not None:
                    found[own] = pos
        return found

    def place(self, row: int, rank: int, undo: int = -1) -> Place:
        """Where the block of a row of the tree lies; ``rank`` and ``undo`` are handed on."""
        tree = self.tree
        where = self._file[row], self._pos[row], self._size[row], self._n_tx[row]
        return Place(tree.height(row), tree.hash(row), *where, rank, tree.median_time_past(row), undo)


class Chain:
    """The blocks from the genesis block to a tip, by height."""

    def __init__(self, folder: BlockFolder, rows: Sequence[int], ranks: Sequence[int], undo: dict[int, int]) -> None:
        self._folder = folder
        self._undo = undo
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
        rows, ranks, undo = self._rows, self._ranks, self._undo
        return [self._folder.place(rows[at], ranks[at], undo.get(rows[at], -1)) for at in range(first, last + 1)]

    def damage_beside(self) -> str:
        """See ``BlockFolder.damage_beside``."""
        return self._folder.damage_beside(self._rows[-1])

    def median_times(self) -> array[int]:
        """Median time past of every block by height, Unix seconds."""
        median = self._folder.tree.median_time_past
        return array("I", [median(row) for row in self._rows])
