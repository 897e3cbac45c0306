"""After a block broke a rule: are the coins that it was judged by what their blocks have made?

Every coin that the block spends is held against the output that made it, as far as that block is still here; one that
is missing is looked for in the newest blocks, after whole groups have proven that the stored coins lack it
(storage/coin_groups.py). What differs is damage on our side, and the block is not at fault. It may take minutes, and
where blocks are cheap (test networks) a stranger can cause it at will: so it is done in steps, when there is nothing
else to do, and ``pending_looks.py`` says which blocks are looked at.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.stored_block import read_parsed
from btcnode.errors import CorruptionError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_height, coin_prefix, coin_script
from btcnode.primitives.hashes import to_display
from btcnode.primitives.steps import Steps
from btcnode.script.scriptparse import is_unspendable
from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.storage.coins import CoinsDb

SOURCES = 5000  # blocks that coins are held against: as many as one block of 1 MB can spend from
SEARCHED = 1000  # newest blocks that missing coins are looked for in
_REPORT = 100  # blocks between two lines of the log

log = logging.getLogger("btcnode.chain")


class Source(Protocol):
    """Where blocks and coins are stored."""

    @property
    def files(self) -> BlockFiles:
        """The block files."""

    @property
    def coins(self) -> CoinsDb:
        """The stored coins."""

    def coins_damaged(self, what: str) -> CorruptionError:
        """The error that names the file of the coins and what repairs it."""


class SecondLook:
    """One look, from a block's parent ``prev`` down, at the ``coins`` by outpoint; None is a missing one."""

    def __init__(self, source: Source, tree: HeaderTree, prev: int, coins: Mapping[bytes, bytes | None]) -> None:
        self._source = source
        self._tree = tree
        self._prev = prev
        self._coins = coins
        self._read = 0

    def steps(self) -> Steps[None]:
        """Look; a step reads a block. Raises CorruptionError.

        Blocks that are not here any more, or lie above the parent, prove nothing.
        """
        coins = self._coins
        by_height: defaultdict[int, list[bytes]] = defaultdict(list)
        missing = set()
        for outpoint, coin in coins.items():
            if coin is None:
                missing.add(outpoint)
            else:
                by_height[coin_height(coin)].append(outpoint)
        log.info("A block broke a rule: looking at the %d coins that it was judged by", len(coins))
        for height in sorted(by_height, reverse=True)[:SOURCES]:
            self._check_made(height, {outpoint: coins[outpoint] or b"" for outpoint in by_height[height]})
            yield
        yield from self._search(missing)

    def _block(self, index: int) -> ParsedBlock | None:
        if index < 0 or not self._tree.has_data(index):
            return None
        self._read += 1
        if not self._read % _REPORT:
            log.info("Read %d blocks", self._read)
        columns = self._tree.columns
        position = BlockPos(columns.file[index], columns.data_pos[index])
        return read_parsed(self._source.files, position, self._tree, index)

    def _check_made(self, height: int, coins: Mapping[bytes, bytes]) -> None:
        """The coins that say that the block at ``height`` has made them."""
        if height > self._tree.height(self._prev):
            raise self._damaged(next(iter(coins)), f"is of height {height}, above the tip")
        block = self._block(self._tree.ancestor(self._prev, height))
        if block is None:
            return
        places = {txid: i for i, txid in enumerate(block.txids)}
        for outpoint, coin in coins.items():
            i = places.get(outpoint[:32], -1)
            if i < 0 or _made(block, i, outpoint, height) != coin:
                raise self._damaged(outpoint, f"is not what block {height} has made")

    def _search(self, missing: set[bytes]) -> Steps[None]:
        """Look for what made or spent missing coins in the newest blocks."""
        index = self._prev
        for _ in range(SEARCHED if missing else 0):
            block = self._block(index)
            if block is None:
                return
            # a block spends what it made itself: whoever is found as a spender has been there, and is gone rightly
            missing.difference_update(block.prevouts())
            made = {txid: i for i, txid in enumerate(block.txids)}
            for outpoint in sorted(missing):
                i = made.get(outpoint[:32], -1)
                # the genesis block's output never came into the set
                if i >= 0 and index and _is_coin(_made(block, i, outpoint, 0)):
                    raise self._damaged(outpoint, f"is missing, block {self._tree.height(index)} has made it")
            index = self._tree.prev(index)
            yield

    def _damaged(self, outpoint: bytes, what: str) -> CorruptionError:
        number = int.from_bytes(outpoint[32:], "little")
        return self._source.coins_damaged(f"coin {to_display(outpoint[:32])}:{number} {what}")


def _is_coin(made: bytes) -> bool:
    """Whether an output, as a packed coin or empty for none, comes into the set: nobody could ever spend others."""
    return bool(made) and not is_unspendable(coin_script(made))


def _made(block: ParsedBlock, i: int, outpoint: bytes, height: int) -> bytes:
    """The coin that transaction ``i`` has made for an outpoint, empty when it has no such output."""
    at = block.first_out[i] + int.from_bytes(outpoint[32:], "little")
    last = block.first_out[i + 1]
    if at >= last:
        return b""
    end = block.out_pos[at + 1] if at + 1 < last else block.witness_pos[i]
    return coin_prefix(height, not i) + block.raw[block.out_pos[at] : end]
