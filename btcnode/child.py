"""A process of ours that talks with the node over a socket, which is its standard input."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Sequence

SOCKET_BUFFER = 1 << 20  # bytes asked of the kernel for each direction


def start_child(
    program: str, arguments: Sequence[str] = (), processors: Collection[int] = ()
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start Python on ``program`` and keep it on these processors, if any are named; the process and our end.

    It finds ``arguments`` and then this process's ``sys.path`` behind ``sys.argv[0]``. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    try:
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *arguments, *sys.path],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            process_group=0,  # its own: the terminal's Ctrl-C is the node's affair
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    if processors:
        with contextlib.suppress(OSError):  # it has ended, or its processors went away: it is of use elsewhere
            os.sched_setaffinity(process.pid, processors)
    return process, ours
