"""Processes that work on bytes: when they begin, what becomes of work that they fail at, when they end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import pytest

from btcnode import side_processes
from btcnode.side_processes import SideProcesses

LIMIT_S = 60.0
LARGE = 3_000_000


def joined(*parts: bytes) -> tuple[bytes, bytes]:
    """What they are asked for here: the parts as one, and their number."""
    return b"".join(parts), b"%d" % len(parts)


def process_id() -> tuple[bytes]:
    return (b"%d" % os.getpid(),)


def fails() -> tuple[bytes]:
    raise ValueError


def waits() -> tuple[bytes]:
    time.sleep(0.5)
    return (b"",)


def ends() -> tuple[bytes]:
    os._exit(3)


def stands_still() -> tuple[bytes]:
    os.kill(os.getpid(), signal.SIGSTOP)
    return (b"",)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def result(answer: Future[Sequence[bytes] | None] | None) -> Sequence[bytes] | None:
    assert answer is not None
    return answer.result(LIMIT_S)


@pytest.fixture
def processes() -> Iterator[SideProcesses]:
    made = SideProcesses(2)
    yield made
    made.close()


def begun(processes: SideProcesses) -> None:
    """Have one begin."""
    assert processes.submit(joined, ()) is None
    assert processes.submit(joined, ()) is None
    until(lambda: len(processes.pids) == 1)


def test_bytes_go_in_and_come_out(processes: SideProcesses) -> None:
    begun(processes)
    large = os.urandom(LARGE)
    for parts in ((), (b"",), (b"one", b"", b"two"), (large, b"x", large)):
        assert result(processes.submit(joined, parts)) == list(joined(*parts))
    (found,) = result(processes.submit(process_id, ())) or ()
    assert int(found) in processes.pids and int(found) != os.getpid()


def test_one_begins_for_work_that_comes_again_and_another_where_the_first_has_enough(processes: SideProcesses) -> None:
    processes.allowed = False
    assert processes.submit(joined, ()) is None is processes.submit(joined, ())
    processes.allowed = True
    assert not processes._threads
    assert processes.submit(joined, ()) is None and not processes.pids  # it is on its way
    until(lambda: len(processes.pids) == 1)
    answers = [processes.submit(waits, ()) for _ in range(4)]
    assert [answer is None for answer in answers] == [False, False, True, True]  # the first has enough
    until(lambda: len(processes.pids) == 2)
    answers += [processes.submit(joined, (bytes(LARGE),)) for _ in range(10)]
    assert sum(answer is None for answer in answers[4:]) >= 7
    assert all(result(answer) for answer in answers if answer is not None)
    assert len(processes.pids) == 2


def test_work_that_comes_seldom_is_worth_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_processes, "PRESSING_S", 0.0)
    processes = SideProcesses(2)
    assert all(processes.submit(joined, ()) is None for _ in range(5))
    assert not processes._threads
    none = SideProcesses(0)
    assert none.submit(joined, ()) is None is none.submit(joined, ())


def test_who_asked_does_himself_what_fails(processes: SideProcesses) -> None:
    begun(processes)
    assert result(processes.submit(fails, ())) is None
    assert result(processes.submit(joined, (b"a",))) == [b"a", b"1"]  # by the same, which has not ended for that
    first = processes.pids[0]
    assert result(processes.submit(ends, ())) is None
    until(lambda: first not in processes.pids)
    processes.submit(joined, ())
    until(lambda: bool(processes.pids))
    assert result(processes.submit(joined, (b"b",))) == [b"b", b"1"]


def hangs() -> tuple[bytes]:
    time.sleep(1000)
    return (b"",)


@pytest.mark.parametrize("work", [stands_still, hangs])
def test_one_that_stands_still_is_ended(work: Callable[..., tuple[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that somebody has stopped at the next look, one that hangs after a minute."""
    monkeypatch.setattr(side_processes, "LOOK_S", 0.1)
    monkeypatch.setattr(side_processes, "ANSWER_S", 0.5 if work is hangs else 1000.0)
    processes = SideProcesses(1)
    begun(processes)
    pid = processes.pids[0]
    answers = [processes.submit(work, ()), processes.submit(joined, ())]
    assert [result(answer) for answer in answers] == [None, None]
    until(lambda: not _is_there(pid))
    processes.close()


def test_one_that_was_stopped_and_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_processes, "LOOK_S", 0.1)
    processes = SideProcesses(1)
    begun(processes)
    (pid,) = processes.pids
    os.kill(pid, signal.SIGSTOP)
    assert result(processes.submit(joined, (bytes(LARGE),))) is None
    until(lambda: not _is_there(pid))
    processes.close()


def test_it_ends_when_nobody_has_work_for_it_and_with_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_processes, "IDLE_S", 0.2)
    processes = SideProcesses(1)
    begun(processes)
    pid = processes.pids[0]
    until(lambda: not processes.pids and not _is_there(pid))
    monkeypatch.setattr(side_processes, "IDLE_S", 100.0)
    begun(processes)
    process = processes._running[0]
    process._sock.shutdown(2)  # as the end of the node closes it
    until(lambda: process.running.poll() is not None)
    processes.close()


def test_the_end_waits_for_nobody(processes: SideProcesses) -> None:
    begun(processes)
    pid = processes.pids[0]
    answers = [processes.submit(stands_still, ()), processes.submit(joined, ())]
    processes.close()
    assert [result(answer) for answer in answers] == [None, None]
    assert processes.submit(joined, ()) is None
    until(lambda: not _is_there(pid))


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
