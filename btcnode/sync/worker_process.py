"""One worker process as the pool sees it: started, fed, heard, ended. Belongs to the pool's thread."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import deque
from typing import TYPE_CHECKING

from btcnode.child import start_child
from btcnode.sync.worker_codec import Answer, AnswerReader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from btcnode.sync.chunks import Chunk
    from btcnode.sync.worker_tasks import DecodeTask, FoldTask, TxTask

    Task = DecodeTask | FoldTask | TxTask | Chunk

_START = "import sys; sys.path[:] = sys.argv[2:]; from btcnode.sync.worker import main; main(int(sys.argv[1]))"
RECEIVE_SIZE = 1 << 18
END_TIMEOUT = 0.5  # seconds for a killed process to be gone; one that the kernel holds is waited for later


class WorkerProcess:
    """A process with a socket, the tasks it has been sent (oldest first), and bytes on their way to it."""

    def __init__(self, processors: Collection[int] = ()) -> None:
        """Start it, on these processors if any are named; raises OSError when that is impossible."""
        self._process, self.sock = start_child(_START, [str(os.getpid())], processors)
        self.sock.setblocking(False)
        self.ready = False
        self.kernels = False  # whether it may use compiled ones
        self.sent: deque[tuple[int, Task, float]] = deque()  # (request id, task, seconds that it usually takes)
        self.ahead = 0.0  # seconds that all of these usually take
        self.answers = 0
        self.born = 0.0
        self.deadline = 0.0  # for the answer to the oldest
        self.examined = False  # whether the deadline is for the worst that the oldest may be
        self.busy_since = 0.0
        self.slot = 0  # which share of the unconfirmed transactions is its own
        self._reader = AnswerReader()
        self._out: list[memoryview] = []

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    @property
    def writing(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._out)

    def send(self, parts: Iterable[bytes]) -> None:
        """Queue bytes and write what the socket takes; raises OSError when the process is gone."""
        self._out += [memoryview(part) for part in parts if part]
        self.flush()

    def flush(self) -> None:
        """Write what the socket takes; raises OSError when the process is gone."""
        out = self._out
        while out:
            try:
                written = self.sock.sendmsg(out)
            except BlockingIOError:
                return
            while out and written >= len(out[0]):
                written -= len(out.pop(0))
            if written:
                out[0] = out[0][written:]

    def receive(self) -> list[Answer]:
        """The answers that have arrived; raises EOFError or OSError when it is gone, DecodeError for nonsense."""
        answers: list[Answer] = []
        while True:
            try:
                data = self.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                return answers
            if not data:
                raise EOFError("its socket is closed")
            answers += self._reader.feed(data)
            if len(data) < RECEIVE_SIZE:
                return answers

    def end(self, timeout: float = END_TIMEOUT, *, grace: float = 0.0) -> int | None:
        """Make sure that it is gone; returns its exit status (negative: the signal), None when it is not gone yet.

        One that ends by itself has ``grace`` seconds to do so, that its status says why.
        """
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def is_gone(self) -> bool:
        """Whether the process has ended and been waited for."""
        return self._process.poll() is not None
