"""Folders of block files as a node leaves them, made of a chain in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from btcnode.consensus.connect import BlockDelta, block_outputs
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.storage.obfuscation import Obfuscation
from btcnode.storage.undo import encode_undo
from tests.lib.chain_generator import ChainGenerator
from tests.lib.mini_chain import REGTEST, MiniChain

SMALL_FILE = 40_000  # bytes: a chain of a test has several files

Stored = tuple[bytes, list[list[bytes]] | None]  # a block, and its undo data where it was connected


class WrittenFolder:
    """Block files in a folder; blocks may be appended any time."""

    def __init__(self, folder: Path, params: NetworkParams = REGTEST, *, file_size: int = SMALL_FILE) -> None:
        self.path = folder
        self.files = BlockFiles(folder, params.magic, max_file_size=file_size)
        self.positions: dict[bytes, BlockPos] = {}
        self.undo_positions: dict[bytes, BlockPos] = {}
        self.append([(params.genesis_block, None)], 0)

    def append(self, blocks: Iterable[Stored], height: int) -> None:
        """Append blocks, the first at ``height``, and the undo data of those that have some."""
        for at, (raw, undo) in enumerate(blocks, height):
            block = parse_block(raw)
            position = self.positions[block.hash] = self.files.append_block(raw, at)
            if undo is not None:
                self.undo_positions[block.hash] = self.files.append_undo(
                    position.file, encode_undo(undo), block.prev_hash
                )

    def change(self, position: BlockPos, offset: int, change: Callable[[int], int], *, undo: bool = False) -> None:
        """Change the byte at ``offset`` of a block, or of undo data, as its clear value is."""
        path = self.files.undo_path(position.file) if undo else self.files.block_path(position.file)
        raw, at = bytearray(path.read_bytes()), position.pos + offset
        clear = Obfuscation(self.files.xor_key).apply(bytes(raw[at : at + 1]), at)
        raw[at : at + 1] = Obfuscation(self.files.xor_key).apply(bytes([change(clear[0])]), at)
        path.write_bytes(raw)


def stored(history: Sequence[tuple[ParsedBlock, BlockDelta]]) -> list[Stored]:
    """The blocks of a ``MiniChain`` from height 1 on, with their undo data."""
    return [(block.raw, delta.undo) for block, delta in history]


def folder_of(chain: MiniChain, folder: Path, *, file_size: int = SMALL_FILE) -> WrittenFolder:
    """A folder with a whole chain in it."""
    made = WrittenFolder(folder, chain.params, file_size=file_size)
    made.append(stored(chain.history), 1)
    return made


class UncheckedChain(MiniChain):
    """A chain that also takes blocks that are not valid, as a node with a defect would: their coins are told anyway."""

    def __init__(self, params: NetworkParams = REGTEST, blocks: int = 0) -> None:
        self.ever: dict[bytes, bytes] = {}  # every coin that was ever made
        super().__init__(params, blocks)

    def accept(self, raw: bytes) -> ParsedBlock:
        block = super().accept(raw)
        self._remember(block, self.tip)
        return block

    def force(self, raw: bytes) -> ParsedBlock:
        """Take a block whatever is wrong with it."""
        block = parse_block(raw)
        self._remember(block, self.tip + 1)
        spent = [
            [self.ever[outpoint] for outpoint in block.prevouts()[block.first_in[i] : block.first_in[i + 1]]]
            for i in range(1, block.n_tx)
        ]
        delta = BlockDelta(undo=spent)
        self.tree.append(raw)
        self.coinbases.append(block.txids[0] + bytes(4))
        self.history.append((block, delta))
        for outpoint in block.prevouts()[1:]:
            self.coins.coins.pop(outpoint, None)
        for i in range(block.n_tx):
            self.coins.coins.update(block_outputs(block, i, self.tip))
        return block

    def _remember(self, block: ParsedBlock, height: int) -> None:
        for i in range(block.n_tx):
            self.ever.update(block_outputs(block, i, height))


def busy_chain(blocks: int = 6, txs: int = 12, seed: int = 1) -> UncheckedChain:
    """A chain of signed spends of all templates, at a height of about a hundred."""
    chain, generator = UncheckedChain(), ChainGenerator(REGTEST, seed)
    for raw in generator.spread(40 + 4 * blocks * txs):
        chain.accept(raw)
    for _ in range(blocks):
        chain.accept(generator.busy(txs))
    return chain
