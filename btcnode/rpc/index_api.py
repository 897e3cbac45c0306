"""What the RPC methods ask of the optional indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from btcnode.indexes.coinstats import CoinStats
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.tx import Tx


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far an optional index has come."""

    name: str
    synced: bool
    height: int


class FilterEntry(Protocol):
    """A block filter with its header (32 bytes)."""

    @property
    def header(self) -> bytes:
        """The filter header."""

    @property
    def data(self) -> bytes:
        """The filter."""


class IndexBase(Protocol):
    """What all indexes tell."""

    def state(self) -> IndexState:
        """How far it has come."""

    async def until_synced(self) -> bool:
        """Wait until it has the tip of this moment; False when it does not come so far soon."""


class FilterIndex(IndexBase, Protocol):
    """The block filters."""

    def get(self, block_hash: BlockHash) -> FilterEntry | None:
        """The filter of a block, None when it is not indexed (yet); raises StorageError."""


class IndexedTx(NamedTuple):
    """A transaction and the header index of a block that has it."""

    tx: Tx
    block: int


class TxIndex(IndexBase, Protocol):
    """Transactions by txid."""

    async def find(self, txid: bytes) -> IndexedTx | None:
        """A transaction of any block, of the active chain if possible; raises StorageError."""


class SpenderIndex(IndexBase, Protocol):
    """Transactions by what they spend."""

    async def find(self, outpoint: bytes) -> IndexedTx | None:
        """What spends a 36-byte outpoint in the chain up to which was indexed; raises StorageError."""


class CoinStatsIndex(IndexBase, Protocol):
    """The UTXO set's statistics after blocks."""

    def get(self, block_hash: BlockHash) -> CoinStats | None:
        """Those after a block, None when it is not indexed (yet); raises StorageError."""


class IndexApi(Protocol):
    """Optional indexes; None when the node does not keep one."""

    @property
    def filter_index(self) -> FilterIndex | None:
        """The block filters."""

    @property
    def tx_index(self) -> TxIndex | None:
        """The transactions."""

    @property
    def spender_index(self) -> SpenderIndex | None:
        """The spenders."""

    @property
    def coinstats_index(self) -> CoinStatsIndex | None:
        """The UTXO set's statistics."""

    def index_states(self) -> Sequence[IndexState]:
        """How far each has come."""
