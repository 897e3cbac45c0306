"""Blocks become rows: those of some megabytes are put side by side, and each column is made of all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from btcnode.consensus.subsidy import block_subsidy
from btcnode.data.block_reader import DataError, SourceBlock
from btcnode.data.columns import (
    Ints,
    Mask,
    Numbers,
    binary_array,
    bodies_at,
    bool_array,
    difference,
    ends_of,
    flat,
    hash_array,
    hashes_at,
    kind_array,
    list_array,
    number_array,
    numbers_at,
    pieces,
    sums,
    turned,
    types_at,
    within,
)
from btcnode.data.schema import TABLES, schema_of
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.header import HEADER_STRUCT

GROUP_BYTES = 8 << 20  # of blocks: then rows become Arrow arrays, and a row group of a file

MS = 1000  # in a second
WITNESS_FORM = 6  # bytes before the inputs, with BIP144's marker and flag


class _Coins:
    """The coins that some blocks spend, side by side."""

    def __init__(self, coins: Sequence[bytes]) -> None:
        self.raw = b"".join(coins)
        sizes = np.fromiter(map(len, coins), np.int64, len(coins))
        self._ends = ends_of(sizes)
        self._starts = self._ends - sizes
        self.codes = numbers_at(self.raw, self._starts, "<u4").astype(np.int64)
        self.values: Ints = numbers_at(self.raw, self._starts + 4, "<i8").astype(np.int64)

    def scripts(self) -> tuple[Ints, Ints]:
        """Where they begin and end in ``raw``."""
        return bodies_at(self.raw, self._starts + 12)[0], self._ends


class _Group:
    """Blocks side by side: the addresses of all that is in them, and how many of what each has."""

    def __init__(self, sources: Sequence[SourceBlock]) -> None:
        self.sources = sources
        blocks = [source.block for source in sources]
        self.raw = b"".join([block.raw for block in blocks])
        sizes = np.array([len(block.raw) for block in blocks], np.int64)
        bases = ends_of(sizes) - sizes
        self.heights = np.array([source.height for source in sources], np.int64)
        self.txs = txs = np.array([block.n_tx for block in blocks], np.int64)
        n_tx = int(txs.sum())
        self.ins, self.outs = (
            np.array([len(positions) for positions in found], np.int64)
            for found in ([block.in_pos for block in blocks], [block.out_pos for block in blocks])
        )
        self.in_pos = flat([block.in_pos for block in blocks], int(self.ins.sum())) + np.repeat(bases, self.ins)
        self.out_pos = flat([block.out_pos for block in blocks], int(self.outs.sum())) + np.repeat(bases, self.outs)
        by_tx = np.repeat(bases, txs)
        self.tx_start = flat([block.tx_pos[:-1] for block in blocks], n_tx) + by_tx
        self.tx_end = flat([block.tx_pos[1:] for block in blocks], n_tx) + by_tx
        self.witness_pos = flat([block.witness_pos for block in blocks], n_tx) + by_tx
        body_pos = flat([block.body_pos for block in blocks], n_tx) + by_tx
        self.has_witness: Mask = body_pos - self.tx_start == WITNESS_FORM
        self.tx = within(txs)
        firsts = ([block.first_in for block in blocks], [block.first_out for block in blocks])
        self.in_count, self.out_count = (
            np.diff(
                flat([first[1:] for first in found], n_tx) + np.repeat(ends_of(counts) - counts, txs),
                prepend=np.int64(0),
            )
            for found, counts in zip(firsts, (self.ins, self.outs), strict=True)
        )
        self.values: Ints = numbers_at(self.raw, self.out_pos, "<i8").astype(np.int64)
        self.coins: _Coins | None = None
        if all(source.coins is not None for source in sources):
            told = chain.from_iterable(chain.from_iterable(source.coins or () for source in sources))
            self.coins = _Coins(list(told))

    @property
    def spends(self) -> Mask:
        """Of each input whether it spends something: a coinbase's does not."""
        return np.repeat(self.tx != 0, self.in_count)

    def by_block(self, counts: Ints) -> Ints:
        """The height of each of a block's things."""
        return np.repeat(self.heights, counts)

    def values_out(self) -> Ints:
        """Satoshi of all outputs of each transaction; raises OverflowError."""
        return sums(self.values, self.out_count)

    def fees(self, coins: _Coins) -> Ints:
        """Satoshi that each transaction but the coinbases leaves; raises OverflowError."""
        real = self.tx != 0
        return difference(sums(coins.values, self.in_count[real]), self.values_out()[real])


