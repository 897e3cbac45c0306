"""What a node has from the first moment on, before anything is opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from random import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from btcnode.errors import BtcnodeError, StorageError
from btcnode.record import record
from btcnode.rpc.methods import make_table
from btcnode.rpc.reply import LogBehind
from btcnode.services.alerts import Alerts
from btcnode.services.clock import Clock
from btcnode.services.control import Control
from btcnode.services.failure import Failure
from btcnode.shielding import shielded

if TYPE_CHECKING:
    from btcnode.networks.parameters import NetworkParams
    from btcnode.rpc.table import MethodTable
    from btcnode.settings.settings import Settings

log = logging.getLogger("btcnode.node")

T = TypeVar("T")


class StartStopped(BtcnodeError):
    """The node was asked to stop before it was ready."""

    def __init__(self) -> None:
        super().__init__("The node was asked to stop before it was ready")


@record
class Launch:
    """One start of a node and what follows from it. Used on the loop thread."""

    settings: Settings
    params: NetworkParams
    clock: Clock
    alerts: Alerts
    control: Control
    failure: Failure
    table: MethodTable  # answers a few methods at once, all of them when the node is ready
    rng: SystemRandom  # nonces go out to peers: a generator that they could predict would betray the rest
    show_warning: Callable[[str], object]
    log_behind: LogBehind

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        announce: Callable[[str], None] = lambda text: None,
        show_warning: Callable[[str], None] = lambda text: None,
        log_behind: LogBehind = lambda: None,
        check_results: bool = False,
    ) -> Launch:
        """``announce`` is called with the text of each alert that the user's command is told of, ``show_warning`` with
        what the user should know of the start, beside the log. ``log_behind``: see ``LogSetup.behind``.

        ``check_results``: every RPC result is held against its declaration (tests).
        """
        clock, alerts = Clock(settings.chain.mocktime), Alerts(announce)
        control = Control(settings, clock)
        return cls(
            settings=settings,
            params=settings.params,
            clock=clock,
            alerts=alerts,
            control=control,
            failure=Failure(control, alerts),
            table=make_table(control, check_results=check_results, wallets=not settings.wallet.disablewallet),
            rng=SystemRandom(),
            show_warning=show_warning,
            log_behind=log_behind,
        )

    def warn(self, text: str) -> None:
        """What the user should know, though the node starts: to the log, and to whoever shows it."""
        log.warning("%s", text)
        self.show_warning(text)

    def busy_with(self, status: str) -> None:
        """What the node does now: told to clients that ask too early, and to the log as Core writes it."""
        self.control.status = status
        log.info("init message: %s", status)

    def check_stop(self) -> None:
        """Raise StartStopped when the node is asked to stop."""
        if self.control.stop_requested.is_set():
            raise StartStopped

    async def in_thread(self, work: Callable[[], T], give_back: Callable[[T], object] = lambda result: None) -> T:
        """Run ``work`` beside the loop; whoever cancels this waits for its end, as it has files open.

        What it has made then, ``give_back`` closes, in the thread.
        """
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(None, work)
        try:
            return await shielded(running)
        except asyncio.CancelledError:
            self.control.request_stop()
            await _ended(running)
            if running.exception() is None:
                await _ended(loop.run_in_executor(None, give_back, running.result()))
            raise

    async def until_stopped(self, work: Coroutine[Any, Any, object]) -> None:
        """Await ``work``; raises StartStopped, having given it up, when the node is asked to stop meanwhile."""
        task = asyncio.ensure_future(work)
        waiter = asyncio.ensure_future(self.control.stop_requested.wait())
        try:
            await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            given_up = not task.done()
            task.cancel()
            await asyncio.gather(task, waiter, return_exceptions=True)
        if given_up:
            raise StartStopped
        task.result()
        self.check_stop()


async def _ended(running: asyncio.Future[Any]) -> None:
    """Wait until it is done, however often the waiting is cancelled."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({running})


def closes(stack: AsyncExitStack, launch: Launch, close: Callable[[], Awaitable[object]]) -> None:
    """Have ``close`` (a coroutine function) run when the node goes down.

    A StorageError is raised, unless something else has made the node go down: then it follows from that, and is logged.
    """

    async def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            await close()
        except StorageError as second:
            if launch.failure.error is None and (error is None or isinstance(error, StartStopped)):
                raise
            log.error("%s", second)
        return False

    stack.push_async_exit(leave)
