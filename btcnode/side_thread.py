"""A thread that does what it is given, one piece after another: for writing to what may be slow, or stand still."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread, current_thread


class SideThread:
    """Begins with the first piece. The end of the process does not wait for it: a disk or a reader may hang for ever.

    A piece must not raise.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pieces: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._lock = Lock()  # on beginning and ending
        self._ending = False

    def give(self, piece: Callable[[], None]) -> None:
        """Have ``piece`` done when all that was given before is done. From any thread; nothing is waited for."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
        self._pieces.put(piece)

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            piece()

    def wait(self, seconds: float) -> bool:
        """Wait until all that was given so far is done; False when that takes longer. A piece waits for nothing."""
        thread = self._thread
        if thread is None or thread is current_thread() or not thread.is_alive():
            return True
        reached = Lock()
        reached.acquire()
        with self._lock:
            ending = self._ending
            if not ending:
                self._pieces.put(reached.release)
        if ending:  # nothing is done behind its end
            thread.join(seconds)
            return not thread.is_alive()
        return reached.acquire(timeout=seconds)

    def close(self, seconds: float) -> bool:
        """End the thread when all is done; False when that takes longer: it goes on as long as the process does."""
        if self._thread is None:
            return True
        with self._lock:
            self._ending = True
            self._pieces.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()
