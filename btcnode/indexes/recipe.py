"""What an optional index makes of a block.

A recipe is a pure function of the block, what it spends and the record of its parent: so an index never has to take
anything back. Stale blocks keep their records, and whoever asks decides which chain counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from btcnode.primitives.hashes import BlockHash
from btcnode.record import record

NUMBER_SIZE = 4


@record
class IndexedBlock:
    """A block to be indexed.

    ``spent``: packed coins per transaction after the coinbase and input, empty unless the recipe needs them;
    ``previous``: the parent's record, empty for the genesis block; ``number``: a number that no other block has.
    """

    raw: bytes
    spent: Sequence[Sequence[bytes]]
    block_hash: BlockHash
    height: int
    number: int
    previous: bytes


class Made(NamedTuple):
    """What is stored of a block: a record under its hash, and rows that are found by their first bytes."""

    record: bytes
    rows: Sequence[bytes] = ()


class Recipe(Protocol):
    """One kind of index."""

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

    def make(self, block: IndexedBlock) -> Made:
        """What is stored of a block; raises DecodeError, StorageError (a record of the parent that cannot be)."""
