"""Hints made from a list of blocks with nothing of the node's own way of making them, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from btcnode.primitives.block import parse_block
from btcnode.swiftsync.hints import pack_header, pack_hint


def reference_hints(blocks: Sequence[bytes]) -> list[list[int]]:
    """For each block from height 1 on, which of its outputs that can be spent none of these blocks spends."""
    parsed = [parse_block(raw) for raw in blocks]
    txs = [[block.tx(i) for i in range(block.n_tx)] for block in parsed]
    spent = {prevout for block in txs for tx in block[1:] for prevout in tx.prevouts}
    hints = []
    for block in txs:
        count, unspent = 0, []
        for tx in block:
            for vout, txout in enumerate(tx.txouts):
                script = txout[9:] if txout[8] < 0xFD else txout[11:]
                if script[:1] == b"\x6a" or len(script) > 10_000:
                    continue
                if tx.txid + vout.to_bytes(4, "little") not in spent:
                    unspent.append(count)
                count += 1
        hints.append(unspent)
    return hints


def pack_hints(hints: Iterable[Sequence[int]]) -> bytes:
    """The hintsfile of these hints."""
    packed = list(map(pack_hint, hints))
    return pack_header(len(packed)) + b"".join(packed)
