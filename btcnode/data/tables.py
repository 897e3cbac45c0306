"""Blocks out of the tables of an export: byte for byte what they were made from.

The rows are made out of the blocks again and compared, so that those columns are proven too that no block has: fees,
sizes, types of scripts.
"""

from __future__ import annotations

import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from btcnode.chain.header_tree import HeaderTree
from btcnode.data.block_reader import DataError, SourceBlock
from btcnode.data.export import ExportFolder, Partition
from btcnode.data.rows import Batches
from btcnode.data.schema import TABLES
from btcnode.errors import ConfigError, DecodeError, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_coin
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.header import HEADER_STRUCT
from btcnode.primitives.tx import Tx

_HEADER_COLUMNS = ("version", "prev_hash", "merkle_root", "time", "bits", "nonce")
_ALL = "blocks, transactions, inputs and outputs"


class TablePlace(NamedTuple):
    """A row group of a partition: that of all its tables, with the rows of the same blocks; bytes of these blocks.

    ``prev_hash`` is that of the first block's parent, ``hash`` that of the last block, in internal order.
    """

    partition: Partition
    group: int
    first: int
    last: int
    size: int
    prev_hash: bytes
    hash: bytes


class TablesSource(NamedTuple):
    """What a worker process needs to read blocks of an export."""

    directory: str
    params: NetworkParams

    def read(self, places: Sequence[TablePlace], *, with_coins: bool) -> Iterator[SourceBlock]:
        """The blocks of these row groups; raises DataError where they are not as they were written."""
        folder = ExportFolder(Path(self.directory))
        for place in places:
            name = f"{place.partition.name}, heights {place.first} to {place.last}"
            try:
                yield from _blocks_of(folder, place, self.params, with_coins=with_coins)
            except _UNREADABLE as error:
                raise DataError(f"the tables of {name} cannot be read: {error}") from None


_UNREADABLE = (
    OSError, DecodeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error,
    pa.ArrowException,
)  # fmt: skip
"""What files come to that somebody has changed, or whose columns are others."""


class _Cursor:
    """The rows of a table of one row group, in turn; ``rows`` are all of them."""

    def __init__(self, folder: ExportFolder, table: str, place: TablePlace) -> None:
        with pq.ParquetFile(folder.table_path(table, place.partition)) as file:
            self.rows = file.read_row_group(place.group)
        columns = self.rows.to_pydict()
        self._names = tuple(columns)
        self._rows = zip(*columns.values(), strict=True)

    def take(self) -> dict[str, Any]:
        """The next row; raises DecodeError behind the last."""
        row = next(self._rows, None)
        if row is None:
            raise DecodeError("there are rows missing")
        return dict(zip(self._names, row, strict=True))


def _blocks_of(
    folder: ExportFolder, place: TablePlace, params: NetworkParams, *, with_coins: bool
) -> Iterator[SourceBlock]:
    cursors = {table: _Cursor(folder, table, place) for table in TABLES}
    blocks, transactions, inputs, outputs = cursors.values()
    prev_hash = place.prev_hash
    again = Batches(params, with_prevouts=True)
    found = []
    for height in range(place.first, place.last + 1):
        head = blocks.take()
        raws = [_header(head), compact_size(head["tx_count"])]
        coins: list[list[bytes]] = []
        for i in range(head["tx_count"]):
            fields = transactions.take()
            ins = [inputs.take() for _ in range(fields["input_count"])]
            outs = [outputs.take() for _ in range(fields["output_count"])]
            raws.append(_transaction(fields, ins, outs))
            if i:
                coins.append([_coin(row) for row in ins])
        block = parse_block(b"".join(raws))
        if block.prev_hash != prev_hash:
            raise DecodeError(f"the block at height {height} does not follow the one before it")
        prev_hash = block.hash
        source = SourceBlock(height, int(head["median_time"].timestamp()), block, coins)
        again.add(source)
        found.append(source if with_coins else source._replace(coins=None))
    if prev_hash != place.hash:
        raise DecodeError(f"the block at height {place.last} is not the one that was there before")
    for table, batch in again.take().items():
        rows = cursors[table].rows
        if not rows.equals(pa.Table.from_batches([batch])):
            raise DecodeError(f"the rows of {table} are not those that the blocks make{_difference(rows, batch)}")
    yield from found