class Batches:
    """Collects blocks; ``take`` hands their rows over as one batch for each table.

    ``tables`` are those that are wanted. A table's rows are in the order of ``schema.ORDER`` when blocks come in the
    order of their heights.
    """

    def __init__(self, params: NetworkParams, tables: Sequence[str] = TABLES, *, with_prevouts: bool) -> None:
        self._params = params
        self._with_prevouts = with_prevouts
        self._schemas = {table: schema_of(table, with_prevouts=with_prevouts) for table in tables}
        self._sources: list[SourceBlock] = []
        self.bytes = 0  # of the blocks that were collected, and of the coins that they spend

    def add(self, source: SourceBlock) -> None:
        """Collect a block; with prevouts its coins have to be there."""
        self._sources.append(source)
        self.bytes += source.block.size
        if self._with_prevouts and "inputs" in self._schemas:  # an input of 41 bytes may spend a script of 10,000
            self.bytes += sum([sum(map(len, spent)) for spent in source.coins or ()])

    def take(self) -> dict[str, pa.RecordBatch]:
        """The rows of all blocks since the last time; raises DataError where amounts are more than there can be."""
        sources, self._sources, self.bytes = self._sources, [], 0
        group = _Group(sources)
        made = {
            "blocks": self._blocks,
            "transactions": self._transactions,
            "inputs": self._inputs,
            "outputs": self._outputs,
        }
        batches = {}
        for table, schema in self._schemas.items():
            try:
                columns = made[table](group)
                batches[table] = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
            except (OverflowError, pa.ArrowInvalid) as error:
                name = f"{table} of blocks {sources[0].height} to {sources[-1].height}" if sources else table
                raise DataError(f"the {name} have values that no valid block has: {error}") from None
        return batches

    def _blocks(self, group: _Group) -> dict[str, pa.Array]:
        fees: Sequence[int | None] = [None] * len(group.sources)
        if group.coins is not None:
            fees = sums(group.fees(group.coins), group.txs - 1).tolist()
        rows = []
        for source, fee in zip(group.sources, fees, strict=True):
            block = source.block
            version, prev, root, time, bits, nonce = HEADER_STRUCT.unpack_from(block.raw)
            rows.append((
                source.height, block.hash[::-1], version, prev[::-1], root[::-1],
                MS * time, MS * source.median_time, bits, nonce,
                block.size, block.weight, block.n_tx, len(block.in_pos) - 1, len(block.out_pos),
                block_subsidy(source.height, self._params), fee,
            ))  # fmt: skip
        schema = self._schemas["blocks"]
        columns: list[Any] = list(zip(*rows, strict=True)) or [()] * len(schema)
        return {field.name: pa.array(column, field.type) for field, column in zip(schema, columns, strict=True)}

    def _transactions(self, group: _Group) -> dict[str, pa.Array]:
        raw, txs = group.raw, group.txs
        size = group.tx_end - group.tx_start
        witness = np.where(group.has_witness, group.tx_end - 4 - group.witness_pos + 2, 0)  # with marker and flag
        if group.coins is None:
            fee = pa.nulls(len(group.tx), pa.int64())
        else:
            fee = number_array(group.fees(group.coins), pa.int64(), group.tx != 0)
        wtxids = list(chain.from_iterable([source.block.wtxids for source in group.sources]))
        return {
            "height": number_array(group.by_block(txs), pa.int32()),
            "tx": number_array(group.tx, pa.int32()),
            "txid": hash_array(_txids(group)),
            "wtxid": hash_array(turned(wtxids)),
            "version": number_array(numbers_at(raw, group.tx_start, "<u4"), pa.uint32()),
            "lock_time": number_array(numbers_at(raw, group.tx_end - 4, "<u4"), pa.uint32()),
            "size": number_array(size, pa.int32()),
            "weight": number_array(4 * size - 3 * witness, pa.int32()),
            "input_count": number_array(group.in_count, pa.int32()),
            "output_count": number_array(group.out_count, pa.int32()),
            "value_out": number_array(group.values_out(), pa.int64()),
            "fee": fee,
        }

    def _inputs(self, group: _Group) -> dict[str, pa.Array]:
        raw, positions = group.raw, group.in_pos
        starts, ends = bodies_at(raw, positions + 36)
        columns = {
            "height": number_array(group.by_block(group.ins), pa.int32()),
            "tx": number_array(np.repeat(group.tx, group.in_count), pa.int32()),
            "input": number_array(within(group.in_count), pa.int32()),
            "prev_txid": hash_array(hashes_at(raw, positions)),
            "prev_output": number_array(numbers_at(raw, positions + 32, "<u4"), pa.uint32()),
            "sequence": number_array(numbers_at(raw, ends, "<u4"), pa.uint32()),
            "script_sig": binary_array(pieces(raw, starts, ends), ends - starts),
            "witness": list_array(*_witnesses(group)),
        }
        if self._with_prevouts:
            columns |= _prevouts(group)
        return columns

    def _outputs(self, group: _Group) -> dict[str, pa.Array]:
        raw, counts = group.raw, group.out_count
        starts, ends = bodies_at(raw, group.out_pos + 8)
        txids = np.frombuffer(_txids(group), "V32")
        return {
            "height": number_array(group.by_block(group.outs), pa.int32()),
            "tx": number_array(np.repeat(group.tx, counts), pa.int32()),
            "output": number_array(within(counts), pa.int32()),
            "txid": hash_array(np.repeat(txids, counts).tobytes()),
            "value": number_array(group.values, pa.int64()),
            "type": kind_array(types_at(raw, starts, ends)),
            "script": binary_array(pieces(raw, starts, ends), ends - starts),
        }


