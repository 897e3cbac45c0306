"""What all simulated nodes share: transactions and blocks, each once, and the light chain and mempool over them.

A node's own are header tree, active chain and the dicts of its mempool; bytes, parsed blocks and verdicts are shared,
since they are the same for everybody. Scripts and coins of blocks are not looked at: the simulation makes sound ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from btcnode.errors import RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import txout_value
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.tx import Tx
from btcnode.record import struct
from btcnode.testing.blocks import BlockTemplate
from btcnode.testing.memory_chain import MemoryChain
from btcnode.testing.small_pool import COIN_VALUE, SmallEntry, SmallPool, coin, output, spend

FEES = (500, 20_000)  # satoshi
BARE_SIZE = 72  # bytes of a transaction with one input, one output and an empty padding output
FILL_BLOCKS = 4  # so many blocks' worth of made-up transactions may wait for being confirmed on some branch


@struct
class MadeBlock:
    """A block that somebody found: when, by which miner (-1: the selfish one), and how it looks."""

    time: float
    miner: int
    height: int
    prev: bytes
    block: ParsedBlock
    txs: list[Tx]


class Ledger:
    """Everything that was made in the run."""

    def __init__(self, params: NetworkParams, rng: Random) -> None:
        self.params = params
        self._rng = rng
        self._coins = 0
        self.blocks: dict[bytes, MadeBlock] = {}  # by hash
        self.txs: dict[bytes, Tx] = {}  # by wtxid
        self._in_blocks: dict[bytes, list[bytes]] = {}  # txid -> hashes of the blocks that have it
        self.fill: dict[bytes, SmallEntry] = {}  # made-up transactions by txid, oldest first
        self._last: Tx | None = None

    # -- transactions --------------------------------------------------------------------------------------------

    def _make(self, prevout: bytes, value: int, size: int) -> Tx:
        fee = min(self._rng.randint(*FEES), value // 2)
        tx = spend([prevout], value, fee, padding=max(1, size - BARE_SIZE))
        self.txs[tx.wtxid] = tx
        return tx

    def make_tx(self, size: int, chained: float) -> Tx:
        """A new transaction of about ``size`` bytes; with probability ``chained`` it spends the last one's output."""
        last = self._last
        if last is not None and self._rng.random() < chained and (value := _value(last)) > 2 * FEES[1]:
            self._last = self._make(output(last), value, size)
        else:
            self._last = self._make(self._coin(), COIN_VALUE, size)
        return self._last

    def _coin(self) -> bytes:
        self._coins += 1
        return coin(self._coins)

    def make_fill(self, count: int, size: int) -> list[SmallEntry]:
        """New transactions that the network is said to have already; old ones are forgotten."""
        made = []
        for _ in range(count):
            tx = self._make(self._coin(), COIN_VALUE, size)
            made.append(SmallEntry(tx, tx.txid, tx.wtxid, COIN_VALUE - _value(tx), tx.vsize, 0))
        self.fill |= {entry.txid: entry for entry in made}
        return made

    def forget_fill(self, keep: int) -> None:
        """Keep the newest only."""
        for txid in list(self.fill)[: max(0, len(self.fill) - keep)]:
            del self.fill[txid]

    # -- blocks --------------------------------------------------------------------------------------------------

    def make_block(self, prev: bytes, height: int, now: float, unix: int, miner: int, txs: Sequence[Tx]) -> MadeBlock:
        """A block found on top of the block of hash ``prev``."""
        parent = self.blocks.get(prev)
        if parent is not None:
            unix = max(unix, parent.block.header.time + 1)
        extra = b"\x08" + len(self.blocks).to_bytes(8, "little")
        template = BlockTemplate(self.params, prev, height, unix, self.params.pow_limit_bits, extra=extra)
        template.txs = list(txs)
        return self._keep(template.build(), now, miner, height)

    def _keep(self, raw: bytes, now: float, miner: int, height: int) -> MadeBlock:
        block = parse_block(raw)
        own = [self.txs.get(wtxid) or block.tx(n) for n, wtxid in enumerate(block.wtxids)]
        made = MadeBlock(now, miner, height, block.prev_hash, block, own)
        self.blocks[block.hash] = made
        for txid in block.txids:
            self._in_blocks.setdefault(txid, []).append(block.hash)
        return made

    def keep_first(self, raws: Sequence[bytes]) -> None:
        """The blocks that all have from the start, from height 1 on."""
        for height, raw in enumerate(raws, 1):
            self._keep(raw, 0.0, 0, height)

    def blocks_with(self, txid: bytes) -> Sequence[bytes]:
        """Hashes of the blocks that have a transaction."""
        return self._in_blocks.get(txid, ())


def _value(tx: Tx) -> int:
    return txout_value(tx.txouts[0])


class SharedChain(MemoryChain):
    """A chain whose blocks are the ledger's: what is the same bytes as there needs no check of its own."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.params)
        self._ledger = ledger

    def store(self, index: int, raw: bytes) -> tuple[RuleViolation | None, bool]:
        """As the base class; bytes of the ledger are sound, and kept once for all nodes."""
        made = self._ledger.blocks.get(self.tree.hash(index))
        if made is None or made.block.raw != raw or self.tree.has_data(index):
            return super().store(index, raw)
        self.blocks[index] = made.block.raw
        self.tree.receive_block(index, made.block.n_tx, 0, 8 * len(self.blocks))
        return None, True

    def parsed(self, index: int) -> ParsedBlock:
        """A stored block, the same object for all nodes."""
        made = self._ledger.blocks.get(self.tree.hash(index))
        return made.block if made is not None else super().parsed(index)

    def has_confirmed(self, txid: bytes) -> bool:
        """Whether a block of the active chain has the transaction."""
        hashes = self._ledger.blocks_with(txid)
        return any(self.active.contains(self.tree.find(BlockHash(block_hash))) for block_hash in hashes)


class SharedPool(SmallPool):
    """A mempool whose transactions are the ledger's, over a node's chain."""

    def __init__(self, ledger: Ledger, chain: SharedChain) -> None:
        super().__init__()
        self._by_wtxid = self.entries  # no transaction here has a witness: one table serves for both names
        self._ledger = ledger
        self._chain = chain

    def add(self, tx: Tx, fee: int = 1000) -> SmallEntry:
        """Take a transaction in, as the object that all nodes have of it."""
        return super().add(self._ledger.txs.get(tx.wtxid, tx), fee)

    def take(self, entry: SmallEntry) -> None:
        """Take in what this node is said to have had before the others asked."""
        if not self._chain.has_confirmed(entry.txid):
            self.put(entry)

    def confirmed_tx(self, txid: bytes) -> Tx | None:
        """The transaction if a block of the chain has it."""
        if not self._chain.has_confirmed(txid):
            return None
        made = self._ledger.blocks[self._ledger.blocks_with(txid)[0]]
        return made.txs[made.block.txids.index(BlockHash(txid))]

    def keep_confirmed(self, block: ParsedBlock) -> None:
        """The ledger knows."""

    def drop_confirmed(self, block: ParsedBlock) -> None:
        """The ledger knows."""

    def transactions_of(self, block: ParsedBlock) -> list[Tx]:
        """All transactions of a block, as the objects that all nodes have of them."""
        made = self._ledger.blocks.get(block.hash)
        return made.txs if made is not None else super().transactions_of(block)
