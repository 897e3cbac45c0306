"""Processes beside the node that work on bytes: a function of some module, bytes in, bytes out.

What is asked for is work that takes an interpreter for milliseconds and reads nothing of the node: Python runs one
thread at a time, so in a thread it would cost the loop what it takes. A process begins when work has come twice within
``PRESSING_S``, since its own start costs a tenth of a second, and ends after ``IDLE_S`` without work. Nobody waits for
one to begin: whoever finds none does the work himself, and so does he whose process has failed, or stands still.

A process has a socket as its standard input, and ends when that is closed: also when the node is killed. Frames are::

    number of parts[u32 LE], their lengths[u64 LE] ..., parts ...

of a request the name of the function and its arguments, of an answer what it returned, or ``FAILED`` parts.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from importlib import import_module
from itertools import accumulate, pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic

from btcnode.child import start_child
from btcnode.tuples import NamedTuple

PROCESS_BYTES = 64 << 20  # of memory that one takes, with what it works on
PRESSING_S = 5.0  # between two pieces of work that are worth a process
IDLE_S = 30.0
START_S = 20.0
ANSWER_S = 60.0  # for the largest block that a busy machine writes as JSON; what takes longer hangs
LOOK_S = 1.0  # between two looks whether somebody has stopped it (on Linux), which would last for ever
WORK_EACH = 2  # pieces of work that a process has at a time, one of which waits
FAILED = 0xFFFFFFFF
MAX_PARTS = 1 << 20
COPIED_BYTES = 1 << 20  # of parts that are sent as one
OOM_SCORE = 500  # of 1,000: the node is larger, and ends all
GC_THRESHOLD = 50_000  # objects: work leaves few cycles behind
_START = "import sys; sys.path[:] = sys.argv[1:]; from btcnode.side_processes import main; main()"

Work = Callable[..., Sequence[bytes]]


def end_first() -> None:
    """Where memory runs out, the kernel is to take this process before the node."""
    with contextlib.suppress(OSError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(max(OOM_SCORE, int(score.read_bytes()))))


def _nobody_else_looks() -> None:
    """The node ends a process that hangs, and the process waits for the node."""


def _send(sock: socket.socket, parts: Sequence[bytes], look: Callable[[], None] = _nobody_else_looks) -> None:
    head = struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts))
    small = sum(map(len, parts)) <= COPIED_BYTES
    for piece in (b"".join((head, *parts)),) if small else (head, *parts):
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[sock.send(rest) :]
            except TimeoutError:
                look()


def _receive(sock: socket.socket, size: int, look: Callable[[], None]) -> bytes:
    """Exactly ``size`` bytes; ``look`` is called whenever none come for a while. Raises EOFError at the end."""
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        try:
            count = sock.recv_into(rest)
        except TimeoutError:
            look()
            continue
        if not count:
            raise EOFError
        rest = rest[count:]
    return bytes(data)


def _receive_parts(sock: socket.socket, look: Callable[[], None] = _nobody_else_looks) -> list[bytes] | None:
    """The parts of a frame, None for one that tells of a failure; raises EOFError, OSError."""
    count = int.from_bytes(_receive(sock, 4, look), "little")
    if count == FAILED:
        return None
    if count > MAX_PARTS:
        raise EOFError("nonsense")
    lengths = struct.unpack(f"<{count}Q", _receive(sock, 8 * count, look))
    data = _receive(sock, sum(lengths), look)
    return [data] if count == 1 else [data[here:there] for here, there in pairwise(accumulate(lengths, initial=0))]


# -- the process -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Carry out what comes from the standard input, until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the node ends it
    end_first()
    gc.set_threshold(GC_THRESHOLD)
    sock = socket.socket(fileno=0)
    try:
        _send(sock, ())
        while True:
            parts = _receive_parts(sock) or []
            try:
                module, _, name = parts[0].decode().partition(":")
                answer = getattr(import_module(module), name)(*parts[1:])
            except Exception:  # whoever asked does it again, and meets the same
                sock.sendall(FAILED.to_bytes(4, "little"))
            else:
                _send(sock, answer)
            del parts
            answer = ()
    except (EOFError, OSError, MemoryError):
        os._exit(0)


# -- the node's side ---------------------------------------------------------------------------------------------------


def _is_stopped(pid: int) -> bool:
    """Whether a process goes on only when somebody says so; False where the system does not tell."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")


