"""A node from its start to its end.

Three stages, each a typed whole of what is there: opened, assembled, running. Every part has its closing pushed on one
exit stack when it starts; the end of the node, at whatever stage, is the unwinding of that stack.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from btcnode.node.launch import Launch, StartStopped
from btcnode.node.opening import OpenedNode, open_node
from btcnode.rpc.reply import LogBehind

if TYPE_CHECKING:
    from btcnode.node.assembling import AssembledNode
    from btcnode.node.running import RunningNode
    from btcnode.services.parts import NodeParts
    from btcnode.settings.settings import Settings

log = logging.getLogger("btcnode.node")


class Node:
    """One node in one event loop. It lives once: in ``run``, or in a block of ``life``."""

    def __init__(
        self,
        settings: Settings,
        *,
        announce: Callable[[str], None] = lambda text: None,
        show_warning: Callable[[str], None] = lambda text: None,
        log_behind: LogBehind = lambda: None,
    ) -> None:
        """Nothing is touched yet. ``announce`` is called with the text of each alert for the user's command,
        ``show_warning`` with what the user should know of the start, beside the log. What ``log_behind`` returns is
        awaited before RPC answers go out, so that the log has lines of what they did.
        """
        self.launch = Launch.of(settings, announce=announce, show_warning=show_warning, log_behind=log_behind)
        self.stage: Launch | OpenedNode | AssembledNode | RunningNode = self.launch

    @property
    def parts(self) -> NodeParts | None:
        """What it consists of, None until it is assembled."""
        return None if isinstance(self.stage, Launch | OpenedNode) else self.stage.parts

    async def run(
        self,
        *,
        on_loaded: Callable[[], None] = lambda: None,
        on_ready: Callable[[RunningNode], None] = lambda node: None,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        """Start, wait until somebody asks to stop, stop; raises what made the node fail.

        ``on_loaded`` is called when what the node is made of is imported, ``on_ready`` when it is up, ``on_stopping``,
        which may block, before it goes down again.
        """
        launch = self.launch
        try:
            async with self.life(on_loaded=on_loaded, on_stopping=on_stopping) as running:
                on_ready(running)
                await launch.control.stop_requested.wait()
        except StartStopped:
            log.info("the node was stopped before it was ready")
        launch.failure.check(str(launch.settings.log.debuglogfile or "the log"))

    @asynccontextmanager
    async def life(
        self, *, on_loaded: Callable[[], None] = lambda: None, on_stopping: Callable[[], None] = lambda: None
    ) -> AsyncIterator[RunningNode]:
        """A node that is ready inside, and closed, everything flushed, afterwards.

        Raises BtcnodeError with one line that says why it cannot start (StartStopped: it was asked to stop meanwhile),
        StorageError when the end cannot be written.
        """
        try:
            async with AsyncExitStack() as stack:
                stack.callback(_log_end)
                try:
                    yield await self._start(stack, on_loaded)
                finally:
                    self.launch.control.request_stop()
                    await asyncio.to_thread(on_stopping)
                    log.info("Shutdown in progress...")
        except StartStopped:
            if self.launch.failure.error is not None:  # which is why it was stopped
                raise self.launch.failure.error from None
            raise

    async def _start(self, stack: AsyncExitStack, on_loaded: Callable[[], None]) -> RunningNode:
        def load() -> None:
            _load_rest()
            on_loaded()

        self.stage = opened = await open_node(self.launch, stack, load)
        self.launch.check_stop()
        from btcnode.node.assembling import assemble
        from btcnode.node.running import bring_up_to_date, go_online

        self.stage = assembled = assemble(opened, stack)
        await bring_up_to_date(assembled, stack)
        self.stage = running = await go_online(assembled, stack)
        return running


def _load_rest() -> None:
    """Import what the second and third stage are made of: a tenth of a second, in which the disk can do its part."""
    import btcnode.node.assembling
    import btcnode.node.running
    import btcnode.rpc.methods.active_chain  # noqa: F401  (what others ask a node first)


def _log_end() -> None:
    log.info("Shutdown done")
