"""Tasks on Dask: workers that come and go, a scheduler that is lost, two who write one partition."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.data.export import ExportFolder, ExportForm, Partition, export_chain, write_files
from btcnode.data.folder import BlockFolder
from btcnode.data.schema import TABLES
from btcnode.data.tasks import TaskRunner, WorkersLostError
from btcnode.errors import ConfigError, StorageError
from tests.lib.block_folder import busy_chain, folder_of
from tests.lib.mini_chain import REGTEST

WHOLE = ExportForm(TABLES, True, 10)


@pytest.fixture
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as found:
        yield found


def slow(shared: float, task: int) -> tuple[int, str]:
    from distributed import get_worker

    time.sleep(shared)
    return task, str(get_worker().address)


def lacking(shared: object, task: int) -> int:
    raise ModuleNotFoundError("No module named 'btcnode'")


def test_workers_that_join_late_have_work(cluster: Any) -> None:
    with TaskRunner(scheduler=cluster.scheduler_address) as runner:
        found = runner.run(slow, 0.1, range(40))
        first = next(found)
        cluster.scale(2)
        cluster.wait_for_workers(2)
        rest = list(found)
    assert sorted(task for task, _ in [first, *rest]) == list(range(40))
    by_worker = {worker: sum(name == worker for _, name in rest) for _, worker in rest}
    assert len(by_worker) == 2 and min(by_worker.values()) > 5, by_worker


def test_tasks_are_sent_by_the_number_of_workers(cluster: Any) -> None:
    given: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(20):
            given.append(number)
            yield number

    with TaskRunner(scheduler=cluster.scheduler_address) as runner:
        for done, _ in enumerate(runner.run(slow, 0.01, tasks()), 1):
            assert len(given) <= done + 2 * len(cluster.workers)
    assert given == list(range(20))


def test_a_scheduler_that_is_lost_is_told(cluster: Any) -> None:
    with TaskRunner(scheduler=cluster.scheduler_address) as runner:
        found = runner.run(slow, 0.2, range(50))
        next(found)
        ending = threading.Thread(target=cluster.close)
        ending.start()
        with pytest.raises(WorkersLostError, match="connection to the scheduler was lost"):
            list(found)
        ending.join()


def test_nobody_who_works_is_told(cluster: Any) -> None:
    cluster.scale(0)
    while cluster.scheduler.workers:
        time.sleep(0.05)
    with (
        TaskRunner(scheduler=cluster.scheduler_address, patience_s=0.5) as runner,
        pytest.raises(WorkersLostError, match="has had no workers"),
    ):
        list(runner.run(slow, 0.0, range(3)))


def test_workers_without_the_package_are_told(cluster: Any) -> None:
    with (
        TaskRunner(scheduler=cluster.scheduler_address) as runner,
        pytest.raises(ConfigError, match=r"workers lack .*No module named 'btcnode'"),
    ):
        list(runner.run(lacking, None, range(3)))


def test_a_relative_folder_is_the_same_for_workers_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that were started in another folder."""
    from distributed import LocalCluster

    chain = busy_chain(2)
    folder_of(chain, tmp_path / "here/blocks")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        TaskRunner(scheduler=cluster.scheduler_address) as runner,
    ):
        monkeypatch.chdir(tmp_path / "here")
        opened = BlockFolder(Path("blocks"), REGTEST)
        done = export_chain(opened, Path("out"), ExportForm(TABLES, True, 1000), runner=runner)
    assert done.blocks == chain.tip + 1
    assert ExportFolder(tmp_path / "here/out").partitions() == sorted(item.partition for item in done.written)
    assert not list((tmp_path / "there").iterdir())


def test_two_who_write_one_partition_do_not_meet(tmp_path: Path) -> None:
    """The worker that was taken for lost goes on while another has its task."""
    chain = busy_chain(2)
    folder = folder_of(chain, tmp_path / "blocks")
    opened = BlockFolder(folder.path, REGTEST)
    with TaskRunner() as runner:
        export_chain(opened, tmp_path / "whole", WHOLE, runner=runner, last=29)
        export_chain(opened, tmp_path / "out", WHOLE, runner=runner, last=19)
    partition = Partition(20, 29)
    places = opened.chain().places(*partition)
    first = opened.source.read(places, with_coins=True)

    def and_another() -> Iterator[Any]:
        for number, block in enumerate(first):
            if number == 5:
                again = opened.source.read(places, with_coins=True)
                target.name_files(write_files(tmp_path / "out", partition, again, WHOLE, REGTEST))
            yield block

    target = ExportFolder(tmp_path / "out")
    late = write_files(tmp_path / "out", partition, and_another(), WHOLE, REGTEST)
    assert target.partitions()[-1] == partition
    for table in TABLES:
        found, expected = (
            ExportFolder(tmp_path / name).table_path(table, partition).read_bytes() for name in ("out", "whole")
        )
        assert found == expected
    # what came too late is of no partition: the next export deletes it
    assert all((tmp_path / "out" / table / name).exists() for table, name in late.files.items())
    with TaskRunner() as runner:
        export_chain(opened, tmp_path / "out", WHOLE, runner=runner, last=29)
    assert not list((tmp_path / "out").rglob("*.new"))


def test_workers_that_write_to_another_disk_are_told(tmp_path: Path) -> None:
    chain = busy_chain(2)
    opened = BlockFolder(folder_of(chain, tmp_path / "blocks").path, REGTEST)

    class Elsewhere(TaskRunner):
        def run(self, function: Any, shared: Any, tasks: Any) -> Generator[Any, None, None]:
            for written in super().run(function, shared, tasks):
                for path in (tmp_path / "out").rglob("*.new"):
                    path.unlink()
                yield written

    with Elsewhere() as runner, pytest.raises(StorageError, match="same folder on all machines"):
        export_chain(opened, tmp_path / "out", WHOLE, runner=runner)
