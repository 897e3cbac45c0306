"""Which transactions a light client's filter wants (BIP37), by the rules of Bitcoin Core.

Matching costs up to 50 hashes for each thing that a script pushes, and a transaction may push ninety thousand things:
it is done in pieces (``pieces.py``), of blocks beside the loop and against a copy.
"""

from __future__ import annotations

from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import txout_script
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.merkle_proof import build_proof
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx
from btcnode.protocol.serving.pieces import Meter
from btcnode.record import record
from btcnode.script.scriptparse import BAD_OP, iter_ops
from btcnode.script.solver import script_type
from btcnode.wire.bloom_filter import BloomFilter
from btcnode.wire.messages import MerkleBlock

LONG_LOG2 = 8  # so many bytes cost one unit more to be hashed
TX_COST = 4  # units to take a transaction out of a block


@record
class FilteredBlock:
    """What a client gets of a block, and its filter's data afterwards. Transactions are without witness."""

    proof: MerkleBlock
    transactions: tuple[bytes, ...]
    data: bytes


def _has_data(filter_: BloomFilter, script: bytes, meter: Meter) -> Steps[bool]:
    """Whether the filter has anything that the script pushes."""
    for op, data in iter_ops(script):
        if op == BAD_OP:
            return False
        if data and data in filter_:
            return True
        if meter.spent(1 + (len(data) >> LONG_LOG2)):
            yield
    return False


def match_steps(filter_: BloomFilter, tx: Tx, meter: Meter) -> Steps[bool]:
    """Whether the filter wants the transaction; outputs that match are added, so that their spending matches too."""
    if not filter_.data:
        return True
    txid = tx.txid
    found = txid in filter_
    update = filter_.flags & BloomFilter.UPDATE_MASK
    for n, txout in enumerate(tx.txouts):
        script = txout_script(txout)
        if meter.spent(1):
            yield
        if not (yield from _has_data(filter_, script, meter)):
            continue
        found = True
        if update == BloomFilter.UPDATE_ALL or (
            update == BloomFilter.UPDATE_PUBKEYS and script_type(script) in ("pubkey", "multisig")
        ):
            filter_.insert(txid + n.to_bytes(4, "little"))
    if found:
        return True
    for outpoint, script in zip(tx.prevouts, tx.script_sigs, strict=True):
        if outpoint in filter_ or (yield from _has_data(filter_, script, meter)):
            return True
        if meter.spent(1):
            yield
    return False


def filter_steps(raw: bytes, filter_: BloomFilter) -> Steps[FilteredBlock]:
    """The part of a block that the filter wants; ``filter_`` grows by what matched."""
    block, meter = parse_block(raw), Meter()
    found = []
    for n in range(block.n_tx):
        tx = block.tx(n)
        if (yield from match_steps(filter_, tx, meter)):
            found.append(tx)
        if meter.spent(TX_COST):
            yield
    hashes, flags = build_proof(block.txids, {tx.txid for tx in found})
    proof = MerkleBlock(raw[:HEADER_SIZE], block.n_tx, tuple(hashes), flags)
    return FilteredBlock(proof, tuple(tx.stripped() for tx in found), bytes(filter_.data))
