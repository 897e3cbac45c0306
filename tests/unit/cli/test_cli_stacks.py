"""Stacks of threads and tasks on SIGUSR1."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from btcnode.cli import stacks
from btcnode.cli.stacks import StackDump, tasks_text
from tests.lib.process import wait_until


def written_times(path: Path, times: int) -> bool:
    return path.read_text().count("\nno event loop yet\n") == times  # a stack may show this very line: it is no match


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    before = signal.getsignal(signal.SIGUSR1)
    yield tmp_path / "stacks.txt"
    signal.signal(signal.SIGUSR1, before)


def test_threads_and_tasks_are_written_while_the_loop_is_stuck(path: Path) -> None:
    release = threading.Event()

    def thread_that_waits() -> None:
        release.wait(60)

    def written() -> str:
        return path.read_text()

    async def task_that_waits() -> None:
        await asyncio.Event().wait()

    async def stuck(dump: StackDump) -> None:
        dump.follow(asyncio.get_running_loop())
        task = asyncio.create_task(task_that_waits(), name="the patient one")
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_until(lambda: "the patient one" in written(), 20, "the stacks")  # the loop does not go on here
        task.cancel()

    thread = threading.Thread(target=thread_that_waits)
    thread.start()
    try:
        with closing(StackDump(path)) as dump:
            asyncio.run(stuck(dump))
    finally:
        release.set()
        thread.join()
    text = path.read_text()
    assert "thread_that_waits" in text and "in stuck" in text
    assert "the patient one" in text and "task_that_waits" in text and "2 tasks" in text


def test_a_file_without_stacks_goes_and_one_with_them_is_added_to(path: Path) -> None:
    with closing(StackDump(path)):
        assert path.exists()
    assert not path.exists()
    for n in range(2):
        with closing(StackDump(path)):
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until(partial(written_times, path, n + 1), 20, "the stacks")


def test_a_large_file_begins_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "MAX_FILE_BYTES", 10)
    path.write_text("x" * 11)
    with closing(StackDump(path)):
        assert path.read_text() == ""


def test_a_signal_behind_the_end_does_nothing(path: Path) -> None:
    StackDump(path).close()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not path.exists()


def test_only_so_many_tasks_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "MAX_TASKS", 3)

    async def many() -> str:
        tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(5)]
        text = tasks_text(asyncio.get_running_loop())
        for task in tasks:
            task.cancel()
        return text

    text = asyncio.run(many())
    assert "6 tasks" in text and "... and 3 more" in text
