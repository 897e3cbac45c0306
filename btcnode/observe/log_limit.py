"""A limit to what one place in the source may write into the log file: nobody outside can fill the disk with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

WINDOW_SECONDS = 3600.0
WINDOW_BYTES = 1 << 20
MAX_PLACES = 10_000  # there are fewer log calls than that in the source
UNLIMITED = {"unlimited": True}
"""``extra`` of lines that come with every block, however fast."""

_OVERHEAD = 40  # bytes of a line beside its text

log = logging.getLogger("btcnode.log")


class RateLimit(logging.Filter):
    """Counts bytes per file and line of the source in windows of an hour. Details (DEBUG) are not limited: whoever
    asked for them has a purpose."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since = clock()
        self._used: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno < logging.INFO or getattr(record, "unlimited", False):
            return True
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS or len(self._used) > MAX_PLACES:
            self._since = now
            self._used.clear()
        place = (record.pathname, record.lineno)
        used = self._used.get(place, 0)
        if used > WINDOW_BYTES:
            return False
        self._used[place] = used = used + len(record.getMessage()) + _OVERHEAD
        if used > WINDOW_BYTES:
            log.warning(
                "Excessive logging detected from %s:%d (%s): more than %d bytes within %d s."
                " What else comes from there until they are over goes to the console only.",
                record.filename, record.lineno, record.funcName, WINDOW_BYTES, WINDOW_SECONDS, extra=UNLIMITED,
            )  # fmt: skip
        return True
