"""The node's wall clock, which ``setmocktime`` can hold."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix seconds: the system's, or the mock time where one is set."""

    def __init__(self, mock: int = 0) -> None:
        self._mock = mock
        self._listeners: list[Callable[[], None]] = []
        self._started = time.monotonic()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever the user sets the clock: before, while it still shows the old time, and after."""
        self._listeners.append(listener)

    def time(self) -> float:
        """Unix time in seconds."""
        return float(self._mock) if self._mock else time.time()

    def now(self) -> int:
        """Unix time in whole seconds."""
        return int(self.time())

    def set_mock(self, timestamp: int) -> None:
        """Hold the clock at ``timestamp``; 0 lets it go.

        What has happened by now happened at the old time, though nobody may have looked at the clock since: timers that
        follow from it run from there, as in Core, where they begin with the message.
        """
        for listener in self._listeners:
            listener()
        self._mock = timestamp
        for listener in self._listeners:
            listener()

    @property
    def held(self) -> bool:
        """Whether a mock time is set."""
        return bool(self._mock)

    def uptime(self) -> int:
        """Whole seconds since the clock was made."""
        return int(time.monotonic() - self._started)
