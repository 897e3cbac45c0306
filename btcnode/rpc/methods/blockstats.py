"""``getblockstats``: figures of one block, computed from its bytes and its undo data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.consensus.subsidy import block_subsidy
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import coin_value
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import FIXED, JSON_OR_TEXT, Hex, Hint, Label, Like, Named, Oneline, in_order, picked, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.lookup import find_by_hash_or_height, parsed_block, require_data
from btcnode.rpc.methods.blocks import read_block, read_undo
from btcnode.rpc.room import aside, beside
from btcnode.script.scriptparse import is_unspendable
from btcnode.services.parts import NodeParts

PER_UTXO_OVERHEAD = 40  # outpoint, height and coinbase flag
COIN_HEAD = 4  # bytes of a packed coin before its txout
LONG_SIZE = 0xFD  # from this byte on a compact size goes on behind it
VERSION_AND_LOCK = 8  # bytes of a transaction around its body
FIGURES_BYTES = 2500  # of memory that a block's figures take, about
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
    """Running figures over the transactions of a block, taken from its columns: no transaction is made an object."""

    def __init__(self) -> None:
        self.outputs = self.inputs = self.utxos = self.total_out = 0
        self.size_inc = self.size_inc_actual = 0
        self.sizes: list[int] = []
        self.fees: list[int] = []
        self.rates: list[tuple[int, int]] = []
        self.total_weight = 0
        self.sw_count = self.sw_size = self.sw_weight = 0

    def add_outputs(self, block: ParsedBlock, i: int, counted: bool) -> int:
        """Count the outputs of transaction ``i``; returns their value. ``counted``: they enter the set of outputs."""
        raw, value, first = block.raw, 0, block.first_out[i]
        last = block.first_out[i + 1]
        self.outputs += last - first
        for p in block.out_pos[first:last]:
            value += int.from_bytes(raw[p : p + 8], "little", signed=True)
            length, script = raw[p + 8], p + 9
            if length >= LONG_SIZE:
                length, script = read_compact_size(raw, p + 8)
            size = script + length - p + PER_UTXO_OVERHEAD
            self.size_inc += size
            if counted and not is_unspendable(raw[script : script + length]):
                self.utxos += 1
                self.size_inc_actual += size
        return value

    def add_spends(self, block: ParsedBlock, i: int, spent: list[bytes], value_out: int) -> None:
        """Count what transaction ``i`` spends and pays."""
        self.inputs += block.first_in[i + 1] - block.first_in[i]
        self.total_out += value_out
        size, core = block.tx_pos[i + 1] - block.tx_pos[i], block.witness_pos[i] - block.body_pos[i] + VERSION_AND_LOCK
        has_witness = core != size
        weight = 3 * core + size
        self.sizes.append(size)
        self.total_weight += weight
        if has_witness:
            self.sw_count += 1
            self.sw_size += size
            self.sw_weight += weight
        bytes_gone = sum(map(len, spent)) + len(spent) * (PER_UTXO_OVERHEAD - COIN_HEAD)
        self.size_inc -= bytes_gone
        self.size_inc_actual -= bytes_gone
        fee = sum(map(coin_value, spent)) - value_out
        self.fees.append(fee)
        self.rates.append((fee * 4 // weight, weight))


def _sums(block: ParsedBlock, undo: list[list[bytes]], height: int, bip30_repeat: bool) -> _Sums:
    """The figures of all transactions; coinbases that add nothing to the set do not count as outputs of it."""
    sums = _Sums()
    sums.add_outputs(block, 0, height > 0 and not bip30_repeat)
    for i, spent in enumerate(undo, 1):
        sums.add_spends(block, i, spent, sums.add_outputs(block, i, True))
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


def _each_once(names: Iterable[str]) -> list[str]:
    """In their order; raises RpcError when one is no string."""
    return sorted(set(names))


async def _figures(node: NodeParts, index: int) -> BlockStats:
    """What follows from a block's bytes and what it spends, kept for who asks again; raises RpcError."""
    key = ("figures", index)
    height, status = node.chain.tree.height(index), node.chain.block_status(index)
    kept: BlockStats | None = node.chain.lately.get(key)
    if kept is not None and node.chain.is_stored(index) and (status.have_undo or not height):
        return kept
    raw = await read_block(node, index)
    if height:
        require_data(node, index, undo=True)
    undo = await read_undo(node, index) if height else []
    if undo is None:
        raise RpcError(RpcCode.MISC_ERROR, "Undo data not available")
    block = await parsed_block(node, index, raw)
    repeat = (height, node.chain.tree.hash(index)) in node.params.bip30_exceptions
    found = await beside(lambda: _stats_of(_sums(block, undo, height, repeat), block.n_tx))
    node.chain.lately.put(key, found, FIGURES_BYTES)
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
    found: BlockStats = {**await _figures(node, index)}
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
