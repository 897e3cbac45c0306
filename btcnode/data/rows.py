"""Blocks become rows: one pass over each, a list for each column, Arrow arrays of them at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from struct import Struct
from typing import Any

import pyarrow as pa

from btcnode.consensus.subsidy import block_subsidy
from btcnode.data.block_reader import DataError, SourceBlock
from btcnode.data.schema import KIND, SCRIPT_TYPES, TABLES, TYPE_NUMBERS, schema_of
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import txout_script
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.header import HEADER_STRUCT
from btcnode.script.solver import script_type

GROUP_BYTES = 8 << 20  # of blocks: then rows become Arrow arrays, and a row group of a file

MS = 1000  # in a second

_u32 = Struct("<I").unpack_from
_i64 = Struct("<q").unpack_from
_NO_ITEMS: list[bytes] = []

_KINDS = pa.array(SCRIPT_TYPES, pa.string())
# length and first two bytes of scripts that need no closer look
_PROGRAMS = {
    (22, b"\x00\x14"): TYPE_NUMBERS["witness_v0_keyhash"],
    (34, b"\x00\x20"): TYPE_NUMBERS["witness_v0_scripthash"],
    (34, b"\x51\x20"): TYPE_NUMBERS["witness_v1_taproot"],
}


def type_number(script: bytes) -> int:
    """Place among ``SCRIPT_TYPES`` of a script's form."""
    known = _PROGRAMS.get((len(script), script[:2]))
    return known if known is not None else TYPE_NUMBERS[script_type(script)]


class Batches:
    """Collects rows of blocks; ``take`` hands them over as one batch for each table.

    ``tables`` are those that are wanted. A table's rows are in the order of ``schema.ORDER`` when blocks come in the
    order of their heights.
    """

    def __init__(self, params: NetworkParams, tables: Sequence[str] = TABLES, *, with_prevouts: bool) -> None:
        self._params = params
        self._tables = tuple(tables)
        self._with_prevouts = with_prevouts
        self._schemas = {table: schema_of(table, with_prevouts=with_prevouts) for table in tables}
        self.bytes = 0  # of the blocks that were collected, and of the coins that they spend
        self._columns: dict[str, dict[str, list[Any]]] = {}
        self._clear()

    def _clear(self) -> None:
        self.bytes = 0
        self._columns = {table: {name: [] for name in schema.names} for table, schema in self._schemas.items()}

    def add(self, source: SourceBlock) -> None:
        """Collect a block; with prevouts its coins have to be there."""
        block, height = source.block, source.height
        self.bytes += block.size
        if self._with_prevouts and "inputs" in self._tables:  # an input of 41 bytes may spend a script of 10,000
            self.bytes += sum([sum(map(len, spent)) for spent in source.coins or ()])
        fees = _fees(source) if source.coins is not None else None
        if "blocks" in self._tables:
            self._add_block(source, None if fees is None else sum(fees))
        if "transactions" in self._tables:
            self._add_transactions(block, height, fees)
        if "inputs" in self._tables:
            self._add_inputs(block, height)
            if self._with_prevouts:
                self._add_prevouts(source)
        if "outputs" in self._tables:
            self._add_outputs(block, height)

    def take(self) -> dict[str, pa.RecordBatch]:
        """The rows of all blocks since the last time; raises DataError where amounts are more than there can be."""
        batches = {}
        for table, schema in self._schemas.items():
            columns = self._columns[table]
            try:
                arrays = [_array(columns[field.name], field.type) for field in schema]
            except (OverflowError, pa.ArrowInvalid) as error:
                heights = columns["height"]
                name = f"{table} of blocks {heights[0]} to {heights[-1]}"
                raise DataError(f"the {name} have values that no valid block has: {error}") from None
            batches[table] = pa.RecordBatch.from_arrays(arrays, schema=schema)
        self._clear()
        return batches

    def _add_block(self, source: SourceBlock, fees: int | None) -> None:
        block = source.block
        version, prev, root, time, bits, nonce = HEADER_STRUCT.unpack_from(block.raw)
        values = (
            source.height, block.hash[::-1], version, prev[::-1], root[::-1],
            MS * time, MS * source.median_time, bits, nonce,
            block.size, block.weight, block.n_tx, len(block.in_pos) - 1, len(block.out_pos),
            block_subsidy(source.height, self._params), fees,
        )  # fmt: skip
        for column, value in zip(self._columns["blocks"].values(), values, strict=True):
            column.append(value)

    def _add_transactions(self, block: ParsedBlock, height: int, fees: Sequence[int] | None) -> None:
        columns = self._columns["transactions"]
        raw, n_tx, tx_pos = block.raw, block.n_tx, block.tx_pos
        sizes = [end - start for start, end in pairwise(tx_pos)]
        columns["height"] += [height] * n_tx
        columns["tx"] += range(n_tx)
        columns["txid"] += [txid[::-1] for txid in block.txids]
        columns["wtxid"] += [wtxid[::-1] for wtxid in block.wtxids]
        columns["version"] += [_u32(raw, start)[0] for start in tx_pos[:-1]]
        columns["lock_time"] += [_u32(raw, end - 4)[0] for end in tx_pos[1:]]
        columns["size"] += sizes
        columns["weight"] += [_weight(block, i, size) for i, size in enumerate(sizes)]
        columns["input_count"] += [end - start for start, end in pairwise(block.first_in)]
        columns["output_count"] += [end - start for start, end in pairwise(block.first_out)]
        columns["value_out"] += _values_out(block)
        columns["fee"] += [None] * n_tx if fees is None else [None, *fees]

    def _add_inputs(self, block: ParsedBlock, height: int) -> None:
        columns = self._columns["inputs"]
        raw, positions = block.raw, block.in_pos
        columns["height"] += [height] * len(positions)
        scripts: list[bytes] = columns["script_sig"]
        sequences: list[int] = columns["sequence"]
        for i, (start, end) in enumerate(pairwise(block.first_in)):
            columns["tx"] += [i] * (end - start)
            columns["input"] += range(end - start)
            columns["witness"] += witness_stacks(block, i)
        columns["prev_txid"] += [raw[p : p + 32][::-1] for p in positions]
        columns["prev_output"] += [_u32(raw, p + 32)[0] for p in positions]
        for p in positions:
            size, begin = raw[p + 36], p + 37
            if size >= 0xFD:
                size, begin = read_compact_size(raw, p + 36)
            scripts.append(raw[begin : begin + size])
            sequences.append(_u32(raw, begin + size)[0])

    def _add_prevouts(self, source: SourceBlock) -> None:
        columns = self._columns["inputs"]
        coins = [coin for spent in source.coins or () for coin in spent]
        codes = [_u32(coin)[0] for coin in coins]
        scripts = [txout_script(coin[4:]) for coin in coins]
        # the coinbase spends nothing
        columns["prev_height"] += [None, *[code >> 1 for code in codes]]
        columns["prev_coinbase"] += [None, *[bool(code & 1) for code in codes]]
        columns["prev_value"] += [None, *[_i64(coin, 4)[0] for coin in coins]]
        columns["prev_type"] += [None, *map(type_number, scripts)]
        columns["prev_script"] += [None, *scripts]

    def _add_outputs(self, block: ParsedBlock, height: int) -> None:
        columns = self._columns["outputs"]
        raw, positions = block.raw, block.out_pos
        columns["height"] += [height] * len(positions)
        for i, (start, end) in enumerate(pairwise(block.first_out)):
            columns["tx"] += [i] * (end - start)
            columns["output"] += range(end - start)
            columns["txid"] += [block.txids[i][::-1]] * (end - start)
        columns["value"] += [_i64(raw, p)[0] for p in positions]
        scripts = []
        for p in positions:
            size, begin = raw[p + 8], p + 9
            if size >= 0xFD:
                size, begin = read_compact_size(raw, p + 8)
            scripts.append(raw[begin : begin + size])
        columns["script"] += scripts
        columns["type"] += map(type_number, scripts)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == KIND:
        return pa.DictionaryArray.from_arrays(pa.array(values, pa.int8()), _KINDS)
    return pa.array(values, kind)


