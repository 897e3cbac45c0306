"""The kernels that are called from Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from btcnode.compiled import folding, hashing, listing, scanning, short_ids, spending, undo


class Entry(NamedTuple):
    """A kernel, and its symbol in the object file. It takes integers and returns one."""

    name: str
    kernel: Callable[..., int]


FOLD_MERKLE_TREE = Entry("fold_merkle_tree", hashing.fold_merkle_tree)
SCAN_BLOCK = Entry("scan_block", scanning.scan_block)
PROVE_PREVOUTS = Entry("prove_prevouts", scanning.prove_prevouts)
VERIFY_SPENDS = Entry("verify_spends", spending.verify_spends)
SPREAD_INPUTS = Entry("spread_inputs", folding.spread_inputs)
SPREAD_OUTPUTS = Entry("spread_outputs", folding.spread_outputs)
PACK_KEPT = Entry("pack_kept", folding.pack_kept)
APPLY_KEY = Entry("apply_key", folding.apply_key)
ENCODE_UNDO = Entry("encode_undo", undo.encode_undo)
WRITE_SHORT_IDS = Entry("write_short_ids", short_ids.write_short_ids)
MATCH_SHORT_IDS = Entry("match_short_ids", short_ids.match_short_ids)
COUNT_PARTS = Entry("count_parts", listing.count_parts)
LIST_PREVOUTS = Entry("list_prevouts", listing.list_prevouts)
LIST_COINS = Entry("list_coins", listing.list_coins)
ENTRIES = (
    FOLD_MERKLE_TREE,
    SCAN_BLOCK,
    PROVE_PREVOUTS,
    VERIFY_SPENDS,
    SPREAD_INPUTS,
    SPREAD_OUTPUTS,
    PACK_KEPT,
    APPLY_KEY,
    ENCODE_UNDO,
    WRITE_SHORT_IDS,
    MATCH_SHORT_IDS,
    COUNT_PARTS,
    LIST_PREVOUTS,
    LIST_COINS,
)
