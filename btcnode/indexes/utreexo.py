"""The index of Utreexo proofs (utreexoindex): the forest as it is after the last block, and every block's proof.

A record says all that a block did to the forest, so that the forest can be taken back to any earlier block without
the blocks themselves: parent, roots after it, the slots and leaves that went, and the proof that they were there,
which a node without coins needs (BIP 183). Beside the records lie nodes, which change: the forest's chunks, and for
each block what its leaves begin with, by which the slot of a coin is found with a few bytes a coin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from struct import Struct

from btcnode.errors import CorruptionError, DecodeError, ProofError
from btcnode.indexes.recipe import IndexedBlock, KeptState, Made
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height
from btcnode.primitives.hashes import ZERO_HASH, BlockHash, to_display
from btcnode.record import record
from btcnode.utreexo.blocks import SpentCoin, added_leaves, spent_leaves
from btcnode.utreexo.forest import Forest
from btcnode.utreexo.hashing import HASH_SIZE, leaf_hash
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump

NO_BLOCK = BlockHash(ZERO_HASH)  # the parent of the genesis block
_TABLE = b"\xff"  # no chunk's level
_PRINT_SIZE = 4
_TABLE_BYTES = 8 << 20  # of tables that are kept while blocks are indexed: 30 kB for a full block, 270 kB at most
_TABLE_COST = 150  # bytes of one beside its contents
_CHUNK_COST = 600  # bytes of one that waits to be stored
_COUNT = Struct("<I")


@record
class ForestRecord:
    """What a block did: ``slots`` were emptied of ``hashes``, which ``proof`` proves; ``stump``: the roots then."""

    parent: BlockHash
    stump: Stump
    slots: tuple[int, ...]
    hashes: tuple[bytes, ...]
    proof: Proof

    def pack(self) -> bytes:
        """``parent + roots + count[u32 LE] + slots[u64 LE] + leaves + proof``, in the forms that these have."""
        slots = b"".join(slot.to_bytes(8, "little") for slot in self.slots)
        parts = (self.parent, self.stump.pack(), _COUNT.pack(len(self.slots)), slots, *self.hashes, self.proof.encode())
        return b"".join(parts)

    @classmethod
    def unpack(cls, data: bytes) -> ForestRecord:
        """Decode a record; raises CorruptionError."""
        try:
            stump, at = _stump_of(data)
            (count,) = _COUNT.unpack_from(data, at)
            at += _COUNT.size
            hashes = at + 8 * count
            end = hashes + HASH_SIZE * count
            proof, size = Proof.decode(data, end)
        except Exception as error:
            raise CorruptionError("a record of the utreexoindex has a wrong form: start with --reindex") from error
        if size != len(data) or len(proof.targets) != count:
            raise CorruptionError("a record of the utreexoindex has a wrong size: start with --reindex")
        return cls(
            BlockHash(data[:HASH_SIZE]),
            stump,
            tuple(int.from_bytes(data[n : n + 8], "little") for n in range(at, hashes, 8)),
            tuple(data[n : n + HASH_SIZE] for n in range(hashes, end, HASH_SIZE)),
            proof,
        )


def _stump_of(data: bytes) -> tuple[Stump, int]:
    """The roots in a record, and the place behind them; raises DecodeError."""
    leaves = int.from_bytes(data[HASH_SIZE : HASH_SIZE + 8], "little")
    end = HASH_SIZE + 8 + HASH_SIZE * leaves.bit_count()
    return Stump.unpack(data[HASH_SIZE:end]), end


def stump_of(record: bytes) -> Stump:
    """The roots in a record; raises CorruptionError."""
    try:
        return _stump_of(record)[0]
    except DecodeError as error:
        raise CorruptionError(f"a record of the utreexoindex is wrong ({error})") from None


class ForestWalk:
    """The forest of a stored state, taken back to earlier blocks in memory, and asked where coins are."""

    def __init__(self, state: KeptState) -> None:
        """As it is after the last block that was indexed; raises StorageError."""
        self._state = state
        best = state.best()
        self.at = NO_BLOCK if best is None else best
        self.stump = Stump() if best is None else self.record(self.at).stump
        self.forest = Forest(state.node, self.stump.leaves)

    def record(self, block_hash: BlockHash) -> ForestRecord:
        """What a block did; raises CorruptionError where that is not known."""
        return ForestRecord.unpack(self._packed(block_hash))

    def back_to(self, block_hash: BlockHash, most: int | None = None) -> None:
        """Undo blocks until this ancestor, ``NO_BLOCK`` for none, but no more than ``most`` (None: all that it takes).

        The records alone tell how many that are: nothing is undone before. Raises ProofError where it is farther,
        StorageError, CorruptionError for what is no ancestor.
        """
        at, steps = self.at, 0
        while at != block_hash:
            if at == NO_BLOCK:
                raise CorruptionError(f"the utreexoindex does not lead to block {to_display(block_hash)}")
            if steps == most:
                raise ProofError(f"the block is more than {most} blocks deep")
            at, steps = BlockHash(self._packed(at)[:HASH_SIZE]), steps + 1
        for _ in range(steps):
            self.back()

    def back(self) -> None:
        """Undo one block; raises StorageError."""
        record = self.record(self.at)
        before = Stump() if record.parent == NO_BLOCK else stump_of(self._packed(record.parent))
        self.forest.truncate(before.leaves)
        self.forest.restore(dict(zip(record.slots, record.hashes, strict=True)))
        self.at, self.stump = record.parent, before

    def _packed(self, block_hash: BlockHash) -> bytes:
        found = self._state.record(block_hash)
        if found is None:
            raise CorruptionError(f"the utreexoindex lacks block {to_display(block_hash)}")
        return found

    def slot(self, leaf: bytes, table: bytes | None) -> int | None:
        """Where a leaf is, by the table of the block that made it; None when it is in the forest no longer."""
        if table is None:
            return None
        first, at = int.from_bytes(table[:8], "little"), 8
        while (at := table.find(leaf[:_PRINT_SIZE], at)) >= 0:
            place, off = divmod(at - 8, _PRINT_SIZE)
            if not off and self.forest.leaf(first + place) == leaf:
                return first + place
            at += 1
        return None

    def table(self, block_hash: BlockHash) -> bytes | None:
        """What a block's leaves begin with, behind the slot of the first; raises StorageError."""
        return self._state.node(_TABLE + block_hash)


