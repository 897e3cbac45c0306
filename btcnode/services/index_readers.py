"""What readers, RPC methods and peers, get to see of the optional indexes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from btcnode.errors import CorruptionError, DecodeError, ProofError
from btcnode.indexes.coinstats import CoinStats
from btcnode.indexes.filters import BlockFilter
from btcnode.indexes.transactions import TxPlace, spender_key, tx_key
from btcnode.indexes.utreexo import ForestRecord, ForestWalk, stump_of
from btcnode.primitives.coin import coin_height
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import Tx
from btcnode.services.chain import Chain
from btcnode.services.index_builder import IndexBuilder
from btcnode.services.lately import parsed_tx_size
from btcnode.utreexo.hashing import leaf_hash
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump

MAX_BACK = 100  # blocks that the forest is taken back in memory to prove something of an earlier block


class IndexedTx(NamedTuple):
    """A transaction and the header index of a block that has it."""

    tx: Tx
    block: int


class _Index:
    """An index for its readers."""

    def __init__(self, builder: IndexBuilder, chain: Chain) -> None:
        self._builder = builder
        self._chain = chain
        self.state = builder.state
        self.until_synced = builder.until_synced

    def _record(self, block_hash: BlockHash) -> bytes | None:
        with self._builder.noticing_damage():
            record = self._builder.store.record(block_hash)
            index = self._chain.tree.find(block_hash)
            if record is None and index >= 0 and self._builder.covers(index):
                raise CorruptionError(f"{self._builder.recipe.file} lacks block {to_display(block_hash)}")
            return record

    async def _find(self, key: bytes) -> list[tuple[int, TxPlace]]:
        """The blocks and places that rows under a key name, newest first."""
        with self._builder.noticing_damage():
            found = await self._chain.driver.in_reader(lambda: self._builder.store.find(key))
        tree = self._chain.tree
        places = ((tree.find(block_hash), TxPlace.unpack(place)) for block_hash, place in found)
        return [(block, place) for block, place in places if block >= 0]

    async def _read(self, block: int, place: TxPlace) -> Tx:
        raw = (await self._chain.read_block(block))[place.offset : place.offset + place.size]
        with self._builder.noticing_damage():
            try:
                return Tx.parse(raw)
            except DecodeError:
                where = to_display(self._chain.tree.hash(block))
                raise CorruptionError(f"the {self._builder.name} is wrong about block {where}") from None


class FilterIndex(_Index):
    """The block filters."""

    def get(self, block_hash: BlockHash) -> BlockFilter | None:
        """The filter of a block, None when it is not indexed (yet); raises StorageError."""
        record = self._record(block_hash)
        with self._builder.noticing_damage():
            return None if record is None else BlockFilter.unpack(record)


class TxIndex(_Index):
    """Transactions by txid."""

    async def find(self, txid: bytes) -> IndexedTx | None:
        """A transaction of any block, of the active chain if possible; raises StorageError."""
        active = self._chain.driver.chainstate.active
        key = ("txindex", txid)
        kept: IndexedTx | None = self._chain.lately.get(key)
        if kept is not None and active.contains(kept.block) and self._chain.is_stored(kept.block):
            return kept
        places = await self._find(tx_key(txid))
        for block, place in sorted(places, key=lambda item: not active.contains(item[0])):
            tx = await self._read(block, place)
            if tx.txid == txid:
                found = IndexedTx(tx, block)
                if active.contains(block):
                    self._chain.lately.put(key, found, parsed_tx_size(tx))
                return found
        return None


class SpenderIndex(_Index):
    """Transactions by what they spend."""

    async def find(self, outpoint: bytes) -> IndexedTx | None:
        """What spends a 36-byte outpoint in the chain up to which was indexed; raises StorageError."""
        for block, place in await self._find(spender_key(outpoint)):
            if not self._builder.covers(block):
                continue
            tx = await self._read(block, place)
            if outpoint in tx.prevouts:
                return IndexedTx(tx, block)
        return None


class CoinStatsIndex(_Index):
    """The UTXO set's statistics after blocks."""

    def get(self, block_hash: BlockHash) -> CoinStats | None:
        """Those after a block, None when it is not indexed (yet); raises StorageError."""
        record = self._record(block_hash)
        with self._builder.noticing_damage():
            return None if record is None else CoinStats.unpack(record)


class ProvenCoins(NamedTuple):
    """Coins that are in the set after a block: their leaves, and the proof."""

    block_hash: BlockHash
    hashes: tuple[bytes, ...]
    proof: Proof


class UtreexoIndex(_Index):
    """The Utreexo forest and the proofs of blocks."""

    def get(self, block_hash: BlockHash) -> ForestRecord | None:
        """What a block did to the forest, None when it is not indexed (yet); raises StorageError."""
        record = self._record(block_hash)
        with self._builder.noticing_damage():
            return None if record is None else ForestRecord.unpack(record)

    def roots(self, block_hash: BlockHash) -> Stump | None:
        """The roots after a block, None when it is not indexed (yet), without its proof; raises StorageError."""
        record = self._record(block_hash)
        with self._builder.noticing_damage():
            return None if record is None else stump_of(record)

    async def read(self, block_hash: BlockHash) -> ForestRecord | None:
        """As ``get``, beside the loop: a record has up to some megabytes."""
        return await self._chain.driver.in_reader(lambda: self.get(block_hash))

    async def prove(self, coins: Sequence[tuple[bytes, bytes]], block: int) -> ProvenCoins:
        """Prove coins (36-byte outpoint, packed coin) as of a block, which is header index ``block``.

        Raises ProofError when one is not there or the index has not come to the block or more than ``MAX_BACK`` blocks
        farther, StorageError.
        """
        with self._builder.noticing_damage():
            return await self._chain.driver.in_reader(lambda: self._prove(coins, block))

    def _prove(self, coins: Sequence[tuple[bytes, bytes]], block: int) -> ProvenCoins:
        tree = self._chain.tree
        block_hash, height = tree.hash(block), tree.height(block)
        with self._builder.store.moment() as state:
            walk = ForestWalk(state)
            at = tree.find(walk.at)
            behind = tree.height(at) - height if at >= 0 else -1
            if behind < 0 or tree.ancestor(at, height) != block:
                raise ProofError(f"the utreexoindex has not come to block {to_display(block_hash)} yet")
            if behind > MAX_BACK:
                raise ProofError(f"the block is {behind} blocks deep, proofs are made of the last {MAX_BACK}")
            walk.back_to(block_hash, MAX_BACK)
            hashes, slots = [], []
            for outpoint, coin in coins:
                made_at = coin_height(coin)
                made_by = tree.hash(tree.ancestor(block, made_at)) if made_at <= height else None
                leaf = leaf_hash(made_by, outpoint, coin) if made_by else b""
                slot = walk.slot(leaf, walk.table(made_by)) if made_by else None
                if slot is None:
                    name = f"{to_display(outpoint[:32])}:{int.from_bytes(outpoint[32:], 'little')}"
                    raise ProofError(f"output {name} is not in the set after block {height}")
                hashes.append(leaf)
                slots.append(slot)
            return ProvenCoins(block_hash, tuple(hashes), walk.forest.prove(slots))