def _difference(rows: Any, batch: pa.RecordBatch) -> str:
    for name in batch.schema.names:
        if name not in rows.schema.names or not rows[name].combine_chunks().equals(batch[name]):
            return f": column {name}"
    return ""


def _header(row: dict[str, Any]) -> bytes:
    when = int(row["time"].timestamp())
    return HEADER_STRUCT.pack(
        row["version"], row["prev_hash"][::-1], row["merkle_root"][::-1], when, row["bits"], row["nonce"]
    )


def _transaction(fields: dict[str, Any], ins: list[dict[str, Any]], outs: list[dict[str, Any]]) -> bytes:
    """The transaction's bytes."""
    stacks = [row["witness"] for row in ins]
    tx = Tx(
        fields["version"],
        [row["prev_txid"][::-1] + row["prev_output"].to_bytes(4, "little") for row in ins],
        [row["script_sig"] for row in ins],
        [row["sequence"] for row in ins],
        [make_coin(0, False, row["value"], row["script"])[4:] for row in outs],
        stacks if any(stacks) else None,
        fields["lock_time"],
    )
    return tx.raw


def _coin(row: dict[str, Any]) -> bytes:
    return make_coin(row["prev_height"], row["prev_coinbase"], row["prev_value"], row["prev_script"])


class TableChain:
    """The headers of an export that begins at the genesis block, checked, and where its blocks lie."""

    def __init__(self, directory: Path, params: NetworkParams) -> None:
        """Raises ConfigError where this is no export of all that verification needs, DataError for a bad header."""
        folder = ExportFolder(directory)
        form, chain = folder.form()
        if chain != params.chain:
            raise ConfigError(f"{directory} is an export of network {chain}, not {params.chain}")
        if form.tables != TABLES or not form.with_prevouts:
            raise ConfigError(f"{directory} does not have {_ALL} with prevouts: export it with --with-prevouts")
        self.source = TablesSource(str(directory.absolute()), params)  # workers are elsewhere
        self.tree = HeaderTree(params)
        self.groups: list[TablePlace] = []
        row = 0
        for partition in folder.partitions():
            if partition.first != (self.groups[-1].last + 1 if self.groups else 0):
                raise ConfigError(f"{directory} has no blocks before height {partition.first}: export from height 0")
            row = self._add(folder, partition, row)
        self.tip = row

    def _add(self, folder: ExportFolder, partition: Partition, row: int) -> int:
        """Take in the headers of a partition; returns the tree's row of the last."""
        now, height = int(time.time()), partition.first
        try:
            with pq.ParquetFile(folder.table_path("blocks", partition)) as file:
                for group in range(file.num_row_groups):
                    columns = file.read_row_group(group, [*_HEADER_COLUMNS, "size"]).to_pylist()
                    parent = row if height else -1
                    for fields in columns:
                        row, _ = self.tree.add(_header(fields), now)
                        if self.tree.height(row) != height:
                            raise DataError(f"the header at height {height} does not follow the one before it")
                        height += 1
                    size = sum(fields["size"] for fields in columns)
                    prev_hash = bytes(32) if parent < 0 else self.tree.hash(parent)
                    first, tip = height - len(columns), self.tree.hash(row)
                    self.groups.append(TablePlace(partition, group, first, height - 1, size, prev_hash, tip))
        except RuleViolation as violation:
            raise DataError(f"the header at height {height} is bad: {violation}") from None
        except _UNREADABLE as error:
            raise DataError(f"{partition.name} cannot be read: {error}") from None
        if height != partition.last + 1:
            raise DataError(f"{partition.name} has no row for height {height}, or too many")
        return row

    def hash(self, height: int) -> bytes:
        """Hash of the block at a height, internal order."""
        return self.tree.hash(self.tree.ancestor(self.tip, height))

    def median_times(self) -> array[int]:
        """Median time past of every block by height, Unix seconds."""
        times = array("I", bytes(4 * (self.tree.height(self.tip) + 1)))
        row = self.tip
        for height in range(len(times) - 1, -1, -1):
            times[height] = self.tree.median_time_past(row)
            row = self.tree.prev(row)
        return times