class ForestMaker:
    """Makes records of blocks, each the child of the one before, and keeps what changes beside them."""

    def __init__(self, state: KeptState, parent: BlockHash) -> None:
        """At ``parent``, zeros for none; raises StorageError."""
        self._walk = ForestWalk(state)
        self._walk.back_to(parent)
        self._tables: dict[BlockHash, bytes | None] = {}
        self._table_bytes = 0
        self._new: dict[bytes, bytes | None] = {}

    @property
    def size(self) -> int:
        """Bytes that wait to be stored, roughly."""
        return self._walk.forest.changed * _CHUNK_COST + sum(len(value or b"") for value in self._new.values())

    def make(self, block: IndexedBlock) -> Made:
        """What a block does to the forest; raises StorageError, CorruptionError when that does not fit."""
        walk, parsed = self._walk, parse_block(block.raw)
        spent = spent_leaves(parsed, block.spent) if block.height else []
        hashes, slots = self._find(spent, block.hash_at)
        added = added_leaves(parsed, block.height)
        try:
            proof = walk.forest.prove(slots)
            after = walk.stump.after(hashes, proof, added)
            walk.forest.delete(slots)
            walk.forest.add(added)
        except ProofError as error:
            raise CorruptionError(f"the forest of the utreexoindex is wrong ({error})") from None
        if walk.forest.stump() != after:
            raise CorruptionError("the forest of the utreexoindex has wrong roots")
        first = after.leaves - len(added)
        table = first.to_bytes(8, "little") + b"".join(leaf[:_PRINT_SIZE] for leaf in added)
        self._keep(block.block_hash, table)
        self._new[_TABLE + block.block_hash] = table
        parent = walk.at
        walk.at, walk.stump = block.block_hash, after
        return Made(ForestRecord(parent, after, tuple(slots), tuple(hashes), proof).pack())

    def _find(self, spent: Sequence[SpentCoin], hash_at: Callable[[int], BlockHash]) -> tuple[list[bytes], list[int]]:
        """Leaves and slots of coins; raises StorageError."""
        hashes, slots = [], []
        for outpoint, coin in spent:
            made_by = hash_at(coin_height(coin))
            leaf = leaf_hash(made_by, outpoint, coin)
            if made_by not in self._tables:
                self._keep(made_by, self._new.get(_TABLE + made_by) or self._walk.table(made_by))
            slot = self._walk.slot(leaf, self._tables[made_by])
            if slot is None:
                raise CorruptionError(f"the forest of the utreexoindex lacks a coin of block {to_display(made_by)}")
            hashes.append(leaf)
            slots.append(slot)
        return hashes, slots

    def _keep(self, block_hash: BlockHash, table: bytes | None) -> None:
        self._tables[block_hash] = table
        self._table_bytes += _cost(table)
        while self._table_bytes > _TABLE_BYTES and len(self._tables) > 1:
            self._table_bytes -= _cost(self._tables.pop(next(iter(self._tables))))

    def nodes(self) -> Mapping[bytes, bytes | None]:
        """What has to be stored with the records, by key; None: to be deleted."""
        new, self._new = self._new, {}
        return self._walk.forest.take_changes() | new


def _cost(table: bytes | None) -> int:
    return _TABLE_COST + len(table or b"")


class UtreexoRecipe:
    """See the module."""

    name = "utreexoindex"
    file = Path("indexes", "utreexo", "utreexo.mdb")
    needs_spent = True
    numbered = False

    def begin(self, state: KeptState, parent: BlockHash) -> ForestMaker:
        """What makes the records of the children of a block; raises StorageError."""
        return ForestMaker(state, parent)

    def parent(self, record: bytes) -> BlockHash:
        """The parent of the block that a record is about."""
        return BlockHash(record[:HASH_SIZE])
