"""Tasks on processes of this machine: a process that is lost, a task that loses each, a program that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from btcnode.data.local_processes import AHEAD
from btcnode.data.tasks import TaskRunner, WorkersLostError
from tests.lib.process import wait_until


def where(_: None, task: int) -> tuple[int, int]:
    return task, os.getpid()


def where_all_met(shared: tuple[Path, int], task: int) -> tuple[int, int]:
    """Wait until so many processes have begun a task: none can be done before another is there to have its share."""
    place, processes = shared
    (place / str(os.getpid())).touch()
    wait_until(lambda: len(list(place.iterdir())) >= processes, what=f"a meeting of {processes} processes")
    return task, os.getpid()


def kills_itself(shared: Path, task: int) -> int:
    """The task ``3`` takes its process with it, as often as there are files that it can delete."""
    if task == 3 and (marks := list(shared.iterdir())):
        marks[0].unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def fails(shared: object, task: int) -> int:
    if task == 3:
        raise ValueError("three")
    return task


def test_tasks_are_shared_among_processes(tmp_path: Path) -> None:
    with TaskRunner(workers=3) as runner:
        found = list(runner.run(where_all_met, (tmp_path, 3), range(30)))
    assert sorted(task for task, _ in found) == list(range(30))
    processes = {process for _, process in found}
    assert len(processes) == 3 and os.getpid() not in processes
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("tasks", "processes"), [(0, 0), (1, 0), (2, 2)])
def test_there_are_no_more_processes_than_tasks(tmp_path: Path, tasks: int, processes: int) -> None:
    """A single one is done here: a process would only cost its start."""
    found: list[int] = []
    with TaskRunner(workers=4) as runner:
        for _, process in runner.run(where_all_met, (tmp_path, processes), range(tasks)):
            found.append(process)
            assert len(multiprocessing.active_children()) == processes
    assert len(found) == tasks and len({*found} - {os.getpid()}) == processes


def test_tasks_are_not_all_held_at_once() -> None:
    given: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(40):
            given.append(number)
            yield number

    with TaskRunner(workers=2) as runner:
        for done, _ in enumerate(runner.run(where, None, tasks()), 1):
            assert len(given) <= done + AHEAD * 2 + 1
    assert given == list(range(40))


@pytest.mark.parametrize("thread", [False, True], ids=["forked", "fresh"])
def test_a_process_that_is_killed_changes_nothing(tmp_path: Path, thread: bool) -> None:
    """Also where another thread runs, so that processes cannot be forked."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    if thread:
        other.start()
    try:
        (tmp_path / "once").touch()
        with TaskRunner(workers=2) as runner:
            assert sorted(runner.run(kills_itself, tmp_path, range(20))) == list(range(20))
            assert runner.lost == 1
    finally:
        ended.set()
        if thread:
            other.join()
    assert not multiprocessing.active_children()


def test_a_task_that_loses_every_process_is_given_up(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    with TaskRunner(workers=2) as runner, pytest.raises(WorkersLostError, match=r"again and again \(4 times\)"):
        list(runner.run(kills_itself, tmp_path, range(20)))
    assert not multiprocessing.active_children()


def test_what_a_task_raises_is_raised() -> None:
    with TaskRunner(workers=2) as runner, pytest.raises(ValueError, match="three"):
        list(runner.run(fails, None, range(20)))
    assert not multiprocessing.active_children()


def test_work_that_nobody_wants_any_more_is_ended() -> None:
    """Not waited for: what is under way may take minutes, and this test ends long before."""
    with TaskRunner(workers=2) as runner, closing(runner.run(mixed, None, range(4))) as found:
        assert next(found) == 0
    assert not multiprocessing.active_children()


def mixed(shared: object, task: int) -> int:
    if task:
        time.sleep(1000)
    return task


PROGRAM = """
import os, sys, time
from btcnode.data.tasks import TaskRunner
def work(shared, task):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(1000)
with TaskRunner(workers=3) as runner:
    list(runner.run(work, None, range(3)))
"""


def test_processes_end_with_a_program_that_is_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(3)]
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), 60, "the workers' end")
    process.stdout.close()


def is_alive(process: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
