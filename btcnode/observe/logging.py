"""The log: lines like ``2026-01-01T00:00:00Z text``, to ``debug.log`` and to the console.

Each room logs under ``btcnode.<category>``. Information, warnings and errors are always written; details (DEBUG) of
the categories chosen with ``--debug`` only. Text from outside cannot break out of its line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from btcnode.errors import ConfigError
from btcnode.observe.log_limit import RateLimit
from btcnode.settings.groups.log import LOG_CATEGORIES
from btcnode.settings.settings import Settings
from btcnode.side_thread import SideThread

ROOT = "btcnode"
SHRINK_ABOVE_BYTES = 11_000_000  # a log that is larger at start is cut ...
SHRINK_TO_BYTES = 10_000_000  # ... down to its end
RECENT_LINES = 8
MAX_TEXT = 65_536  # characters of a line
MAX_WAITING = 4_000_000  # characters that wait to be written to one stream
WRITE_SIZE = 65_536  # characters written at a time
PATIENCE_S = 0.1  # that who logs a line waits for it to be written, ...
DISTRUST_S = 60.0  # ... and that nobody waits when it was not
WAIT_SHARE = 0.1  # of the time, that who logs waits for lines ...
WAITS_S = 0.02  # ... and as much at once
ANSWER_PATIENCE_S = 1.0  # that an answer waits, which holds up nobody else, for lines to be written
END_PATIENCE_S = 2.0  # that the end waits for a stream that takes nothing

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


class LogStream(logging.Handler):
    """Writes lines to a stream, in a thread of its own; those that it does not take are lost, as Core loses them.

    Who logs a line waits ``PATIENCE_S`` at most until it is written, so that it is there before what follows from it
    is seen. A disk or a terminal that was slower once is not waited for during ``DISTRUST_S``, nor are lines that come
    with every block, and of many lines those beyond ``WAITS_S`` of waiting: two hundred wallets that are paid to by one
    block would hold up everybody for as many turns of the thread, half a second where processors are busy. Of what it
    does not take meanwhile ``MAX_WAITING`` characters are kept.

    While ``hurries`` is set, warnings and errors alone are waited for: a start says forty lines within a fifth of a
    second.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.stream = stream
        self.hurries = False
        self._clock = clock
        self._thread = SideThread("log")
        self._lines: deque[str] = deque()
        self._due = False  # the thread will look at the lines
        self._given = self._written = 0  # characters; the one is counted by who logs, the other by the thread
        self._lost = 0  # lines
        self._distrust_until = 0.0  # when who logs waits again ...
        self._hopeless_until = 0.0  # ... and when answers do
        self._waits = WAITS_S  # seconds that may be waited for lines ...
        self._waits_at = clock()  # ... at this moment

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line down to be written."""
        try:
            line = f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)  # a mistake in the program
            return
        if self._given - self._written + len(line) > MAX_WAITING:
            self._lost += 1
            return
        self._given += len(line)
        self._lines.append(line)
        if not self._due:
            self._due = True
            self._thread.give(self._write)
        if getattr(record, "unlimited", False) or (self.hurries and record.levelno < logging.WARNING):
            return
        self._wait()

    def _wait(self) -> None:
        """Wait for what was logged so far to be written, if the stream may be waited for."""
        now = self._clock()
        if now < self._distrust_until:
            return
        self._waits = min(WAITS_S, self._waits + (now - self._waits_at) * WAIT_SHARE)
        self._waits_at = now
        if self._waits <= 0:
            return
        if not self._thread.wait(PATIENCE_S):
            self._distrust_until = self._clock() + DISTRUST_S
        self._waits -= self._clock() - now

    def take_time(self) -> None:
        """No longer hurry, and wait for what was logged meanwhile as for a line."""
        if self.hurries:
            self.hurries = False
            self._wait()

    def behind(self) -> Awaitable[None] | None:
        """What to await until lines that were not waited for are written; None when there are none.

        That takes ``ANSWER_PATIENCE_S`` at most: longer than ``emit`` waits, as it is long for a thread to have no
        turn. A stream that was slower once is not waited for during ``DISTRUST_S``.
        """
        if self._written == self._given or self._clock() < self._hopeless_until:
            return None
        return self._catch_up()

    async def _catch_up(self) -> None:
        """Wait, beside the loop, until what was logged so far is written."""
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[bool] = loop.create_future()
        late = loop.call_later(ANSWER_PATIENCE_S, _note, reached, False)
        self._thread.give(partial(_note_from_thread, loop, reached))
        if not await reached:
            self._hopeless_until = self._clock() + DISTRUST_S
        late.cancel()

    def _write(self) -> None:
        """Write what waits; in the thread."""
        self._due = False
        while self._lines:
            parts: list[str] = []
            size = 0
            while self._lines and size < WRITE_SIZE:
                parts.append(self._lines.popleft())
                size += len(parts[-1])
            self._put("".join(parts))
            self._written += size
        if self._lost:
            lost, self._lost = self._lost, 0
            text = f"{lost} lines are missing here: they came faster than they could be written"
            record = logging.LogRecord(f"{ROOT}.log", logging.WARNING, __file__, 0, text, (), None)
            self._put(f"{self.format(record)}\n")

    def _put(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            pass  # a full disk, a reader that has left: there is nobody to tell
        except UnicodeEncodeError:  # half of a pair of surrogates, from a client's text
            self._put(text.encode("utf-8", "backslashreplace").decode())
        except ValueError:
            if not self.stream.closed:
                raise

    def flush(self) -> None:
        """Wait until all is written, as long as some of it is."""
        while True:
            before = self._written
            if self._thread.wait(END_PATIENCE_S):
                if not self._due:  # nor has the thread itself had something to say
                    return
            elif self._written == before:
                return

    def close(self) -> None:
        """Write what is left; records that still come are dropped."""
        super().close()
        self.flush()
        self._thread.close(0.0)


async def _one_by_one(waits: list[Awaitable[None]]) -> None:
    for wait in waits:
        await wait


def _note(reached: asyncio.Future[bool], in_time: bool) -> None:
    if not reached.done():
        reached.set_result(in_time)


def _note_from_thread(loop: asyncio.AbstractEventLoop, reached: asyncio.Future[bool]) -> None:
    """From the log's thread; a loop that is closed has nobody left who waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_note, reached, True)


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
        self._thread.give(self._reopen)

    def _reopen(self) -> None:
        try:
            old, self.stream = self.stream, self._open()
        except ConfigError as error:
            logging.getLogger("btcnode.node").warning("%s", error)
            return
        _close(old)

    def close(self) -> None:
        """Write what is left and close the file; records that still come are dropped."""
        self._thread.give(lambda: _close(self.stream))
        super().close()


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
        self._streams = [handler for handler in self._handlers if isinstance(handler, LogStream)]
        for handler in self._handlers:
            handler.setFormatter(formatter)
            self._root.addHandler(handler)
            self._others.addHandler(handler)
        self._root.setLevel(logging.INFO)
        self._root.propagate = self._others.propagate = False
        for category, level in settings.log.loglevel.items():
            show_details(category, category in settings.log.categories and level != "info")

    def hurry(self) -> None:
        """Have nobody wait for lines that tell what goes well, until ``take_time``."""
        for stream in self._streams:
            stream.hurries = True

    def take_time(self) -> None:
        """Have who logs wait for lines again, and those that were not waited for be written."""
        for stream in self._streams:
            stream.take_time()

    def reopen(self) -> None:
        """Begin a new file after a rotation."""
        if self.file is not None:
            self.file.reopen()

    def behind(self) -> Awaitable[None] | None:
        """What to await until all that was logged so far is written, by streams that are not slow; None: it is."""
        waits = [wait for stream in self._streams if (wait := stream.behind()) is not None]
        return _one_by_one(waits) if waits else None

    def flush(self) -> None:
        """Wait until all lines are written, as long as streams take some."""
        for handler in self._handlers:
            handler.flush()

    def close(self) -> None:
        """Take the handlers off, write what is left and close the file."""
        for handler in self._handlers:
            self._root.removeHandler(handler)
            self._others.removeHandler(handler)
            handler.close()
        self._root.propagate = self._others.propagate = True


def show_details(category: str, wanted: bool) -> None:
    """Log a category in detail, or not."""
    logger, level = logging.getLogger(f"{ROOT}.{category}"), logging.DEBUG if wanted else logging.INFO
    if logger.level != level:  # each change makes all loggers forget what they log
        logger.setLevel(level)


def console_stream(settings: Settings, *, live: bool) -> TextIO | None:
    """Where log lines go besides the file: standard output, unless the live display has it."""
    wanted = settings.log.printtoconsole if settings.log.printtoconsole is not None else not live
    return sys.stdout if wanted else None
