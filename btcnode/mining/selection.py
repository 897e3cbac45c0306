"""Which transactions of the mempool a block takes: chunks in the order of fee density, as long as they fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field

from btcnode.consensus.locks import is_final
from btcnode.mempool.entry import Chunk, MempoolEntry
from btcnode.record import record, struct

MAX_BLOCK_WEIGHT = 4_000_000
MAX_BLOCK_SIGOPS_COST = 80_000
RESERVED_WEIGHT = 8000  # for header, coinbase and the number of transactions
RESERVED_SIGOPS_COST = 400  # for the coinbase
MIN_FEERATE = 1  # sat/kvB
MAX_FAILURES = 1000  # in a row, once the block is nearly full
NEARLY_FULL_WEIGHT = 4000


@record
class BlockLimits:
    """How much a block takes: weight units, sigop cost, and the least feerate (sat/kvB) of a chunk."""

    max_weight: int = MAX_BLOCK_WEIGHT
    reserved_weight: int = RESERVED_WEIGHT
    reserved_sigops: int = RESERVED_SIGOPS_COST
    min_feerate: int = MIN_FEERATE


@struct
class Selection:
    """Entries in block order; fees are what they really pay (satoshi), weight and sigops include what is reserved."""

    entries: list[MempoolEntry] = field(default_factory=list)
    fees: int = 0
    weight: int = 0
    sigops: int = 0


def select(chunks: Iterable[Chunk], height: int, median_time: int, limits: BlockLimits | None = None) -> Selection:
    """Fill a block of ``height`` whose parent has this median time past (Core's ``addChunks``).

    ``chunks`` are those of the mempool, best first; no more of them are taken than are looked at. A chunk that does not
    fit, or is not final yet, is left out together with the rest of its cluster.
    """
    limits = limits if limits is not None else BlockLimits()
    chosen = Selection(weight=limits.reserved_weight, sigops=limits.reserved_sigops)
    skipped: set[int] = set()
    failures = 0
    for chunk in chunks:
        vsize = (chunk.size + 3) // 4  # whole, as Core compares here
        if chunk.fee * 1000 < limits.min_feerate * vsize:
            break
        if skipped and id(chunk.cluster) in skipped:
            continue
        entries: Sequence[MempoolEntry] = chunk.entries
        sigops = chosen.sigops + sum([entry.sigop_cost for entry in entries])
        fits = chosen.weight + chunk.size < limits.max_weight and sigops < MAX_BLOCK_SIGOPS_COST
        if not fits or not all(is_final(e.tx.lock_time, e.tx.sequences, height, median_time) for e in entries):
            skipped.add(id(chunk.cluster))
            failures += 1
            if failures > MAX_FAILURES and chosen.weight + NEARLY_FULL_WEIGHT > limits.max_weight:
                break
            continue
        failures = 0
        chosen.entries += entries
        chosen.weight += sum([entry.weight for entry in entries])
        chosen.sigops = sigops
        chosen.fees += sum([entry.fee for entry in entries])
    return chosen
