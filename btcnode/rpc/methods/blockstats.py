"""``getblockstats``: figures of one block, computed from its bytes and its undo data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from btcnode.consensus.subsidy import block_subsidy
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_value, txout_script
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import find_by_hash_or_height, require_data
from btcnode.rpc.methods.blocks import read_block, read_undo
from btcnode.rpc.spec import Arg, Kind, Result, arr, hexed, number, obj, rpc
from btcnode.rpc.spec import time as time_
from btcnode.rpc.transactions import expect
from btcnode.script.scriptparse import is_unspendable
from btcnode.services.parts import NodeParts

PER_UTXO_OVERHEAD = 40  # outpoint, height and coinbase flag
COIN_HEAD = 4  # bytes of a packed coin before its txout
PERCENTILES = ((1, 10), (1, 4), (1, 2), (3, 4), (9, 10))

_FIGURES: tuple[Result, ...] = (
    number("avgfee", "Mean fee in satoshi", optional=True),
    number("avgfeerate", "Mean fee rate in satoshi per virtual byte", optional=True),
    number("avgtxsize", "Mean transaction size", optional=True),
    hexed("blockhash", "The block", optional=True),
    arr("feerate_percentiles", "Fee rates at the 10th, 25th, 50th, 75th and 90th percentile of weight",
        number("", "Satoshi per virtual byte"), optional=True),
    number("height", "Height", optional=True),
    number("ins", "Inputs, without the coinbase's", optional=True),
    number("maxfee", "Highest fee", optional=True),
    number("maxfeerate", "Highest fee rate", optional=True),
    number("maxtxsize", "Largest transaction", optional=True),
    number("medianfee", "Median fee", optional=True),
    time_("mediantime", "Median time", optional=True),
    number("mediantxsize", "Median transaction size", optional=True),
    number("minfee", "Lowest fee", optional=True),
    number("minfeerate", "Lowest fee rate", optional=True),
    number("mintxsize", "Smallest transaction", optional=True),
    number("outs", "Outputs", optional=True),
    number("subsidy", "Subsidy", optional=True),
    number("swtotal_size", "Size of transactions with witness", optional=True),
    number("swtotal_weight", "Their weight", optional=True),
    number("swtxs", "Their number", optional=True),
    time_("time", "Time", optional=True),
    number("total_out", "Value of all outputs but the coinbase's", optional=True),
    number("total_size", "Size of all transactions but the coinbase", optional=True),
    number("total_weight", "Their weight", optional=True),
    number("totalfee", "Sum of fees", optional=True),
    number("txs", "Transactions", optional=True),
    number("utxo_increase", "Outputs less inputs", optional=True),
    number("utxo_size_inc", "Growth of the set of outputs in bytes", optional=True),
    number("utxo_increase_actual", "Outputs less inputs, spendable ones only", optional=True),
    number("utxo_size_inc_actual", "Growth in bytes, spendable ones only", optional=True),
)  # fmt: skip


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


def _figures(sums: _Sums, n_tx: int) -> dict[str, Any]:
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


@rpc(
    "blockchain",
    "Figures of a block. Amounts are in satoshi.",
    Arg("hash_or_height", Kind.INT, "Hash of the block, or its height in the active chain", any_type=True),
    Arg(
        "stats",
        Kind.ARR,
        "Which figures",
        None,
        hint="all values",
        inner=(Arg("name", Kind.STR, "A figure", None),),
        oneline="stats",
    ),
    returns=obj("", "", *_FIGURES),
    examples=((1000, ["minfeerate", "avgfeerate"]),),
    heavy=True,
)
async def getblockstats(node: NodeParts, hash_or_height: Any, stats: list[Any] | None) -> dict[str, Any]:
    """See the declaration."""
    index = find_by_hash_or_height(node, hash_or_height)
    wanted = sorted({expect(name, "string") for name in stats or ()})
    raw = await read_block(node, index)
    tree = node.chain.tree
    height = tree.height(index)
    if height:
        require_data(node, index, undo=True)
    undo = await read_undo(node, index) if height else []
    if undo is None:
        raise RpcError(RpcCode.MISC_ERROR, "Undo data not available")
    block = parse_block(raw)
    repeat = (height, tree.hash(index)) in node.params.bip30_exceptions
    found = _figures(await asyncio.to_thread(_sums, block, undo, height, repeat), block.n_tx)
    found |= {
        "blockhash": to_display(tree.hash(index)),
        "height": height,
        "mediantime": tree.median_time_past(index),
        "subsidy": block_subsidy(height, node.params),
        "time": tree.time(index),
    }
    if not wanted:
        return dict(sorted(found.items(), key=lambda item: _ORDER[item[0]]))
    for name in wanted:
        if name not in found:
            raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid selected statistic '{name}'")
    return {name: found[name] for name in wanted}


_ORDER = {figure.key: n for n, figure in enumerate(_FIGURES)}
