"""What an optional index makes of a block.

A ``PureRecipe`` is a function of the block, what it spends and the record of its parent: so an index never has to take
anything back. Stale blocks keep their records, and whoever asks decides which chain counts. Only a ``KeepingRecipe``,
which has a state beside the records, has to go back to where chains part, which its records tell it how to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from btcnode.primitives.hashes import BlockHash
from btcnode.record import record

NUMBER_SIZE = 4


def _unknown(height: int) -> BlockHash:
    raise KeyError(height)


@record
class IndexedBlock:
    """A block to be indexed.

    ``spent``: packed coins per transaction after the coinbase and input, empty unless the recipe needs them;
    ``previous``: the parent's record, empty for the genesis block; ``number``: a number that no other block has;
    ``hash_at``: the hash of its ancestor of a height.
    """

    raw: bytes
    spent: Sequence[Sequence[bytes]]
    block_hash: BlockHash
    height: int
    number: int
    previous: bytes
    hash_at: Callable[[int], BlockHash] = _unknown


class Made(NamedTuple):
    """What is stored of a block: a record under its hash, and rows that are found by their first bytes."""

    record: bytes
    rows: Sequence[bytes] = ()


class Described(Protocol):
    """What every index says of itself."""

    @property
    def name(self) -> str:
        """As getindexinfo has it."""

    @property
    def file(self) -> Path:
        """Its database, relative to the network's directory."""

    @property
    def needs_spent(self) -> bool:
        """Whether it needs the coins that blocks spend."""

    @property
    def numbered(self) -> bool:
        """Whether its rows name blocks by number."""


@runtime_checkable
class PureRecipe(Described, Protocol):
    """An index that makes of each block what it makes of it alone."""

    def make(self, block: IndexedBlock) -> Made:
        """What is stored of a block; raises DecodeError, StorageError (a record of the parent that cannot be)."""


class KeptState(Protocol):
    """What is stored of an index, as of one moment; all raise StorageError."""

    def best(self) -> BlockHash | None:
        """The block that the kept state is of."""

    def record(self, block_hash: BlockHash) -> bytes | None:
        """The record of a block."""

    def node(self, key: bytes) -> bytes | None:
        """A part of the state."""


class Maker(Protocol):
    """Makes records of blocks that follow each other, and keeps what changes with them."""

    @property
    def size(self) -> int:
        """Bytes that wait to be stored, roughly."""

    def make(self, block: IndexedBlock) -> Made:
        """As a recipe's."""

    def nodes(self) -> Mapping[bytes, bytes | None]:
        """What has to be stored with the records, by key; None: to be deleted."""


@runtime_checkable
class KeepingRecipe(Described, Protocol):
    """An index with a state that belongs to the last block: blocks are made records of one behind the other."""

    def begin(self, state: KeptState, parent: BlockHash) -> Maker:
        """What makes the records of the children of a block, an ancestor of the last one, zeros for none."""

    def parent(self, record: bytes) -> BlockHash:
        """The parent of the block that a record is about."""


Recipe = PureRecipe | KeepingRecipe
"""One kind of index."""
