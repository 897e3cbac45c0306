"""What peers are answered who ask for Utreexo proofs and roots (BIP 183): made in steps, beside the loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress, repeat

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.steps import Steps
from btcnode.protocol.serving.pieces import Meter
from btcnode.services.index_readers import UtreexoIndex
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
    block_hash = BlockHash(request.block_hash)
    if isinstance(request, GetUtreexoRoot):
        stump = index.roots(block_hash)
        if stump is None:
            return None
        return UtreexoRoot(stump.leaves, 0, block_hash, tuple(root or EMPTY for root in stump.roots)).encode()
    record = index.get(block_hash)
    if record is None:
        return None
    yield
    hashes = record.proof.hashes
    if not request.wants & ALL_HASHES:
        hashes = tuple(compress(hashes, bits_of(request.hashes)))
    leaves: Sequence[bytes] = ()
    if raw:
        block, spent = parse_block(raw), decode_undo(undo)
        yield
        wanted = repeat(True) if request.wants & ALL_LEAVES else bits_of(request.leaves)
        leaves = yield from _leaf_steps(block, spent, wanted)
    targets = record.proof.targets if request.wants & ALL_TARGETS else ()
    lists = (hashes, tuple(map(compact_size, targets)), leaves)
    return request.block_hash + b"".join(part for one in lists for part in (compact_size(len(one)), *one))


def _leaf_steps(block: ParsedBlock, spent: Sequence[Sequence[bytes]], wanted: Iterator[bool]) -> Steps[list[bytes]]:
    """Those of the compact leaves of a block's proof that are ``wanted``; others are counted, not made."""
    own, leaves, meter = set(block.txids), list[bytes](), Meter()
    for i, coins in enumerate(spent, 1):
        before = len(leaves)
        leaves += tx_leaves(block.tx(i), coins, own, wanted)
        if meter.spent(LEAF_COST * (len(leaves) - before) + len(coins)):
            yield
    return leaves


def bits_of(bitmap: bytes) -> Iterator[bool]:
    """The bits of a bitmap, of each byte the lowest first; only as many are made as are looked at."""
    return (bool(byte >> bit & 1) for byte in bitmap for bit in range(8))
