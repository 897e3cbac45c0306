"""``getblockstats``: figures of one block, computed from its bytes and its undo data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.consensus.subsidy import block_subsidy
from btcnode.primitives.hashes import to_display
from btcnode.rpc.block_statistics import block_statistics, statistics_of_bytes
from btcnode.rpc.declare import FIXED, JSON_OR_TEXT, Hex, Hint, Label, Like, Named, Oneline, in_order, picked, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.jsonvalue import decode
from btcnode.rpc.lookup import find_by_hash_or_height, parsed_block, require_data, spent_by_block
from btcnode.rpc.methods.blocks import read_block, undo_bytes
from btcnode.rpc.room import aside, beside, elsewhere
from btcnode.services.parts import NodeParts

STATISTICS_BYTES = 2500  # of memory that a block's statistics take, about


class BlockStats(TypedDict):
    """Figures of a block, as many as are asked for."""

    avgfee: Annotated[NotRequired[int], "Mean fee in satoshi"]
    avgfeerate: Annotated[NotRequired[int], "Mean fee rate in satoshi per virtual byte"]
    avgtxsize: Annotated[NotRequired[int], "Mean transaction size"]
    blockhash: Annotated[NotRequired[Hex], "The block"]
    feerate_percentiles: Annotated[
        NotRequired[
            list[
                Annotated[int, "At the 10th percentile"]
                | Annotated[int, "At the 25th"]
                | Annotated[int, "At the 50th"]
                | Annotated[int, "At the 75th"]
                | Annotated[int, "At the 90th"]
            ]
        ],
        "Fee rates by percentile of weight, satoshi per virtual byte",
        FIXED,
    ]
    height: Annotated[NotRequired[int], "Height"]
    ins: Annotated[NotRequired[int], "Inputs, without the coinbase's"]
    maxfee: Annotated[NotRequired[int], "Highest fee"]
    maxfeerate: Annotated[NotRequired[int], "Highest fee rate"]
    maxtxsize: Annotated[NotRequired[int], "Largest transaction"]
    medianfee: Annotated[NotRequired[int], "Median fee"]
    mediantime: Annotated[NotRequired[int], "Median time"]
    mediantxsize: Annotated[NotRequired[int], "Median transaction size"]
    minfee: Annotated[NotRequired[int], "Lowest fee"]
    minfeerate: Annotated[NotRequired[int], "Lowest fee rate"]
    mintxsize: Annotated[NotRequired[int], "Smallest transaction"]
    outs: Annotated[NotRequired[int], "Outputs"]
    subsidy: Annotated[NotRequired[int], "Subsidy"]
    swtotal_size: Annotated[NotRequired[int], "Size of transactions with witness"]
    swtotal_weight: Annotated[NotRequired[int], "Their weight"]
    swtxs: Annotated[NotRequired[int], "Their number"]
    time: Annotated[NotRequired[int], "Time"]
    total_out: Annotated[NotRequired[int], "Value of all outputs but the coinbase's"]
    total_size: Annotated[NotRequired[int], "Size of all transactions but the coinbase"]
    total_weight: Annotated[NotRequired[int], "Their weight"]
    totalfee: Annotated[NotRequired[int], "Sum of fees"]
    txs: Annotated[NotRequired[int], "Transactions"]
    utxo_increase: Annotated[NotRequired[int], "Outputs less inputs"]
    utxo_size_inc: Annotated[NotRequired[int], "Growth of the set of outputs in bytes"]
    utxo_increase_actual: Annotated[NotRequired[int], "Outputs less inputs, spendable ones only"]
    utxo_size_inc_actual: Annotated[NotRequired[int], "Growth in bytes, spendable ones only"]


def _each_once(names: Iterable[str]) -> list[str]:
    """In their order; raises RpcError when one is no string."""
    return sorted(set(names))


async def _statistics(node: NodeParts, index: int) -> BlockStats:
    """What follows from a block's bytes and what it spends, kept for who asks again; raises RpcError."""
    key = ("block statistics", index)
    height = node.chain.tree.height(index)
    kept: BlockStats | None = node.chain.lately.get(key)
    if kept is not None and node.chain.is_stored(index, undo=height > 0):
        return kept
    raw = await read_block(node, index)
    if height:
        require_data(node, index, undo=True)
    spent = await undo_bytes(node, index) if height else b""
    if spent is None:
        raise RpcError(RpcCode.MISC_ERROR, "Undo data not available")
    made = height > 0 and (height, node.chain.tree.hash(index)) not in node.params.bip30_exceptions
    told = await elsewhere(statistics_of_bytes, b"%d" % made, raw, *filter(None, (spent,)))
    if told is not None:
        found = cast(BlockStats, decode(told[0]))
    else:
        undo = await spent_by_block(node, index, spent) if height else []
        block = await parsed_block(node, index, raw)
        found = cast(BlockStats, await beside(lambda: block_statistics(block, undo, made=made)))
    node.chain.lately.put(key, found, STATISTICS_BYTES)
    return found


@rpc("blockchain", examples=((1000, ["minfeerate", "avgfeerate"]),))
async def getblockstats(
    node: NodeParts,
    hash_or_height: Annotated[
        Any, "Hash of the block, or its height in the active chain", Like(int), Label("string or numeric"), JSON_OR_TEXT
    ],
    stats: Annotated[
        Items[Annotated[str, Named("height"), "A figure"] | Annotated[str, Named("time"), "A figure"]] | None,
        "Which figures",
        Hint("all values"),
        Oneline("stats"),
    ] = None,
) -> BlockStats:
    """Figures of a block. Amounts are in satoshi."""
    index = find_by_hash_or_height(node, hash_or_height)
    wanted = await aside(lambda: _each_once(stats or ()))
    tree = node.chain.tree
    height = tree.height(index)
    found: BlockStats = {**await _statistics(node, index)}
    found["blockhash"] = to_display(tree.hash(index))
    found["height"] = height
    found["mediantime"] = tree.median_time_past(index)
    found["subsidy"] = block_subsidy(height, node.params)
    found["time"] = tree.time(index)
    if not wanted:
        return in_order(BlockStats, found)
    for name in wanted:
        if name not in found:
            raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid selected statistic '{name}'")
    return picked(found, wanted)