def _txids(group: _Group) -> bytes:
    return turned(list(chain.from_iterable([source.block.txids for source in group.sources])))


def _prevouts(group: _Group) -> dict[str, pa.Array]:
    """The columns about coins: null where nothing is spent."""
    coins, spends = group.coins or _Coins(()), group.spends
    starts, ends = coins.scripts()
    if len(starts) != int(spends.sum()):
        raise OverflowError(f"{len(starts)} coins for {int(spends.sum())} inputs")
    heights: Numbers = coins.codes >> 1
    return {
        "prev_height": number_array(heights, pa.int32(), spends),
        "prev_coinbase": bool_array((coins.codes & 1).astype(np.bool_), spends),
        "prev_value": number_array(coins.values, pa.int64(), spends),
        "prev_type": kind_array(types_at(coins.raw, starts, ends), spends),
        "prev_script": binary_array(pieces(coins.raw, starts, ends), ends - starts, spends),
    }


def _witnesses(group: _Group) -> tuple[list[bytes], Ints]:
    """The items of all witnesses, and how many each input has."""
    raw = group.raw
    items: list[bytes] = []
    counts: list[int] = []
    add, count = items.append, counts.append
    there = np.flatnonzero(group.has_witness)
    for p, inputs in zip(group.witness_pos[there].tolist(), group.in_count[there].tolist(), strict=True):
        for _ in range(inputs):
            number = raw[p]
            p += 1
            if number >= 0xFD:
                number, p = read_compact_size(raw, p - 1)
            count(number)
            for _ in range(number):
                size = raw[p]
                p += 1
                if size >= 0xFD:
                    size, p = read_compact_size(raw, p - 1)
                end = p + size
                add(raw[p:end])
                p = end
    full = np.zeros(int(group.ins.sum()), np.int64)
    full[np.repeat(group.has_witness, group.in_count)] = counts
    return items, full


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
