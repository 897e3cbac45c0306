"""``getblockstats``: figures of one block, computed from its bytes and its undo data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.consensus.subsidy import block_subsidy
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_value, txout_script
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.declare import FIXED, JSON_OR_TEXT, Hex, Hint, Label, Like, Named, Oneline, in_order, picked, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.lookup import find_by_hash_or_height, parsed_block, require_data
from btcnode.rpc.methods.blocks import read_block, read_undo
from btcnode.rpc.room import beside
from btcnode.script.scriptparse import is_unspendable
from btcnode.services.parts import NodeParts

PER_UTXO_OVERHEAD = 40  # outpoint, height and coinbase flag
COIN_HEAD = 4  # bytes of a packed coin before its txout
PERCENTILES = ((1, 10), (1, 4), (1, 2), (3, 4), (9, 10))


def _median(values: Sequence[int]) -> int:
    """The median, cut down to an integer (0 of nothing)."""
    ordered = sorted(values)
    if not ordered:
        return 0
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def _percentiles(rates: list[tuple[int, int]], total_weight: int) -> list[int]:
    """Fee rates at the percentiles of weight; ``rates`` are (rate, weight)."""
    if not rates:
        return [0] * len(PERCENTILES)
    rates = sorted(rates)
    found: list[int] = []
    seen = 0
    for rate, weight in rates:
        seen += weight
        while len(found) < len(PERCENTILES):
            share, of = PERCENTILES[len(found)]
            if seen * of < total_weight * share:
                break
            found.append(rate)
    return found + [rates[-1][0]] * (len(PERCENTILES) - len(found))


class _Sums:
    """Running figures over the transactions of a block."""

    def __init__(self, counts_outputs: bool) -> None:
        self.counts_outputs = counts_outputs
        self.outputs = self.inputs = self.utxos = self.total_out = 0
        self.size_inc = self.size_inc_actual = 0
        self.sizes: list[int] = []
        self.fees: list[int] = []
        self.rates: list[tuple[int, int]] = []
        self.total_weight = 0
        self.sw_count = self.sw_size = self.sw_weight = 0

    def add(self, tx: Tx, spent: list[bytes] | None) -> None:
        """Count a transaction; ``spent`` None means the coinbase."""
        self.outputs += len(tx.txouts)
        value_out = 0
        counted = self.counts_outputs
        for txout in tx.txouts:
            size = len(txout) + PER_UTXO_OVERHEAD
            value_out += int.from_bytes(txout[:8], "little", signed=True)
            self.size_inc += size
            if counted and not is_unspendable(txout_script(txout)):
                self.utxos += 1
                self.size_inc_actual += size
        if spent is None:
            return
        self.inputs += len(tx.prevouts)
        self.total_out += value_out
        size, weight = len(tx.raw), tx.weight
        self.sizes.append(size)
        self.total_weight += weight
        if tx.has_witness:
            self.sw_count += 1
            self.sw_size += size
            self.sw_weight += weight
        value_in = 0
        for coin in spent:
            value_in += coin_value(coin)
            self.size_inc -= len(coin) - COIN_HEAD + PER_UTXO_OVERHEAD
            self.size_inc_actual -= len(coin) - COIN_HEAD + PER_UTXO_OVERHEAD
        fee = value_in - value_out
        self.fees.append(fee)
        self.rates.append((fee * 4 // weight if weight else 0, weight))


def _sums(block: ParsedBlock, undo: list[list[bytes]], height: int, bip30_repeat: bool) -> _Sums:
    """The figures of all transactions; coinbases that add nothing to the set do not count as outputs of it."""
    sums = _Sums(height > 0)
    for i in range(block.n_tx):
        sums.counts_outputs = height > 0 and not (bip30_repeat and i == 0)
        sums.add(block.tx(i), undo[i - 1] if i else None)
    return sums


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


def _stats_of(sums: _Sums, n_tx: int) -> BlockStats:
    """What the sums amount to, under Core's names."""
    others = n_tx - 1
    rates = [rate for rate, _ in sums.rates]
    fee = sum(sums.fees)
    size = sum(sums.sizes)
    return {
        "avgfee": fee // others if others else 0,
        "avgfeerate": fee * 4 // sums.total_weight if sums.total_weight else 0,
        "avgtxsize": size // others if others else 0,
        "feerate_percentiles": _percentiles(sums.rates, sums.total_weight),
        "ins": sums.inputs,
        "maxfee": max(sums.fees, default=0),
        "maxfeerate": max(rates, default=0),
        "maxtxsize": max(sums.sizes, default=0),
        "medianfee": _median(sums.fees),
        "mediantxsize": _median(sums.sizes),
        "minfee": min(sums.fees, default=0),
        "minfeerate": min(rates, default=0),
        "mintxsize": min(sums.sizes, default=0),
        "outs": sums.outputs,
        "swtotal_size": sums.sw_size,
        "swtotal_weight": sums.sw_weight,
        "swtxs": sums.sw_count,
        "total_out": sums.total_out,
        "total_size": size,
        "total_weight": sums.total_weight,
        "totalfee": fee,
        "txs": n_tx,
        "utxo_increase": sums.outputs - sums.inputs,
        "utxo_size_inc": sums.size_inc,
        "utxo_increase_actual": sums.utxos - sums.inputs,
        "utxo_size_inc_actual": sums.size_inc_actual,
    }


@rpc("blockchain", examples=((1000, ["minfeerate", "avgfeerate"]),), heavy=True)
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
    wanted = sorted(set(stats or ()))
    raw = await read_block(node, index)
    tree = node.chain.tree
    height = tree.height(index)
    if height:
        require_data(node, index, undo=True)
    undo = await read_undo(node, index) if height else []
    if undo is None:
        raise RpcError(RpcCode.MISC_ERROR, "Undo data not available")
    block = await parsed_block(node, index, raw)
    repeat = (height, tree.hash(index)) in node.params.bip30_exceptions
    found = _stats_of(await beside(lambda: _sums(block, undo, height, repeat)), block.n_tx)
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
