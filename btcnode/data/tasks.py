"""Carrying out tasks: on the workers of a Dask scheduler, on local processes, or in this process.

Dask does what there is to do with machines: it sends tasks to workers that are free, also those that join late, and
again where one was lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack
from time import monotonic, sleep
from typing import Any, TypeVar

from btcnode.data.local_processes import AHEAD, LocalProcesses, LostAgainError
from btcnode.errors import BtcnodeError, ConfigError

MAX_WORKERS = 1024  # processes of one machine
RETRIES = 3  # of a task whose worker was lost, or that has raised an error of the system
CONNECT_TIMEOUT_S = 10
LOOK_S = 1.0  # from one look at the workers to the next, while nothing is done
POLL_S = 0.01
NOBODY_TIMEOUT_S = 60.0  # without a worker, or without its scheduler, work is given up

T = TypeVar("T")
R = TypeVar("R")


class WorkersLostError(BtcnodeError):
    """Tasks could not be carried out: workers were lost again and again, or the scheduler was."""


def _handed_on(value: Any) -> Any:
    """What all tasks need is a result itself, so that Dask can make it again where it was lost with a worker."""
    return value


class TaskRunner(AbstractContextManager["TaskRunner"]):
    """Tasks are carried out by Dask's workers, or by ``workers`` processes of this machine where there is no scheduler.

    ``scheduler`` is an address (``tcp://host:8786``). With one worker, or one task, this process does the work.
    """

    def __init__(self, *, scheduler: str | None = None, workers: int = 1, patience_s: float = NOBODY_TIMEOUT_S) -> None:
        """Raises ConfigError where Dask is wanted and not there, or the scheduler cannot be reached.

        Where a scheduler has no workers for ``patience_s`` seconds, work is given up.
        """
        self._patience_s = patience_s
        self._stack = ExitStack()
        self._client: Any = None
        self._seen: set[str] = set()
        self._lost = 0
        if not 1 <= workers <= MAX_WORKERS:
            raise ConfigError(f"There can be 1 to {MAX_WORKERS} workers on one machine, not {workers}")
        self._local = LocalProcesses(workers, RETRIES)
        if scheduler is not None:
            self._client = self._connected(scheduler)

    @property
    def lost(self) -> int:
        """How many workers were there and are no more."""
        return self._lost if self._client is not None else self._local.lost

    def _connected(self, scheduler: str) -> Any:
        try:
            from distributed import Client
        except ImportError:
            raise ConfigError("This needs Dask: pip install 'btcnode[data]'") from None
        for name in ("distributed.client", "distributed.scheduler", "distributed.nanny"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what there is to say is said by our errors
        try:
            return self._stack.enter_context(Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False))
        except (OSError, ValueError) as error:
            self._stack.close()
            raise ConfigError(f"The scheduler {scheduler} cannot be reached: {error}") from None

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def run(self, function: Callable[[Any, T], R], shared: Any, tasks: Iterable[T]) -> Generator[R, None, None]:
        """``function(shared, task)`` of every task, in the order in which they are done.

        Raises what the function raises, ConfigError (workers without this package), WorkersLostError.
        """
        if self._client is not None:
            yield from self._run_there(function, shared, tasks)
            return
        try:
            yield from self._local.run(function, shared, tasks)
        except LostAgainError as error:
            raise WorkersLostError(
                f"processes were lost again and again ({error}): is there memory for them?"
            ) from None

    def _run_there(self, function: Callable[[Any, T], R], shared: Any, tasks: Iterable[T]) -> Generator[R, None, None]:
        from distributed import as_completed

        client, left = self._client, iter(tasks)
        common = client.submit(_handed_on, shared, pure=False)
        futures = as_completed(loop=client.loop)
        under_way = 0

        def send() -> int:
            """Send tasks until every worker has two."""
            sent = 0
            while under_way + sent < AHEAD * max(1, self._count_workers()) and (task := next(left, None)) is not None:
                futures.add(client.submit(function, common, task, pure=False, retries=RETRIES))
                sent += 1
            return sent

        under_way += send()
        alone_since: float | None = None
        while under_way:
            if not self._wait(futures):
                alone_since = None if self._count_workers() else alone_since or monotonic()
                if alone_since is not None and monotonic() - alone_since > self._patience_s:
                    raise WorkersLostError(f"the scheduler has had no workers for {self._patience_s:.0f} s")
                under_way += send()  # workers may have joined
                continue
            future = next(futures)
            try:
                result = self._result(future)
            finally:
                future.release()
            under_way -= 1
            under_way += send()
            yield result

    @staticmethod
    def _wait(futures: Any) -> bool:
        """Wait for a task to be done, for a while; whether one is."""
        end = monotonic() + LOOK_S
        while not futures.has_ready():
            if monotonic() > end:
                return False
            sleep(POLL_S)
        return True

    @staticmethod
    def _result(future: Any) -> Any:
        """What a task came to; raises what it has raised, ConfigError, WorkersLostError."""
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise WorkersLostError(f"workers were lost again and again: {error}") from None
        except CancelledError:
            raise WorkersLostError("the connection to the scheduler was lost: start anew, the work goes on") from None
        except ImportError as error:
            raise ConfigError(
                f"The workers lack what this needs (pip install 'btcnode[data]' there): {error}"
            ) from None

    def _count_workers(self) -> int:
        """How many workers there are; those that are gone are counted. Raises WorkersLostError."""
        try:
            there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, RuntimeError, ValueError):
            raise WorkersLostError("the connection to the scheduler was lost: start anew, the work goes on") from None
        self._seen |= there
        self._lost = len(self._seen - there)
        return len(there)
