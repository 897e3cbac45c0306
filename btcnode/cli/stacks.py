"""What every thread and every task of the event loop does at this moment: written down on SIGUSR1.

A thread of its own waits for the signal, which the others block: it writes while the loop is stuck and while the main
thread is in C code, and nothing runs in the midst of other work. ``faulthandler.register`` reads the frames of threads
that go on meanwhile: a node that is asked many times crashes by it.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

MAX_TASKS = 1000  # of which the stacks are written
MAX_FILE_BYTES = 16 << 20  # what is larger begins anew at the next start
NUMBER = signal.SIGUSR1

log = logging.getLogger("btcnode.node")


class StackDump:
    """Appends stacks to a file at each SIGUSR1 until it is closed."""

    def __init__(self, path: Path) -> None:
        """Follow the signal; raises OSError when the file cannot be written. For the main thread."""
        self._path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        too_large = path.exists() and path.stat().st_size > MAX_FILE_BYTES
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if too_large else 0), 0o600)
        signal.pthread_sigmask(signal.SIG_BLOCK, {NUMBER})
        self._thread = threading.Thread(target=self._wait, name="stacks", daemon=True)
        self._thread.start()
        signal.signal(NUMBER, lambda *_: self._wake())  # it may come to a thread that is older than this

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop whose tasks are written."""
        self._loop = loop

    def _wait(self) -> None:
        while True:
            signal.sigwait({NUMBER})
            if self._closing:
                return
            try:
                os.write(self._fd, stacks_text(self._loop).encode(errors="backslashreplace"))
            except (OSError, RuntimeError) as error:  # a full disk; what changed while it was looked at
                log.warning("stacks are not written: %s", error)

    def _wake(self) -> None:
        if self._thread.ident is not None and self._thread.is_alive():
            signal.pthread_kill(self._thread.ident, NUMBER)

    def close(self) -> None:
        """Pass the signal over from now on; a file in which nothing was written goes."""
        self._closing = True
        self._wake()
        self._thread.join()
        signal.signal(NUMBER, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {NUMBER})
        empty = os.fstat(self._fd).st_size == 0
        os.close(self._fd)
        if empty:
            self._path.unlink(missing_ok=True)


def stacks_text(loop: asyncio.AbstractEventLoop | None) -> str:
    """The stacks of all threads, the innermost call last, and of the loop's tasks; raises RuntimeError."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    text = io.StringIO()
    for ident, frame in sys._current_frames().items():
        text.write(f"Thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}\n")
    text.write(tasks_text(loop) if loop is not None else "no event loop yet\n")
    return text.getvalue()


def tasks_text(loop: asyncio.AbstractEventLoop) -> str:
    """The stacks of the tasks that are not done, MAX_TASKS at most, by name; raises RuntimeError."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    text = io.StringIO()
    text.write(f"\n{len(tasks)} tasks\n\n")
    for task in tasks[:MAX_TASKS]:
        task.print_stack(file=text)
    if len(tasks) > MAX_TASKS:
        text.write(f"... and {len(tasks) - MAX_TASKS} more\n")
    return text.getvalue() + "\n"
