"""What peers are answered who ask for Utreexo proofs and roots (BIP 183): made in steps, beside the loop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.steps import Steps
from btcnode.protocol.serving.pieces import Meter
from btcnode.services.indexes import UtreexoIndex
from btcnode.storage.undo import decode_undo
from btcnode.utreexo.compact import tx_leaves
from btcnode.utreexo.hashing import EMPTY
from btcnode.wire.messages import GetUtreexoProof, GetUtreexoRoot, UtreexoRoot
from btcnode.wire.messages.utreexo import ALL_HASHES, ALL_LEAVES, ALL_TARGETS

LEAF_COST = 5  # units of work for a leaf


def wants_leaves(request: GetUtreexoProof | GetUtreexoRoot) -> bool:
    """Whether the answer needs the block and what it spends."""
    return isinstance(request, GetUtreexoProof) and bool(request.leaves or request.wants & ALL_LEAVES)


def utreexo_steps(
    index: UtreexoIndex, request: GetUtreexoProof | GetUtreexoRoot, raw: bytes, undo: bytes
) -> Steps[bytes | None]:
    """The payload that answers a request, None when the block is not indexed.

    ``raw`` and ``undo`` are the block and its undo data where leaves are asked for. Raises StorageError, DecodeError.
    """
    record = index.get(BlockHash(request.block_hash))
    if record is None:
        return None
    if isinstance(request, GetUtreexoRoot):
        roots = tuple(root or EMPTY for root in record.stump.roots)
        return UtreexoRoot(record.stump.leaves, 0, request.block_hash, roots).encode()
    yield
    hashes = record.proof.hashes
    if not request.wants & ALL_HASHES:
        hashes = tuple(compress(hashes, bits_of(request.hashes)))
    leaves: Sequence[bytes] = ()
    if raw:
        block, spent = parse_block(raw), decode_undo(undo)
        yield
        leaves = yield from _leaf_steps(block, spent)
        if not request.wants & ALL_LEAVES:
            leaves = list(compress(leaves, bits_of(request.leaves)))
    targets = record.proof.targets if request.wants & ALL_TARGETS else ()
    lists = (hashes, tuple(map(compact_size, targets)), leaves)
    return request.block_hash + b"".join(part for one in lists for part in (compact_size(len(one)), *one))


def _leaf_steps(block: ParsedBlock, spent: Sequence[Sequence[bytes]]) -> Steps[list[bytes]]:
    """All compact leaves of a block's proof."""
    own, leaves, meter = set(block.txids), [], Meter()
    for i, coins in enumerate(spent, 1):
        leaves += tx_leaves(block.tx(i), coins, own)
        if meter.spent(LEAF_COST * len(coins)):
            yield
    return leaves


def bits_of(bitmap: bytes) -> list[bool]:
    """The bits of a bitmap, of each byte the lowest first."""
    return [bool(byte >> bit & 1) for byte in bitmap for bit in range(8)]
