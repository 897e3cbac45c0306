"""Which transactions a light client's filter wants (BIP37), by the rules of Bitcoin Core.

Matching costs up to 50 hashes for each piece of data: whole blocks are matched on a reader thread, against a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import txout_script
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.merkle_proof import build_proof
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import BAD_OP, iter_ops
from btcnode.script.solver import script_type
from btcnode.wire.bloom_filter import BloomFilter
from btcnode.wire.messages import MerkleBlock


@dataclass(frozen=True, slots=True)
class FilteredBlock:
    """What a client gets of a block, and its filter's data afterwards. Transactions are without witness."""

    proof: MerkleBlock
    transactions: tuple[bytes, ...]
    data: bytes


def _has_data(filter_: BloomFilter, script: bytes) -> bool:
    """Whether the filter has anything that the script pushes."""
    for op, data in iter_ops(script):
        if op == BAD_OP:
            return False
        if data and data in filter_:
            return True
    return False


def match(filter_: BloomFilter, tx: Tx) -> bool:
    """Whether the filter wants the transaction; outputs that match are added, so that their spending matches too."""
    if not filter_.data:
        return True
    txid = tx.txid
    found = txid in filter_
    update = filter_.flags & BloomFilter.UPDATE_MASK
    for n, txout in enumerate(tx.txouts):
        script = txout_script(txout)
        if not _has_data(filter_, script):
            continue
        found = True
        if update == BloomFilter.UPDATE_ALL or (
            update == BloomFilter.UPDATE_PUBKEYS and script_type(script) in ("pubkey", "multisig")
        ):
            filter_.insert(txid + n.to_bytes(4, "little"))
    if found:
        return True
    return any(outpoint in filter_ for outpoint in tx.prevouts) or any(
        _has_data(filter_, script) for script in tx.script_sigs
    )


def filter_block(raw: bytes, filter_: BloomFilter) -> FilteredBlock:
    """The part of a block that the filter wants; ``filter_`` grows by what matched."""
    block = parse_block(raw)
    found = [tx for n in range(block.n_tx) if match(filter_, tx := block.tx(n))]
    hashes, flags = build_proof(block.txids, {tx.txid for tx in found})
    proof = MerkleBlock(raw[:HEADER_SIZE], block.n_tx, tuple(hashes), flags)
    return FilteredBlock(proof, tuple(tx.stripped() for tx in found), bytes(filter_.data))
