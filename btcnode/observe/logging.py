"""The log: lines like ``2026-01-01T00:00:00Z text``, to ``debug.log`` and to the console.

Each room logs under ``btcnode.<category>``. Information, warnings and errors are always written; details (DEBUG) of
the categories chosen with ``--debug`` only. Text from outside cannot break out of its line.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from btcnode.errors import ConfigError
from btcnode.observe.log_limit import RateLimit
from btcnode.settings.groups.log import LOG_CATEGORIES
from btcnode.settings.settings import Settings

ROOT = "btcnode"
SHRINK_ABOVE_BYTES = 11_000_000  # a log that is larger at start is cut ...
SHRINK_TO_BYTES = 10_000_000  # ... down to its end
RECENT_LINES = 8
MAX_TEXT = 65_536  # characters of a line

_CONTROL = {c: f"\\x{c:02x}" for c in (*range(0x20), 0x7F) if c != 0x0A}


class LineFormatter(logging.Formatter):
    """Core's line: time in UTC, the category of details, the level of warnings and errors, the text."""

    def __init__(
        self,
        *,
        micros: bool = False,
        stamps: bool = True,
        threads: bool = False,
        places: bool = False,
        levels: bool = False,
    ) -> None:
        super().__init__()
        self._micros = micros
        self._stamps = stamps
        self._threads = threads
        self._places = places
        self._levels = levels
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several when an exception's traceback goes with it."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fraction = f".{int(record.created % 1 * 1_000_000):06d}" if self._micros else ""
        text = record.getMessage()
        if len(text) > MAX_TEXT:
            text = f"{text[:MAX_TEXT]}... ({len(text)} characters)"
        text = text.translate(_CONTROL)
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        stamp = f"{self._stamp}{fraction}Z " if self._stamps else ""
        thread = f"[{_thread_name(record)}] " if self._threads else ""
        place = f"[{_place(record)}] [{record.funcName}] " if self._places else ""
        return f"{stamp}{thread}{place}{self._prefix(record)}{text}"

    def _prefix(self, record: logging.LogRecord) -> str:
        """``[category] `` of details, ``[level] `` of warnings and errors; ``[category:level] `` if always wanted."""
        if self._levels:
            category = record.name.rpartition(".")[2]
            return f"[{category if category in LOG_CATEGORIES else 'all'}:{record.levelname.lower()}] "
        if record.levelno >= logging.WARNING:
            return f"[{record.levelname.lower()}] "
        if record.levelno < logging.INFO:
            return f"[{record.name.rpartition('.')[2]}] "
        return ""


def _thread_name(record: logging.LogRecord) -> str:
    return "main" if record.threadName == "MainThread" else record.threadName or "unknown"


def _place(record: logging.LogRecord) -> str:
    """``btcnode/room/module.py:line``."""
    path = Path(record.pathname)
    start = len(path.parts) - 1 - path.parts[::-1].index(ROOT) if ROOT in path.parts else len(path.parts) - 1
    return f"{'/'.join(path.parts[start:])}:{record.lineno}"


class LogStream(logging.StreamHandler[TextIO]):
    """Writes lines to a stream; those that it does not take are lost, as Core loses them."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell of mistakes in the program, but not that a disk is full or a reader has left."""
        if not isinstance(sys.exception(), OSError) and not self.stream.closed:
            super().handleError(record)


class LogFile(LogStream):
    """The log file; ``reopen`` follows a rotation."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file cannot be written."""
        self.path = path
        super().__init__(self._open())

    def _open(self) -> TextIO:
        try:
            return self.path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ConfigError(f"Could not open debug log file {self.path}") from error

    def reopen(self) -> None:
        """Go on in a new file of the same name, in the old one where that cannot be made."""
        try:
            new = self._open()
        except ConfigError as error:
            logging.getLogger("btcnode.node").warning("%s", error)
            return
        old = self.setStream(new)
        if old is not None:
            _close(old)

    def close(self) -> None:
        """Close the file; records that still come are dropped."""
        super().close()
        _close(self.stream)


def _close(stream: TextIO) -> None:
    """Close a file; lines that a full disk has no room for are lost."""
    with contextlib.suppress(OSError):
        stream.close()


class RecentLines(logging.Handler):
    """Keeps the last few lines for the live display."""

    def __init__(self, count: int = RECENT_LINES) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=count)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record))


def shrink_log(path: Path) -> None:
    """Cut a large log down to its end, from a line's beginning on."""
    if not path.is_file() or path.stat().st_size <= SHRINK_ABOVE_BYTES:
        return
    with path.open("rb") as file:
        file.seek(-SHRINK_TO_BYTES, 2)
        file.readline()
        rest = file.read(SHRINK_TO_BYTES)
    path.write_bytes(rest)


class LogSetup:
    """The handlers in force; ``close`` takes them off again."""

    def __init__(self, settings: Settings, *, console: TextIO | None = None, recent: RecentLines | None = None) -> None:
        """Install file, console (None: not) and recent lines; raises ConfigError when the file cannot be written."""
        self._root = logging.getLogger(ROOT)
        self._others = logging.getLogger("asyncio")
        self._handlers: list[logging.Handler] = [logging.NullHandler()]  # without any, warnings would go to stderr
        self.file: LogFile | None = None
        if settings.log_path is not None:
            wanted = settings.log.shrinkdebugfile
            if wanted if wanted is not None else not settings.log.categories:
                shrink_log(settings.log_path)
            try:
                settings.net_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"Could not open debug log file {settings.log_path}") from error
            self.file = LogFile(settings.log_path)
            if settings.log.logratelimit:
                self.file.addFilter(RateLimit())
            self._handlers.append(self.file)
        if console is not None:
            self._handlers.append(LogStream(console))
        if recent is not None:
            self._handlers.append(recent)
        formatter = LineFormatter(
            micros=settings.log.logtimemicros,
            stamps=settings.log.logtimestamps,
            threads=settings.log.logthreadnames,
            places=settings.log.logsourcelocations,
            levels=settings.log.loglevelalways,
        )
        for handler in self._handlers:
            handler.setFormatter(formatter)
            self._root.addHandler(handler)
            self._others.addHandler(handler)
        self._root.setLevel(logging.INFO)
        self._root.propagate = self._others.propagate = False
        for category, level in settings.log.loglevel.items():
            show_details(category, category in settings.log.categories and level != "info")

    def reopen(self) -> None:
        """Begin a new file after a rotation."""
        if self.file is not None:
            self.file.reopen()

    def close(self) -> None:
        """Take the handlers off and close the file."""
        for handler in self._handlers:
            self._root.removeHandler(handler)
            self._others.removeHandler(handler)
        if self.file is not None:
            self.file.close()
        self._root.propagate = self._others.propagate = True


def show_details(category: str, wanted: bool) -> None:
    """Log a category in detail, or not."""
    logging.getLogger(f"{ROOT}.{category}").setLevel(logging.DEBUG if wanted else logging.INFO)


def console_stream(settings: Settings, *, live: bool) -> TextIO | None:
    """Where log lines go besides the file: standard output, unless the live display has it."""
    wanted = settings.log.printtoconsole if settings.log.printtoconsole is not None else not live
    return sys.stdout if wanted else None
