"""Writing the tables as Parquet, by ranges of heights, so that a kill at any moment leaves whole partitions only.

::

    <out>/export.json                           what is exported: network, tables, with prevouts or not
    <out>/<table>/0000900000-0000900999.parquet
    <out>/manifest/0000900000-0000900999.json   hashes of the partition's blocks; with it the partition is there

Workers write files of names that nobody else has (a task may be carried out twice at once: Dask gives one to another
worker when it takes the first for lost). Only the process that hands out the work gives them their names, and writes
the manifest, which comes last and goes first: files without one are of no partition, and the next export deletes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from btcnode.data.block_reader import FolderSource, Place, SourceBlock
from btcnode.data.folder import BlockFolder, Chain
from btcnode.data.ranges import PARTITION, check_partition, checked_range, partitions
from btcnode.data.rows import batches_of
from btcnode.data.schema import DICTIONARIES, ORDER, TABLES, VERSION, schema_of
from btcnode.data.tasks import TaskRunner
from btcnode.errors import ConfigError, DecodeError, StorageError
from btcnode.files import parse_json, read_limited
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import from_display, to_display
from btcnode.storage.durable import storage_error, sync_directory, sync_file, write_durably
from btcnode.storage.layout import LOCK_FILE
from btcnode.storage.locking import DirectoryLock

EXPORT_FILE = "export.json"
MANIFEST_DIR = "manifest"
COMPRESSION = "zstd"
MANIFEST_ROOM = 1 << 20  # bytes of a manifest beside its hashes, and of the file that says what is exported
MANIFEST_BLOCK = 80  # bytes for each hash
_OWN_FILE = re.compile(r"\.\d{10,}-\d{10,}\.([0-9a-f]{16}|json)\.new")  # while it is written


class Partition(NamedTuple):
    """A range of heights, both included."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Of its files, without their suffix: the names sort as the heights do."""
        return f"{self.first:010d}-{self.last:010d}"

    @classmethod
    def named(cls, name: str) -> Partition | None:
        """The inverse of ``name``, None for another name."""
        first, _, last = name.partition("-")
        if not (first.isdecimal() and last.isdecimal()):
            return None
        found = cls(int(first), int(last))
        return found if found.name == name else None

    def covers(self, other: Partition) -> bool:
        """Whether the other lies in it."""
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True, slots=True)
class ExportForm:
    """What an export has: ``tables``, coins that are spent or not, blocks of its largest partitions."""

    tables: tuple[str, ...] = TABLES
    with_prevouts: bool = False
    partition: int = PARTITION

    @classmethod
    def checked(cls, tables: Iterable[str], with_prevouts: bool, partition: int) -> ExportForm:
        """Raises ConfigError for a table that there is not, or a partition of another size."""
        names = tuple(dict.fromkeys(tables))
        for name in names:
            if name not in TABLES:
                raise ConfigError(f"There is no table {name or 'without a name'}: there are {', '.join(TABLES)}")
        return cls(tuple(sorted(names, key=TABLES.index)), with_prevouts, check_partition(partition))


class _ExportTask(NamedTuple):
    partition: Partition
    places: list[Place]


class _Shared(NamedTuple):
    source: FolderSource
    out: str
    form: ExportForm


class Written(NamedTuple):
    """A partition that was written: hashes of its blocks (as people write them), inputs, bytes of the blocks.

    ``files`` are the files of its tables, which have no names yet, with ``rows`` and ``sizes`` in bytes.
    """

    partition: Partition
    hashes: list[str]
    inputs: int
    block_bytes: int
    files: dict[str, str]
    rows: dict[str, int]
    sizes: dict[str, int]

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        return len(self.hashes)


@dataclass(slots=True)
class Exported:
    """What came of an export: partitions written, found there already, and removed since the chain is another."""

    first: int
    last: int
    written: list[Written] = field(default_factory=list)
    kept: int = 0
    removed: int = 0

    @property
    def blocks(self) -> int:
        """Blocks written."""
        return sum(item.blocks for item in self.written)

    @property
    def block_bytes(self) -> int:
        """Bytes of the blocks written, as serialised."""
        return sum(item.block_bytes for item in self.written)


