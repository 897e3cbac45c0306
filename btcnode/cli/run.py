"""Running a node as a process: event loop, signals, log, display, exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from btcnode.cli.run_hooks import RunHooks
from btcnode.cli.stacks import StackDump
from btcnode.errors import BtcnodeError, RebuildError
from btcnode.node.node import Node
from btcnode.node.proxy_setup import listening_warnings
from btcnode.node.resources import fit_connections
from btcnode.observe.logging import LogSetup, RecentLines, console_stream
from btcnode.observe.progress import MIB, Snapshot, log_progress
from btcnode.services.snapshot import snapshot_of
from btcnode.settings.doors import Loaded, make_net_dir
from btcnode.storage.fault_note import FaultNote
from btcnode.storage.layout import STACKS_FILE
from btcnode.storage.locking import DirectoryLock

if TYPE_CHECKING:
    from btcnode.node.running import RunningNode
    from btcnode.settings.settings import Settings

GC_THRESHOLDS = (20_000, 4, 250)  # a mempool is a million objects without cycles: rarely looked at, few at a time
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed, None for asyncio's own."""
    try:
        import uvloop  # not on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def take_snapshot(node: Node) -> Snapshot:
    """The figures that the display shows, as far as the node has come up."""
    launch, parts = node.launch, node.parts
    network, now, status = launch.params.name, launch.clock.now(), launch.control.status
    if parts is None:
        return Snapshot(network=network, now=now, status=status, loaded=False)
    if launch.control.stop_requested.is_set():
        status = "stops"
    return replace(snapshot_of(parts), status=status)


def stopping_words(node: Node) -> str:
    """What a node does that was asked to stop, for the terminal."""
    if node.parts is None:
        return "Stopping: the start is given up."
    size = node.parts.chain.driver.chainstate.coins.usage / MIB
    return f"Stopping: open requests are answered, {size:,.1f} MiB of coins are written to disk."


def last_words(node: Node) -> str:
    """What a node that has ended well leaves, for the terminal."""
    if node.parts is None:
        return "Stopped: nothing was begun."
    chain = node.parts.chain
    return f"Stopped: everything is on disk, the chain at height {chain.height():,}."


class Signals:
    """Follows signals from the first moment of the process to its last.

    Before there is a loop a request to stop is remembered; behind its end all are passed over. The loop's own handlers
    would leave a gap at both ends in which a signal kills the process.
    """

    def __init__(self) -> None:
        self.stop_received = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], None] = lambda: None
        self._reopen: Callable[[], None] = lambda: None
        for number in SIGNALS:
            signal.signal(number, self._note)

    def follow(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None], reopen: Callable[[], None]) -> None:
        """From now on have ``loop`` call ``stop`` for SIGINT and SIGTERM, ``reopen`` for SIGHUP."""
        self._loop, self._stop, self._reopen = loop, stop, reopen
        if self.stop_received:
            stop()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self.stop_received = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reopen if number == signal.SIGHUP else self._stop)

    def ignore(self) -> None:
        """The process ends: nothing is left to be done, and its status is known."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


async def _run(
    settings: Settings,
    setup: LogSetup,
    display: Callable[[Node], Coroutine[Any, Any, None]],
    hooks: RunHooks,
    signals: Signals,
    stacks: StackDump,
    say: Callable[[str], None],
) -> Node:
    """The life of a node, its signals and its display; the node that has ended. Raises what made it fail."""
    node = Node(settings, announce=hooks.alert, show_warning=_warn, log_behind=setup.behind)
    loop = asyncio.get_running_loop()
    signals.follow(loop, node.launch.control.request_stop, setup.reopen)
    stacks.follow(loop)
    showing = loop.create_task(display(node))

    async def tell_of_stop() -> None:
        await node.launch.control.stop_requested.wait()
        say(stopping_words(node))

    telling = loop.create_task(tell_of_stop())

    def started(running: RunningNode) -> None:
        setup.take_time()
        hooks.started(running)

    try:
        await node.run(on_loaded=_begin_to_collect, on_ready=started, on_stopping=hooks.stopping)
    finally:
        for task in (telling, showing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return node


def _begin_to_collect() -> None:
    """Garbage is collected from now on; who loads the node has switched it off, as nothing of that is garbage."""
    gc.freeze()  # what was imported stays
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()


def run_node(loaded: Loaded, *, pid_file: Path | None = None, on_ready: Callable[[], None] | None = None) -> int:
    """Run a node until it is asked to stop; returns the exit status, having said on stderr what went wrong.

    ``on_ready`` is called when the node is up.
    """
    settings = loaded.settings
    hooks = RunHooks(settings.notifications, pid_file, on_ready)
    os.umask(0o077)
    signals = Signals()
    live = sys.stdout.isatty() if settings.log.progress is None else settings.log.progress
    recent = RecentLines() if live else None
    try:
        make_net_dir(settings.net_dir)
        warnings = [*loaded.warnings, *listening_warnings(settings)]
        for text in warnings:
            _warn(text)
        DirectoryLock(settings.net_dir).release()  # before a line is written to another node's log
        note = FaultNote(settings.net_dir)
        stacks = StackDump(settings.net_dir / STACKS_FILE)
        setup = LogSetup(settings, console=console_stream(settings, live=live), recent=recent)
        setup.hurry()  # until the node is ready
        for level, text in [*loaded.lines, *((logging.WARNING, text) for text in warnings)]:
            logging.getLogger("btcnode.node").log(level, "%s", text)
        hooks.write_pid()
        settings, warning = fit_connections(settings)
        if warning is not None:
            logging.getLogger("btcnode.node").warning("%s", warning)
            _warn(warning)
    except (BtcnodeError, OSError) as error:
        return _failed(error)

    def say(text: str) -> None:
        if live:  # elsewhere the log says it
            print(text, flush=True)

    async def display(node: Node) -> None:
        if recent is not None:
            from btcnode.observe.display import show_live  # loads rich, which a daemon does without

            await show_live(lambda: take_snapshot(node), recent.lines)
        else:
            await log_progress(lambda: take_snapshot(node))

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            node = runner.run(_run(settings, setup, display, hooks, signals, stacks, say))
        say(last_words(node))
        note.close()
    except (BtcnodeError, OSError) as error:
        return _failed(error)
    except KeyboardInterrupt:
        return 130
    finally:
        signals.ignore()
        stacks.close()
        hooks.remove_pid()
        setup.close()
    return 0


def _warn(text: str) -> None:
    """What the user should know, on stderr."""
    print(f"Warning: {text}", file=sys.stderr, flush=True)


def _failed(error: BaseException) -> int:
    """What went wrong, on stderr."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    if isinstance(error, RebuildError):
        text += ".\nPlease restart with -reindex or -reindex-chainstate to recover."
        text += f"\n({error.detail})" if error.detail else ""
    else:
        text = f"Error: {text}"
    print(text, file=sys.stderr)
    return 1