class _Process:
    """One process as its thread sees it."""

    def __init__(self, processors: Collection[int]) -> None:
        """Start it, on these processors if any are named, and wait until it is there; raises OSError, EOFError."""
        self.running, self._sock = start_child(_START, processors=processors)
        try:
            self._sock.settimeout(LOOK_S)
            _receive_parts(self._sock, self._patience(START_S))
        except BaseException:
            self.end()
            raise

    def _patience(self, seconds: float) -> Callable[[], None]:
        """Raises TimeoutError when called after so many seconds, or while somebody has stopped the process."""
        end = monotonic() + seconds

        def check_patience() -> None:
            if monotonic() > end or _is_stopped(self.running.pid):
                raise TimeoutError("the process stands still")

        return check_patience

    def ask(self, name: bytes, parts: Sequence[bytes]) -> Sequence[bytes] | None:
        """What a function returned, None when it raised; raises OSError, EOFError when the process is of no use."""
        look = self._patience(ANSWER_S)
        _send(self._sock, (name, *parts), look)
        return _receive_parts(self._sock, look)

    def end(self) -> None:
        """End it, whatever it does; for its thread."""
        self.running.kill()
        self.running.wait()
        self._sock.close()


class _Task(NamedTuple):
    name: bytes
    parts: Sequence[bytes]
    answer: Future[Sequence[bytes] | None]


class SideProcesses:
    """At most ``most`` processes, each with a thread of the node's that talks to it."""

    def __init__(self, most: int, processors: Collection[int] = ()) -> None:
        """``processors`` that they keep to, if any are named."""
        self._most = most
        self._processors = processors
        self._lock = Lock()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads = 0
        self._running: list[_Process] = []
        self._at_work = 0  # tasks that wait or are worked on
        self._asked_mono = -PRESSING_S
        self._closing = False
        self.allowed = True  # to begin more of them: there is memory for it

    @property
    def pids(self) -> list[int]:
        """Process ids of those that are ready for work."""
        return [process.running.pid for process in self._running]

    def submit(self, work: Work, parts: Sequence[bytes]) -> Future[Sequence[bytes] | None] | None:
        """Have a function of a module called with these bytes; its result, or None when whoever asks is to call it.

        None at once where there is no process, which may begin then for what follows, and where all have enough to do:
        so whoever asks is busy with them, and nobody's processor idle.
        """
        task = _Task(f"{work.__module__}:{work.__qualname__}".encode(), parts, Future())
        with self._lock:
            now = monotonic()
            pressing, self._asked_mono = now - self._asked_mono < PRESSING_S, now
            if self._closing:
                return None
            has_time = self._at_work < self._threads
            if self.allowed and pressing and self._threads < self._most and not has_time:
                self._begin()
            if self._at_work >= WORK_EACH * len(self._running):
                return None
            self._at_work += 1
            self._tasks.put(task)
        return task.answer

    def _begin(self) -> None:
        """With the lock."""
        self._threads += 1
        try:
            Thread(target=self._run, name="side process", daemon=True).start()
        except RuntimeError:  # the system has no more threads for us
            self._threads -= 1

    def _run(self) -> None:
        process: _Process | None = None
        try:
            process = _Process(self._processors)
            with self._lock:
                self._running.append(process)
            self._serve(process)
        except (OSError, EOFError):
            pass  # whoever asked does it himself; the next one who asks has another process begin
        finally:
            with self._lock:
                self._threads -= 1
                if process is not None:
                    self._running.remove(process)
                if not self._running:
                    self._answer_waiting()
            if process is not None:
                process.end()

    def _serve(self, process: _Process) -> None:
        """Until there is no work for a while; raises OSError, EOFError when the process is of no use any more."""
        while not self._closing:
            try:
                task = self._tasks.get(timeout=IDLE_S)
            except Empty:
                return
            if task is None:
                return
            answer: Sequence[bytes] | None = None
            try:
                if task.answer.set_running_or_notify_cancel():
                    answer = process.ask(task.name, task.parts)
            finally:
                with self._lock:
                    self._at_work -= 1
                if not task.answer.cancelled():
                    task.answer.set_result(answer)
            del task, answer

    def _answer_waiting(self) -> None:
        """Nobody is there any more; with the lock."""
        with contextlib.suppress(Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is None:
                    continue
                self._at_work -= 1
                if task.answer.set_running_or_notify_cancel():
                    task.answer.set_result(None)

    def close(self) -> None:
        """End all processes; what they had in work is answered with None."""
        with self._lock:
            self._closing = True
            for process in self._running:
                process.running.kill()
            for _ in range(self._threads):
                self._tasks.put(None)