class ExportFolder:
    """The folder of an export."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def table_path(self, table: str, partition: Partition) -> Path:
        """The file of a table."""
        return self.out / table / f"{partition.name}.parquet"

    def manifest_path(self, partition: Partition) -> Path:
        """The file that says that a partition is whole."""
        return self.out / MANIFEST_DIR / f"{partition.name}.json"

    def form(self) -> tuple[ExportForm, str]:
        """What was exported, and of which chain; raises ConfigError where this is no export."""
        try:
            told = parse_json(read_limited(self.out / EXPORT_FILE, MANIFEST_ROOM))
            form = ExportForm(tuple(told["tables"]), told["prevouts"], told["partition"])
            version, chain = told["version"], told["chain"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(f"{self.out} is no folder of an export") from None
        if version != VERSION:
            raise ConfigError(f"{self.out} was exported in form {version}, this version knows {VERSION}")
        return form, chain

    def prepare(self, form: ExportForm, params: NetworkParams) -> None:
        """Make the folder, or see that it has an export of this form; clear away what a kill has left.

        Raises ConfigError, StorageError.
        """
        try:
            is_export = (self.out / EXPORT_FILE).exists()
            others = self.out.is_dir() and any(entry.name != LOCK_FILE for entry in self.out.iterdir())
        except OSError as error:
            raise storage_error(error, f"cannot read {self.out}") from None
        if is_export:
            if self.form() != (form, params.chain):
                raise ConfigError(
                    f"{self.out} has an export of another network, of other tables or partitions: choose another folder"
                )
        elif others:
            raise ConfigError(f"{self.out} has other files: choose another folder")
        try:
            for name in (*form.tables, MANIFEST_DIR):
                (self.out / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot make {self.out}") from None
        told = {
            "version": VERSION,
            "chain": params.chain,
            "tables": list(form.tables),
            "prevouts": form.with_prevouts,
            "partition": form.partition,
        }
        write_durably(self.out / EXPORT_FILE, json.dumps(told, indent=1).encode())
        self.clear_away(form)

    def clear_away(self, form: ExportForm) -> None:
        """Delete files that are of no partition; raises StorageError."""
        whole = {partition.name for partition in self.partitions()}
        try:
            for name in (*form.tables, MANIFEST_DIR):
                for path in (self.out / name).iterdir():
                    if _is_left_over(path.name, whole):
                        path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot clear away in {self.out}") from None

    def partitions(self) -> list[Partition]:
        """The partitions that are whole, by height."""
        found = [Partition.named(path.stem) for path in (self.out / MANIFEST_DIR).glob("*.json")]
        return sorted(partition for partition in found if partition is not None)

    def _manifest(self, partition: Partition) -> Any:
        """What a manifest says, None where it cannot be read."""
        room = MANIFEST_ROOM + MANIFEST_BLOCK * (partition.last - partition.first + 1)
        try:
            return parse_json(read_limited(self.manifest_path(partition), room))
        except (OSError, ValueError):
            return None

    def hash_at(self, partition: Partition, height: int) -> bytes:
        """Hash of a block of a partition, empty where its manifest has none."""
        try:
            return from_display(self._manifest(partition)["hashes"][height - partition.first])
        except (AttributeError, DecodeError, LookupError, TypeError, ValueError):
            return b""

    def is_whole(self, partition: Partition, tables: Sequence[str]) -> bool:
        """Whether its files are there, and as large as they were written."""
        try:
            sizes = self._manifest(partition)["bytes"]
            return all(self.table_path(table, partition).stat().st_size == sizes[table] for table in tables)
        except (OSError, LookupError, TypeError):
            return False

    def name_files(self, written: Written) -> None:
        """Give the files of a partition their names, then write its manifest; raises StorageError."""
        partition = written.partition
        manifest = self.manifest_path(partition)
        try:
            manifest.unlink(missing_ok=True)
            for table, name in written.files.items():
                path = self.table_path(table, partition)
                path.with_name(name).replace(path)
                sync_directory(path.parent)
        except FileNotFoundError:
            text = f"{self.out} has not what the workers have written: is it the same folder on all machines?"
            raise StorageError(text) from None
        except OSError as error:
            raise storage_error(error, f"cannot write to {self.out}") from None
        told = {
            "from": partition.first,
            "to": partition.last,
            "rows": written.rows,
            "bytes": written.sizes,
            "hashes": written.hashes,
        }
        write_durably(manifest, json.dumps(told).encode())

    def remove(self, partition: Partition, tables: Sequence[str]) -> None:
        """Delete a partition, its manifest first; raises StorageError."""
        try:
            self.manifest_path(partition).unlink(missing_ok=True)
            sync_directory(self.out / MANIFEST_DIR)
            for table in tables:
                self.table_path(table, partition).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot delete a partition in {self.out}") from None


def _is_left_over(name: str, whole: Collection[str]) -> bool:
    """Whether a file is one that a kill has left, or of no partition: others are not ours to delete."""
    if _OWN_FILE.fullmatch(name):
        return True
    stem, dot, suffix = name.partition(".")
    return dot + suffix == ".parquet" and Partition.named(stem) is not None and stem not in whole


def export_chain(
    folder: BlockFolder,
    out: Path,
    form: ExportForm,
    *,
    first: int = 0,
    last: int | None = None,
    runner: TaskRunner,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Bring the export in ``out`` up to date with the chain in ``folder``, from height ``first`` to ``last``.

    What is there already stays; partitions with blocks that are of the chain no more are removed. ``show`` is told how
    many of how many blocks are done. Raises ConfigError, DataError, StorageError, WorkersLostError.
    """
    chain = folder.chain()
    first, last = checked_range(first, last, chain.tip)
    out = out.absolute()  # workers are elsewhere
    try:
        if out.resolve().is_relative_to(folder.directory.resolve()):
            raise ConfigError(f"{out} lies in the folder of the block files: choose another folder")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, f"cannot make {out}") from None
    except RuntimeError:
        raise StorageError(f"cannot make {out}: its symbolic links lead nowhere") from None
    lock = DirectoryLock(out)
    try:
        target = ExportFolder(out)
        target.prepare(form, folder.params)
        result = Exported(first, last)
        there = _those_of_chain(target, chain, form, result)
        tasks = []
        for partition in [Partition(*bounds) for bounds in partitions(first, last, form.partition)]:
            if any(other.covers(partition) for other in there):
                result.kept += 1
            else:
                tasks.append(_ExportTask(partition, chain.places(*partition)))
        total = sum(len(task.places) for task in tasks)
        shared = _Shared(folder.source, str(out), form)
        try:
            with closing(runner.run(_write_task, shared, tasks)) as found:
                for written in found:
                    target.name_files(written)
                    for other in there:
                        if written.partition.covers(other):
                            target.remove(other, form.tables)
                    result.written.append(written)
                    show(result.blocks, total)
        except BaseException:
            with suppress(StorageError):
                target.clear_away(form)  # what others have begun: the disk may be full
            raise
        if runner.lost:
            target.clear_away(form)  # what they have begun
        return result
    finally:
        lock.release()


