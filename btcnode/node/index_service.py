"""The optional indexes of this node: started and stopped together, and asked by RPC methods and peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from btcnode.config import NodeConfig
from btcnode.errors import CorruptionError, DecodeError
from btcnode.indexes.coinstats import CoinStats, CoinStatsRecipe
from btcnode.indexes.filters import BlockFilter, FilterRecipe
from btcnode.indexes.recipe import Recipe
from btcnode.indexes.transactions import SpenderRecipe, TxPlace, TxRecipe, spender_key, tx_key
from btcnode.node.chain_service import ChainService
from btcnode.node.index_engine import IndexEngine
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.index_api import IndexedTx, IndexState


class _View:
    """An index for its readers."""

    def __init__(self, engine: IndexEngine, chain: ChainService) -> None:
        self._engine = engine
        self._chain = chain
        self.state = engine.state
        self.until_synced = engine.until_synced

    async def _find(self, key: bytes) -> list[tuple[int, TxPlace]]:
        """The blocks and places that rows under a key name, newest first."""
        found = await self._chain.driver.in_reader(lambda: self._engine.store.find(key))
        tree = self._chain.tree
        places = ((tree.find(block_hash), TxPlace.unpack(place)) for block_hash, place in found)
        return [(block, place) for block, place in places if block >= 0]

    async def _read(self, block: int, place: TxPlace) -> Tx:
        raw = await self._chain.read_block_part(block, place.offset, place.size)
        try:
            return Tx.parse(raw)
        except DecodeError:
            where = to_display(self._chain.tree.hash(block))
            raise CorruptionError(f"the {self._engine.name} is wrong about block {where}") from None


class FilterView(_View):
    """The block filters."""

    def get(self, block_hash: BlockHash) -> BlockFilter | None:
        """The filter of a block, None when it is not indexed (yet); raises StorageError."""
        record = self._engine.store.record(block_hash)
        return None if record is None else BlockFilter.unpack(record)


class TxView(_View):
    """Transactions by txid."""

    async def find(self, txid: bytes) -> IndexedTx | None:
        """A transaction of any block, of the active chain if possible; raises StorageError."""
        active = self._chain.driver.chainstate.active
        places = await self._find(tx_key(txid))
        for block, place in sorted(places, key=lambda item: not active.contains(item[0])):
            tx = await self._read(block, place)
            if tx.txid == txid:
                return IndexedTx(tx, block)
        return None


class SpenderView(_View):
    """Transactions by what they spend."""

    async def find(self, outpoint: bytes) -> IndexedTx | None:
        """What spends a 36-byte outpoint in the chain up to which was indexed; raises StorageError."""
        for block, place in await self._find(spender_key(outpoint)):
            if not self._engine.covers(block):
                continue
            tx = await self._read(block, place)
            if outpoint in tx.prevouts:
                return IndexedTx(tx, block)
        return None


class CoinStatsView(_View):
    """The UTXO set's statistics after blocks."""

    def get(self, block_hash: BlockHash) -> CoinStats | None:
        """Those after a block, None when it is not indexed (yet); raises StorageError."""
        record = self._engine.store.record(block_hash)
        return None if record is None else CoinStats.unpack(record)


class IndexService:
    """``IndexApi`` over the indexes that this node keeps."""

    def __init__(self, chain: ChainService, config: NodeConfig) -> None:
        """Open the stores; raises StorageError."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._engines: list[IndexEngine] = []

        def opened(wanted: bool, recipe: Recipe) -> IndexEngine | None:
            if not wanted:
                return None
            engine = IndexEngine(recipe, chain, config.net_dir, self._thread, wipe=config.reindex)
            self._engines.append(engine)
            return engine

        transactions = opened(config.txindex, TxRecipe())
        statistics = opened(config.coinstatsindex, CoinStatsRecipe(chain.params))
        spenders = opened(config.txospenderindex, SpenderRecipe())
        filters = opened(config.blockfilterindex, FilterRecipe())
        self.tx_index = TxView(transactions, chain) if transactions is not None else None
        self.spender_index = SpenderView(spenders, chain) if spenders is not None else None
        self.coinstats_index = CoinStatsView(statistics, chain) if statistics is not None else None
        self.filter_index = FilterView(filters, chain) if filters is not None else None

    def needs(self) -> dict[str, Callable[[], int]]:
        """For each index, by name, what tells the height from which on it needs blocks."""
        return {engine.name: engine.needed_from for engine in self._engines}

    def index_states(self) -> Sequence[IndexState]:
        """How far each has come."""
        return [engine.state() for engine in self._engines]

    def start(self) -> None:
        """Follow the chain from now on."""
        for engine in self._engines:
            engine.start()

    async def close(self) -> None:
        """Stop, with everything stored that is made."""
        for engine in self._engines:
            await engine.close()
        self._thread.shutdown()
