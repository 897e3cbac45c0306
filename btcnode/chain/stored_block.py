"""Whether the bytes that lie in a block file are the block that they should be.

The block index has the CRC-32 of each block's bytes, taken when they were written. For blocks of an older index, which
has none, header, merkle root and witness commitment are looked at.
"""

from __future__ import annotations

from zlib import crc32

from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.blocks import check_merkle_root, check_witness_malleation
from btcnode.errors import CorruptionError, DecodeError, RuleViolation
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.blockfiles import BlockFiles, BlockPos


def read_stored(files: BlockFiles, position: BlockPos, tree: HeaderTree, index: int) -> bytes:
    """The bytes of block ``index`` at a position; raises CorruptionError, which names the file, StorageError."""
    raw = files.read_block(position)
    known = tree.columns.block_crc[index]
    if header_hash(raw[:HEADER_SIZE]) != tree.hash(index) or (known and crc32(raw) != known):
        raise _damaged(files, position, tree, index, "its bytes are not those that were written")
    if not known:
        _parsed(files, position, tree, index, raw)
    return raw


def read_parsed(files: BlockFiles, position: BlockPos, tree: HeaderTree, index: int) -> ParsedBlock:
    """The same, parsed."""
    return _parsed(files, position, tree, index, read_stored(files, position, tree, index))


def _parsed(files: BlockFiles, position: BlockPos, tree: HeaderTree, index: int, raw: bytes) -> ParsedBlock:
    try:
        block = parse_block(raw)
        if not tree.columns.block_crc[index]:
            check_merkle_root(block)
            check_witness_malleation(block, tree.height(index) >= tree.params.segwit_height)
    except (DecodeError, RuleViolation) as error:
        raise _damaged(files, position, tree, index, str(error)) from None
    return block


def _damaged(files: BlockFiles, position: BlockPos, tree: HeaderTree, index: int, why: str) -> CorruptionError:
    name, path = to_display(tree.hash(index)), files.block_path(position.file)
    return CorruptionError(f"block {name} in {path} is damaged ({why}): start with --reindex")
