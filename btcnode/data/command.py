"""``btcnode export`` and ``btcnode verify`` behind their words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from btcnode.data.block_reader import DataError
from btcnode.data.folder import BlockFolder
from btcnode.data.progress import ProgressBar
from btcnode.data.reading import require_arrow
from btcnode.data.tasks import TaskRunner
from btcnode.errors import ConfigError, DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import from_display
from btcnode.storage.durable import write_durably

MEGA = 1_000_000
MAX_POLL_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who does the work: a Dask ``scheduler``, or so many local ``workers`` (``usual`` where nothing is said)."""

    scheduler: str | None = None
    workers: int | None = None
    usual: int = 1

    def runner(self) -> TaskRunner:
        """To be entered; raises ConfigError."""
        if self.scheduler is not None and self.workers is not None:
            raise ConfigError("A scheduler has workers of its own: --workers cannot be given together with --scheduler")
        return TaskRunner(scheduler=self.scheduler, workers=self.usual if self.workers is None else self.workers)


@dataclass(frozen=True, slots=True)
class ExportWish:
    """What ``btcnode export`` was asked for; ``follow_s``: look for new blocks after so many seconds, for ever."""

    blocks_dir: Path
    params: NetworkParams
    out: Path
    first: int = 0
    last: int | None = None
    tables: str = "blocks,transactions,inputs,outputs"
    with_prevouts: bool = False
    partition: int = 1000
    follow_s: float | None = None


def export_command(wish: ExportWish, cluster: Cluster, say: Callable[[str], None]) -> None:
    """Export; with ``follow_s`` until it is interrupted. Raises BtcnodeError."""
    require_arrow()
    from btcnode.data.export import ExportForm, export_chain

    if wish.follow_s is not None and wish.last is not None:
        raise ConfigError("--follow goes on for ever: it cannot be given together with --to")
    if wish.follow_s is not None and not 0 < wish.follow_s <= MAX_POLL_S:
        raise ConfigError(f"Between two looks there are at most {MAX_POLL_S:.0f} seconds, not {wish.follow_s}")
    form = ExportForm.checked(wish.tables.split(","), wish.with_prevouts, wish.partition)
    folder = BlockFolder(wish.blocks_dir, wish.params)
    is_fresh = True
    with cluster.runner() as runner:
        while True:
            began = time.monotonic()
            try:
                with ProgressBar("export") as bar:
                    done = export_chain(
                        folder, wish.out, form, first=wish.first, last=wish.last, runner=runner, show=bar
                    )
            except DataError:
                if wish.follow_s is None or is_fresh:
                    raise
                # a node that was ended hard has written over the end of its files since they were read
                folder, is_fresh = BlockFolder(wish.blocks_dir, wish.params), True
                continue
            is_fresh = False
            seconds = time.monotonic() - began
            if done.written or done.removed or wish.follow_s is None:
                rate = done.block_bytes / MEGA / seconds
                say(
                    f"{done.first} to {done.last}: {done.blocks} blocks written in {len(done.written)} partitions"
                    f" ({done.block_bytes / MEGA:.1f} MB, {rate:.1f} MB/s), {done.kept} partitions were there,"
                    f" {done.removed} removed"
                )
            if wish.follow_s is None:
                return
            time.sleep(wish.follow_s)
            folder.refresh()


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """What ``btcnode verify`` was asked for. An export in ``tables_dir`` goes before the files."""

    blocks_dir: Path
    params: NetworkParams
    tables_dir: Path | None = None
    last: int | None = None
    muhash: str | None = None
    task_bytes: int = 16 << 20
    scratch: Path | None = None
    report: Path | None = None
    plot: Path | None = None


def verify_command(wish: VerifyWish, cluster: Cluster, say: Callable[[str], None]) -> bool:
    """Verify, say what came of it, write report and picture; returns whether all is valid. Raises BtcnodeError."""
    require_arrow()
    from btcnode.data.tables import TableChain
    from btcnode.data.verification import FolderWork, TableWork, Work, verify_chain

    if wish.muhash is not None:
        try:
            from_display(wish.muhash)
        except DecodeError as error:
            raise ConfigError(f"--muhash: {error}") from None
    if wish.task_bytes < 1:
        raise ConfigError("A task has at least one megabyte of blocks")
    if wish.scratch is not None and not wish.scratch.is_dir():
        raise ConfigError(f"There is no folder {wish.scratch}")
    for path in (wish.report, wish.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"There is no folder for {path}")
        if path is not None and path.exists() and not path.is_file():
            raise ConfigError(f"{path} is no file: it would be replaced")
    if wish.report is not None and wish.plot is not None and wish.report.absolute() == wish.plot.absolute():
        raise ConfigError("--report and --plot cannot be one file")
    work: Work
    if wish.tables_dir is not None:
        work = TableWork(TableChain(wish.tables_dir, wish.params))
    else:
        work = FolderWork(BlockFolder(wish.blocks_dir, wish.params))
    with cluster.runner() as runner, ProgressBar("verify") as bar:
        report = verify_chain(
            work,
            runner,
            last=wish.last,
            expected_muhash=wish.muhash,
            task_bytes=wish.task_bytes,
            scratch=wish.scratch,
            show=bar,
        )
    say(report.as_text())
    if wish.report is not None:
        write_durably(wish.report, json.dumps(report.as_json(), indent=1).encode())
    if wish.plot is not None:
        write_durably(wish.plot, report.picture().encode())
    return report.is_good
