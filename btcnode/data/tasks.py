"""Carrying out tasks on Dask: a scheduler's workers, local processes, or this process.

Dask does what has to be done there: it sends tasks to workers that are free, and again where one was lost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

from btcnode.errors import BtcnodeError, ConfigError

RETRIES = 3  # of a task whose worker was lost, or that has raised an error of the system
AHEAD = 2  # tasks for each worker that are sent before results are there: bounds what waits anywhere
CONNECT_TIMEOUT_S = 30

T = TypeVar("T")
R = TypeVar("R")


class WorkersLostError(BtcnodeError):
    """A task could not be carried out: its worker was lost, again and again."""


def _handed_on(value: Any) -> Any:
    """What all tasks need is a result itself, so that Dask can make it again where it was lost with a worker."""
    return value


class TaskRunner(AbstractContextManager["TaskRunner"]):
    """Tasks are carried out by Dask's workers, or here where there is neither ``scheduler`` nor a second worker.

    ``scheduler`` is an address (``tcp://host:8786``), ``workers`` the number of local processes without one.
    """

    def __init__(self, *, scheduler: str | None = None, workers: int = 1) -> None:
        """Raises ConfigError where Dask is wanted and not there, or the scheduler cannot be reached."""
        self.lost = 0  # workers that were there, and are no more
        self._stack = ExitStack()
        self._client: Any = None
        self._seen: set[str] = set()
        if workers < 1:
            raise ConfigError(f"There have to be workers: {workers}")
        if scheduler is not None or workers > 1:
            self._client = self._connected(scheduler, workers)

    def _connected(self, scheduler: str | None, workers: int) -> Any:
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            raise ConfigError("This needs Dask: pip install 'btcnode[data]'") from None
        address: Any = scheduler
        if scheduler is None:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
            address = self._stack.enter_context(cluster)
        try:
            return self._stack.enter_context(Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False))
        except (OSError, ValueError) as error:
            self._stack.close()
            raise ConfigError(f"The scheduler {scheduler} cannot be reached: {error}") from None

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def run(self, function: Callable[[Any, T], R], shared: Any, tasks: Iterable[T]) -> Iterator[R]:
        """``function(shared, task)`` of every task, in the order in which they are done.

        Raises what the function raises, WorkersLostError.
        """
        if self._client is None:
            for task in tasks:
                yield function(shared, task)
            return
        yield from self._run_there(function, shared, tasks)

    def _run_there(self, function: Callable[[Any, T], R], shared: Any, tasks: Iterable[T]) -> Iterator[R]:
        from distributed import KilledWorker, as_completed

        client, left = self._client, iter(tasks)
        common = client.submit(_handed_on, shared, pure=False)

        def send() -> list[Any]:
            task = next(left, None)
            return [] if task is None else [client.submit(function, common, task, pure=False, retries=RETRIES)]

        known = max(1, self._count_workers())
        futures = as_completed([future for _ in range(AHEAD * known) for future in send()], loop=client.loop)
        for future in futures:
            try:
                result = future.result()
            except KilledWorker as error:
                raise WorkersLostError(f"workers were lost again and again: {error}") from None
            finally:
                future.release()
            self._count_workers()
            futures.update(send())
            yield result

    def worker_processes(self) -> dict[int, str]:
        """Process ids of the workers, and their addresses; empty where the work is done here."""
        if self._client is None:
            return {}
        return {process: address for address, process in self._client.run(os.getpid).items()}

    def _count_workers(self) -> int:
        """How many workers there are; those that are gone are counted."""
        there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        self._seen |= there
        self.lost = len(self._seen - there)
        return len(there)
