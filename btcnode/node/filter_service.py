"""The block filter index: follows the active chain in the background and answers for peers and RPC."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from btcnode.chain.events import BlockConnected, BlockDisconnected, ChainEvent
from btcnode.errors import StorageError
from btcnode.node.chain_service import ChainService
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_script
from btcnode.primitives.gcs import basic_elements, encode_filter, filter_hash, filter_header
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.context import IndexState
from btcnode.storage.filter_store import BlockFilter, FilterStore

BATCH_BLOCKS = 100  # blocks that are indexed between two commits while catching up
BATCH_BYTES = 4 << 20  # of filters
NAME = "basic block filter index"

log = logging.getLogger("btcnode.blockstorage")


def make_filter(raw: bytes, spent: list[list[bytes]], block_hash: BlockHash, previous: bytes) -> BlockFilter:
    """The basic filter of a block, given the packed coins that it spends and the filter header before it."""
    scripts = (coin_script(coin) for coins in spent for coin in coins)
    data = encode_filter(basic_elements(parse_block(raw), scripts), block_hash)
    own = filter_hash(data)
    return BlockFilter(filter_header(own, previous), own, data)


class FilterService:
    """Owns the filter store."""

    def __init__(self, chain: ChainService, directory: Path) -> None:
        """Open the store; raises StorageError."""
        self.store = FilterStore(directory)
        self._chain = chain
        self._active = chain.driver.chainstate.active
        self._at = -1  # header index up to which filters are stored
        self._header = bytes(32)
        self._fresh: dict[BlockHash, BlockFilter] = {}
        self._failed = False
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._go_to(self._last_indexed())
        chain.driver.listen(self._on_events)

    def _last_indexed(self) -> int:
        """The highest block of the active chain with a filter; after a crash the index may be ahead of the chain."""
        best = self.store.best()
        if best is None:
            return -1
        index = self._chain.tree.find(best)
        if index >= 0:
            return self._active.find_fork(index)
        low, high = -1, self._active.height  # the block at ``low`` has a filter
        while low < high:
            middle = (low + high + 1) // 2
            if self.store.get(self._chain.tree.hash(self._active.at(middle))) is None:
                high = middle - 1
            else:
                low = middle
        return self._active.at(low)

    def _go_to(self, index: int) -> None:
        """Continue above ``index``, whose filter is stored (-1: from the beginning)."""
        item = None if index < 0 else self.get(self._chain.tree.hash(index))
        self._at, self._header = (-1, bytes(32)) if item is None else (index, item.header)

    def _on_events(self, events: list[ChainEvent]) -> None:
        if any(isinstance(event, BlockConnected | BlockDisconnected) for event in events):
            self._moved.set()

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, block_hash: BlockHash) -> BlockFilter | None:
        """The filter of a block, None when it is not indexed (yet); raises StorageError."""
        return self._fresh.get(block_hash) or self.store.get(block_hash)

    def state(self) -> IndexState:
        """How far the index has come."""
        height = self._chain.tree.height(self._at) if self._at >= 0 else 0
        return IndexState(NAME, self._at == self._active.tip, height)

    async def until_synced(self, seconds: float = 10.0) -> bool:
        """Wait until the index has the tip of this moment; False when it does not come so far."""
        height = self._active.height
        for _ in range(int(seconds * 100)):
            if self._failed or self.state().height >= height:
                break
            await asyncio.sleep(0.01)
        return self._at == self._active.tip

    # -- building ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Follow the chain from now on."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stop, with everything stored that is made."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            self._flush()
        except StorageError as error:
            log.error("the %s is behind: %s", NAME, error)
        self.store.close()

    async def _follow(self) -> None:
        try:
            while True:
                self._moved.clear()
                await self._catch_up()
                await self._moved.wait()
        except StorageError as error:
            self._failed = True
            log.error("the %s stops: %s", NAME, error)

    async def _catch_up(self) -> None:
        size = 0
        while self._at != self._active.tip:
            if self._at >= 0 and not self._active.contains(self._at):
                self._go_to(self._active.find_fork(self._at))
                continue
            index = self._active.at(0) if self._at < 0 else self._active.next(self._at)
            item = await self._make(index)
            self._at, self._header = index, item.header
            self._fresh[self._chain.tree.hash(index)] = item
            size += len(item.data)
            if len(self._fresh) >= BATCH_BLOCKS or size >= BATCH_BYTES:
                await asyncio.to_thread(self._flush)
                size = 0
                log.debug("%s: height %d", NAME, self._chain.tree.height(index))
        await asyncio.to_thread(self._flush)

    async def _make(self, index: int) -> BlockFilter:
        chain = self._chain
        block_hash = chain.tree.hash(index)
        try:
            raw = await chain.read_block(index)
            spent = await chain.read_undo(index) if chain.tree.height(index) else []
        except StorageError as error:
            raise StorageError(f"block {to_display(block_hash)} cannot be read: {error}") from None
        header = self._header
        return await chain.driver.in_reader(lambda: make_filter(raw, spent, block_hash, header))

    def _flush(self) -> None:
        """Store what is made; raises StorageError."""
        if self._fresh:
            self.store.put(dict(self._fresh), self._chain.tree.hash(self._at))
            self._fresh.clear()
