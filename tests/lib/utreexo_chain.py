"""Chains with their spent coins, for what indexes and proves with Utreexo."""

from __future__ import annotations

from collections.abc import Mapping

from btcnode.indexes.recipe import IndexedBlock
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_prefix
from btcnode.primitives.hashes import BlockHash
from tests.lib.chain_generator import ChainGenerator


class UtreexoChain:
    """A chain of real spends from genesis, each block as an index gets it."""

    def __init__(
        self, params: NetworkParams, seed: int = 1, *, outputs: int = 200, busy: int = 6, txs: int = 8
    ) -> None:
        self.generator = ChainGenerator(params, seed=seed)
        self.raw = [params.genesis_block, *self.generator.spread(outputs)]
        self.raw += [self.generator.busy(txs) for _ in range(busy)]
        self.coins: dict[bytes, bytes] = {}
        self.hashes: list[BlockHash] = []
        self.blocks: list[IndexedBlock] = []
        for raw in self.raw:
            self.append(raw)

    def append(self, raw: bytes) -> IndexedBlock:
        """Index one more block."""
        block, height = parse_block(raw), len(self.blocks)
        hashes = [*self.hashes, block.hash]
        self.hashes.append(block.hash)
        indexed = IndexedBlock(raw, self._apply(block, height), block.hash, height, 0, b"", hashes.__getitem__)
        self.blocks.append(indexed)
        return indexed

    def _apply(self, block: ParsedBlock, height: int) -> list[list[bytes]]:
        spent = []
        for i in range(block.n_tx):
            tx = block.tx(i)
            if i:
                spent.append([self.coins.pop(prevout) for prevout in tx.prevouts])
            for n, txout in enumerate(tx.txouts):
                self.coins[block.txids[i] + n.to_bytes(4, "little")] = coin_prefix(height, not i) + txout
        return spent


class MemoryState:
    """What an index has stored, in memory."""

    def __init__(self) -> None:
        self.records: dict[BlockHash, bytes] = {}
        self.nodes: dict[bytes, bytes] = {}
        self.at: BlockHash | None = None

    def best(self) -> BlockHash | None:
        return self.at

    def record(self, block_hash: BlockHash) -> bytes | None:
        return self.records.get(block_hash)

    def node(self, key: bytes) -> bytes | None:
        return self.nodes.get(key)

    def put(self, records: Mapping[BlockHash, bytes], nodes: Mapping[bytes, bytes | None], best: BlockHash) -> None:
        """As ``IndexStore.put`` does."""
        self.records.update(records)
        for key, value in nodes.items():
            if value is None:
                self.nodes.pop(key, None)
            else:
                self.nodes[key] = value
        self.at = best
