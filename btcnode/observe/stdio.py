"""Standard input, output and error of a program, whatever its parent has made of them.

They may be closed, or end with a pipe whose reader leaves or a terminal that is gone: what is written then is lost,
and nothing else happens, as with bitcoind. Text is UTF-8 in any locale.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable

_GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET}


def hold_standard_numbers() -> None:
    """Open the null device where descriptor 0, 1 or 2 is closed, before another file or a socket gets its number.

    The event loop refuses to close such a one, and a word printed would go into the file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


class ForgivingStream(io.TextIOWrapper):
    """A text stream that survives its reader. ``lost`` is the error of what could not be written for another reason."""

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write, or lose the text."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or lose what was not flushed."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if error.errno in _GONE:
            self.abandon()
        else:
            self.lost = error  # a full disk may have room again

    def abandon(self) -> None:
        """Let everything from now on, and what is in the buffer, go nowhere."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def _forgiving(number: int) -> ForgivingStream:
    old = sys.stdout if number == 1 else sys.stderr
    raw = old.buffer if old is not None else io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    by_line = number == 2 or os.isatty(number)
    return ForgivingStream(raw, encoding="utf-8", errors="surrogateescape", line_buffering=by_line)


def run_program(run: Callable[[list[str]], int], *, output_counts: bool = False) -> None:
    """The frame of a program: its streams, its arguments, its exit status.

    Where ``output_counts``, output that could not be written (to a full disk) is told, and makes the status 1; a reader
    that has left has what it wanted.
    """
    hold_standard_numbers()
    out, err = sys.stdout, sys.stderr = _forgiving(1), _forgiving(2)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # as long as the program lives
    sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    out.flush()
    if output_counts and out.lost is not None:
        print(f"error: the output cannot be written: {out.lost.strerror}", file=err)
        status = status or 1
    err.flush()
    for stream in (out, err):
        if stream.lost is not None:
            stream.abandon()
    sys.exit(status)
