"""How far an export or a verification is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

LINE_INTERVAL_S = 10.0


class ProgressBar(AbstractContextManager["ProgressBar"]):
    """Shows a number of blocks on standard error; call it with how many of how many are done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = monotonic()
        self._due = self._began + LINE_INTERVAL_S
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("blocks"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,  # a thread would be in the way of forks
            )
            self._bar.start()
            self._task = self._bar.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        """So many blocks of so many are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, refresh=True)
        elif monotonic() >= self._due:
            self._due = monotonic() + LINE_INTERVAL_S
            print(f"{self._what}: {done} of {total} blocks", file=sys.stderr)

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
