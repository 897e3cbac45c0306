"""Carrying out tasks on processes of this machine, where there is no scheduler.

The processes are those of the standard library's pool. It ends all of them when one is lost: then there is another
pool, and what was under way is done again.

A process is forked off this one, which has imported all that it needs, so that it begins in a hundredth of a second
where a fresh interpreter takes half a second of a processor. That may only be done while no other thread of Python's
runs here, since it could hold a lock for ever: with others there are fresh interpreters.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, Generic, NamedTuple, TypeVar

from btcnode.side_processes import end_first

AHEAD = 2  # tasks for each process that are sent before results are there

T = TypeVar("T")
R = TypeVar("R")


class _Waiting(NamedTuple, Generic[T]):
    """A task, and how often the process that had it was lost."""

    task: T
    lost: int = 0


_held: list[
    tuple[Callable[[Any, Any], Any], Any]
] = []  # in a process of the pool: the function, and what all tasks need


def _begin(function: Callable[[Any, Any], Any], shared: Any) -> None:
    """Make a process of the pool ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted is the program that hands out the work
    end_first()
    gc.freeze()  # what was there before the fork stays where it is
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _held[:] = [(function, shared)]


def _end_with_parent() -> None:
    """End when the program that hands out the work is gone: the pool itself would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _carry_out(task: Any) -> Any:
    function, shared = _held[0]
    return function(shared, task)


def _context() -> Any:
    can_fork = "fork" in multiprocessing.get_all_start_methods() and threading.active_count() == 1
    return multiprocessing.get_context("fork" if can_fork else "spawn")


class LostAgainError(Exception):
    """A task whose processes were lost again and again."""


class LocalProcesses:
    """At most ``workers`` processes, as many as there are tasks; ``retries`` of a task whose process was lost."""

    def __init__(self, workers: int, retries: int) -> None:
        self.lost = 0  # processes that were killed
        self._workers = workers
        self._retries = retries

    def run(self, function: Callable[[Any, T], R], shared: Any, tasks: Iterable[T]) -> Generator[R, None, None]:
        """``function(shared, task)`` of every task, in the order in which they are done; a single one is done here.

        Raises what the function raises, and LostAgainError.
        """
        left = iter(tasks)
        first = list(islice(left, self._workers))
        if len(first) < 2:
            for task in chain(first, left):
                yield function(shared, task)
            return
        waiting: deque[_Waiting[T]] = deque()
        left = chain(first, left)
        while True:
            before = set(multiprocessing.active_children())
            pool = ProcessPoolExecutor(len(first), _context(), _begin, (function, shared))
            is_done = False
            try:
                yield from self._until_lost(pool, waiting, left, AHEAD * len(first))
                is_done = True
            finally:
                if not is_done:  # nobody wants what is under way, which may take minutes
                    for process in set(multiprocessing.active_children()) - before:
                        process.terminate()
                pool.shutdown(cancel_futures=True)
            if not waiting:
                return
            self.lost += 1
            if max(item.lost for item in waiting) > self._retries:
                raise LostAgainError(f"{self._retries + 1} times")

    def _until_lost(
        self, pool: ProcessPoolExecutor, waiting: deque[_Waiting[T]], left: Iterator[T], most: int
    ) -> Generator[Any, None, None]:
        """Carry out what waits and then what is left; where a process is lost, what was under way waits again."""
        under_way: dict[Future[Any], _Waiting[T]] = {}
        is_broken = False
        while True:
            while not is_broken and len(under_way) < most:
                if not waiting:
                    waiting.extend(_Waiting(task) for task in islice(left, 1))
                if not waiting:
                    break
                try:
                    future = pool.submit(_carry_out, waiting[0].task)
                except BrokenProcessPool:
                    is_broken = True
                else:
                    under_way[future] = waiting.popleft()
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                item = under_way.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    is_broken = True
                    waiting.append(item._replace(lost=item.lost + 1))
                    continue
                yield result
