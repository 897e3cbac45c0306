"""Builds of Python without a global interpreter lock: there it has to be on all the same, for lmdb's binding.

The binding changes what its threads share without locks of its own, and does not declare that it could do without the
interpreter's: importing it switches that on, for the whole process. Where ``PYTHON_GIL=0`` or ``-X gil=0`` keeps it
off, four threads that read and one that writes end the process within seconds (lmdb 1.8.1: SIGSEGV, 3.0.0: SIGBUS).
"""

from __future__ import annotations

import sys

from btcnode.errors import ConfigError


def is_free_threaded() -> bool:
    """Whether this Python can run without a global lock."""
    return "t" in sys.abiflags


def require_lock() -> None:
    """Raise ConfigError in a process that runs without the lock; after lmdb was imported, which switches it on."""
    if sys.version_info >= (3, 13) and not sys._is_gil_enabled():
        raise ConfigError(
            "the database's binding (lmdb) is not made for a Python without its global interpreter lock:"
            " start without PYTHON_GIL=0 and -X gil=0"
        )
