"""What every thread and every task of the event loop does at this moment: written down on SIGUSR1.

The threads are written by ``faulthandler`` in the signal handler itself, so that a thread which never comes back from C
code shows too. The tasks follow as soon as the main thread runs Python again, whether or not the loop goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import io
import os
import signal
from pathlib import Path
from types import FrameType

MAX_TASKS = 1000  # of which the stacks are written
MAX_FILE_BYTES = 16 << 20  # what is larger begins anew at the next start
NUMBER = signal.SIGUSR1


class StackDump:
    """Appends stacks to a file at each SIGUSR1 until it is closed."""

    def __init__(self, path: Path) -> None:
        """Follow the signal; raises OSError when the file cannot be written. Only for the main thread."""
        self._path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        too_large = path.exists() and path.stat().st_size > MAX_FILE_BYTES
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if too_large else 0), 0o600)
        signal.signal(NUMBER, self._on_signal)
        faulthandler.register(NUMBER, file=self._fd, all_threads=True, chain=True)  # chain: the handler above is next

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop whose tasks are written."""
        self._loop = loop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        text = tasks_text(self._loop) if self._loop is not None else "no event loop yet\n"
        with contextlib.suppress(OSError):  # a full disk: looking at a node must not end it
            os.write(self._fd, text.encode(errors="backslashreplace"))  # no buffer that this may have interrupted

    def close(self) -> None:
        """Pass the signal over from now on; a file in which nothing was written goes."""
        faulthandler.unregister(NUMBER)
        signal.signal(NUMBER, signal.SIG_IGN)
        empty = os.fstat(self._fd).st_size == 0
        os.close(self._fd)
        if empty:
            self._path.unlink(missing_ok=True)


def tasks_text(loop: asyncio.AbstractEventLoop) -> str:
    """The stacks of the tasks that are not done, MAX_TASKS at most, by name."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    text = io.StringIO()
    text.write(f"\n{len(tasks)} tasks\n\n")
    for task in tasks[:MAX_TASKS]:
        task.print_stack(file=text)
    if len(tasks) > MAX_TASKS:
        text.write(f"... and {len(tasks) - MAX_TASKS} more\n")
    return text.getvalue() + "\n"
