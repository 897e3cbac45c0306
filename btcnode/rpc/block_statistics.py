"""Statistics of one block (getblockstats), computed from its bytes and what it spends.

Everything here is pure, and in few modules: it is done in processes beside the node too (``room.elsewhere``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_value
from btcnode.primitives.compactsize import read_compact_size
from btcnode.rpc.jsonvalue import encode
from btcnode.script.scriptparse import is_unspendable
from btcnode.storage.undo import decode_undo

PER_UTXO_OVERHEAD = 40  # outpoint, height and coinbase flag
COIN_HEAD = 4  # bytes of a packed coin before its txout
LONG_SIZE = 0xFD  # from this byte on a compact size goes on behind it
VERSION_AND_LOCK = 8  # bytes of a transaction around its body
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
    """Running sums over the transactions of a block, taken from its columns: no transaction is made an object."""

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


def _sums(block: ParsedBlock, undo: list[list[bytes]], made: bool) -> _Sums:
    """The figures of all transactions; coinbases that add nothing to the set do not count as outputs of it."""
    sums = _Sums()
    sums.add_outputs(block, 0, made)
    for i, spent in enumerate(undo, 1):
        sums.add_spends(block, i, spent, sums.add_outputs(block, i, True))
    return sums


def _stats_of(sums: _Sums, n_tx: int) -> dict[str, Any]:
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


def block_statistics(block: ParsedBlock, undo: list[list[bytes]], *, made: bool) -> dict[str, Any]:
    """Statistics by Core's names; ``made``: the outputs of the coinbase have entered the set of outputs."""
    return _stats_of(_sums(block, undo, made), block.n_tx)


def statistics_of_bytes(made: bytes, raw: bytes, *undo: bytes) -> tuple[bytes]:
    """``block_statistics`` as JSON, of serialised blocks and undo data (of genesis none). Raises DecodeError."""
    return (encode(block_statistics(parse_block(raw), decode_undo(undo[0]) if undo else [], made=made == b"1")),)