def _weight(block: ParsedBlock, i: int, size: int) -> int:
    """BIP141 weight of transaction ``i``, which has ``size`` bytes."""
    if block.body_pos[i] - block.tx_pos[i] == 4:
        return 4 * size
    witness = block.tx_pos[i + 1] - 4 - block.witness_pos[i] + 2  # with marker and flag
    return 4 * size - 3 * witness


def _values_out(block: ParsedBlock) -> list[int]:
    """Satoshi of all outputs of each transaction."""
    values = [_i64(block.raw, p)[0] for p in block.out_pos]
    return [sum(values[start:end]) for start, end in pairwise(block.first_out)]


def _fees(source: SourceBlock) -> list[int]:
    """Satoshi that each transaction but the coinbase leaves."""
    paid = _values_out(source.block)[1:]
    return [
        sum([_i64(coin, 4)[0] for coin in spent]) - out for spent, out in zip(source.coins or (), paid, strict=True)
    ]


def witness_stacks(block: ParsedBlock, i: int) -> list[list[bytes]]:
    """The witness of each input of transaction ``i``."""
    count = block.first_in[i + 1] - block.first_in[i]
    if block.body_pos[i] - block.tx_pos[i] == 4:
        return [_NO_ITEMS] * count
    raw, p = block.raw, block.witness_pos[i]
    stacks = []
    for _ in range(count):
        items = raw[p]
        p += 1
        if items >= 0xFD:
            items, p = read_compact_size(raw, p - 1)
        stack = []
        for _ in range(items):
            size = raw[p]
            p += 1
            if size >= 0xFD:
                size, p = read_compact_size(raw, p - 1)
            stack.append(raw[p : p + size])
            p += size
        stacks.append(stack)
    return stacks


def batches_of(
    blocks: Iterable[SourceBlock], params: NetworkParams, tables: Sequence[str] = TABLES, *, with_prevouts: bool
) -> Iterator[dict[str, pa.RecordBatch]]:
    """Batches of all ``tables`` side by side, each of so many whole blocks that ``GROUP_BYTES`` are reached."""
    collected = Batches(params, tables, with_prevouts=with_prevouts)
    for source in blocks:
        collected.add(source)
        if collected.bytes >= GROUP_BYTES:
            yield collected.take()
    if collected.bytes:
        yield collected.take()