def _those_of_chain(target: ExportFolder, chain: Chain, form: ExportForm, result: Exported) -> list[Partition]:
    """The partitions that the chain still has; others are removed, and those that a larger one has made needless.

    A chain that only ends earlier (a node that syncs anew) takes nothing away.
    """
    partitions = target.partitions()
    tip_hash = chain.hash(chain.tip)
    is_behind = any(
        one.first <= chain.tip <= one.last and target.hash_at(one, chain.tip) == tip_hash for one in partitions
    )
    good: list[Partition] = []
    for partition in partitions:
        is_whole = target.is_whole(partition, form.tables)
        if partition.last <= chain.tip:
            is_of_chain = target.hash_at(partition, partition.last) == chain.hash(partition.last)
        else:
            is_of_chain = is_behind
        if is_whole and is_of_chain:
            good.append(partition)
        else:
            target.remove(partition, form.tables)
            result.removed += 1
    needless = [one for one in good if any(other != one and other.covers(one) for other in good)]
    for partition in needless:  # a kill between a large partition's manifest and this
        target.remove(partition, form.tables)
        result.removed += 1
    return [one for one in good if one not in needless]


def _write_task(shared: _Shared, task: _ExportTask) -> Written:
    """Write the files of one partition, in whichever process this is."""
    found = shared.source.read(task.places, with_coins=shared.form.with_prevouts)
    return write_files(Path(shared.out), task.partition, found, shared.form, shared.source.params)


def write_files(
    out: Path, partition: Partition, blocks: Iterable[SourceBlock], form: ExportForm, params: NetworkParams
) -> Written:
    """Write the files of a partition beside the names that ``ExportFolder.name_files`` gives them.

    ``blocks`` may come from anywhere. Raises DataError for amounts that no column can hold, StorageError, and what
    reading the blocks raises.
    """
    target = ExportFolder(out)
    hashes: list[str] = []
    counts = {"inputs": 0, "bytes": 0}

    def counted() -> Iterable[SourceBlock]:
        for source in blocks:
            hashes.append(to_display(source.block.hash))
            counts["inputs"] += len(source.block.in_pos) - 1
            counts["bytes"] += source.block.size
            yield source

    own = f".{partition.name}.{token_hex(8)}.new"
    fresh = {table: target.table_path(table, partition).with_name(own) for table in form.tables}
    try:
        rows = _write_tables(fresh, counted(), form, params)
        sizes = {}
        for table, path in fresh.items():
            sync_file(path)
            sizes[table] = path.stat().st_size
    except BaseException as error:
        for path in fresh.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise storage_error(error, f"cannot write to {out}") from None
        raise
    names = {table: path.name for table, path in fresh.items()}
    return Written(partition, hashes, counts["inputs"], counts["bytes"], names, rows, sizes)


def _write_tables(
    paths: dict[str, Path], blocks: Iterable[SourceBlock], form: ExportForm, params: NetworkParams
) -> dict[str, int]:
    """Write all tables side by side; returns how many rows each has. Raises OSError."""
    rows = dict.fromkeys(paths, 0)
    with ExitStack() as opened:
        writers: dict[str, Any] = {}
        for table, path in paths.items():
            writers[table] = _writer(path, table, form)
            opened.callback(writers[table].close)
        for batches in batches_of(blocks, params, form.tables, with_prevouts=form.with_prevouts):
            for table, batch in batches.items():
                rows[table] += batch.num_rows
                # one row group each time: those of all tables have the rows of the same blocks
                writers[table].write_table(pa.Table.from_batches([batch]), row_group_size=max(batch.num_rows, 1))
    return rows


def _writer(path: Path, table: str, form: ExportForm) -> Any:
    schema = schema_of(table, with_prevouts=form.with_prevouts)
    return pq.ParquetWriter(
        path,
        schema,
        compression=COMPRESSION,
        use_dictionary=[name for name in DICTIONARIES[table] if name in schema.names],
        sorting_columns=pq.SortingColumn.from_ordering(schema, [(name, "ascending") for name in ORDER[table]]),
        write_page_index=True,
    )
