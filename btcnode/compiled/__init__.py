"""Kernels: the hottest loops as Python that is compiled for the processor.

``current`` gives them to whoever has a plain way as well; it gives none until the process was allowed to use them and
has looked for their machine code, which is made once and kept (``machine_code.py``).
"""

from __future__ import annotations

import logging
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from btcnode.compiled.kernels import Kernels

LOOK_INTERVAL = 2.0  # seconds between two looks for machine code that was not there

log = logging.getLogger("btcnode.compiled")

_lock = Lock()
_kernels: Kernels | None = None
_allowed = False
_may_make = False
_making: Popen[bytes] | None = None
_next_look = 0.0
_remember: Callable[[str], None] | None = None


def current() -> Kernels | None:
    """The kernels of this process, None where there are none."""
    return _kernels


def allow(*, make: bool, remember: Callable[[str], None] | None = None) -> None:
    """This process may use kernels from now on; with ``make`` it may have them made, by a process of 250 MB.

    ``remember`` is told, by any thread, which process they have ended, so that the next start does without; it may
    raise OSError.
    """
    global _allowed, _may_make, _remember
    _allowed = True
    _may_make = _may_make or make
    _remember = remember or _remember


def give_up(what: str) -> None:
    """A process was ended by kernels, as ``what`` says: nobody begins to use them any more."""
    global _allowed, _kernels
    if not _allowed:
        return
    _allowed, _kernels = False, None
    log.warning("no compiled kernels any more, plain Python does their work: %s", what)
    try:
        if _remember is not None:
            _remember(what)
    except OSError as error:
        log.warning("the next start will try compiled kernels again: %s", error)


def is_allowed() -> bool:
    """Whether this process may use kernels."""
    return _allowed


def look_for() -> Kernels | None:
    """Load the kernels if that is allowed, unless they are loaded or were looked for just now; takes 0.05 s once.

    Raises nothing: whatever is wrong with them or with what makes them is logged, and they are not looked for again.
    """
    global _kernels, _allowed, _next_look
    if _kernels is None and _allowed and monotonic() >= _next_look and _lock.acquire(blocking=False):
        try:
            found = _load()
            _kernels = found if _allowed else None  # they were given up meanwhile
        except Exception as error:  # of llvmlite, coincurve, OpenSSL: they are installed in all sorts of ways
            _allowed = False
            log.warning("no compiled kernels, plain Python does their work: %s: %s", type(error).__name__, error)
        finally:
            _next_look = monotonic() + LOOK_INTERVAL
            _lock.release()
    return _kernels


def _load() -> Kernels | None:
    """The kernels, None where they are not there yet: they are made then, if that is allowed."""
    from btcnode.compiled.machine_code import NotThereYet, is_possible

    if not is_possible():
        return None
    from btcnode.compiled.kernels import load_kernels

    try:
        kernels = load_kernels()
    except NotThereYet as error:
        _make(str(error))
        return None
    log.info("compiled kernels are in use")
    return kernels


def _make(reason: str) -> None:
    """Have them made, once; say so where that has failed."""
    global _making, _may_make
    from btcnode.compiled.machine_code import start_making

    if _making is None and _may_make:
        log.info("kernels are compiled for this processor, plain Python does their work meanwhile: %s", reason)
        _making, _may_make = start_making(), False
        failed = _making is None
    else:
        failed = _making is not None and _making.poll() not in (None, 0)
    if failed:
        log.warning("kernels cannot be compiled: python -m btcnode.compiled says why")
        _making = None
