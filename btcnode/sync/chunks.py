"""The scripts of one block in chunks, which worker processes and the thread that wants the verdict share."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from btcnode.chain.script_checks import BlockScripts, Verdict
from btcnode.primitives.hashes import to_display
from btcnode.sync.work_estimate import longest_verification, usual_seconds

if TYPE_CHECKING:
    from btcnode.script.verify import ScriptFailure

CHUNK_INPUTS = 128  # about 7 ms of work: small against a block, large against the 0.1 ms that a chunk costs
SMALL_CHUNK_INPUTS = 16
PIECES = 16  # of a block that nothing is behind: the last chunk of one process is what the others wait for
WAIT_INTERVAL = 1.0  # seconds; only a safeguard, answers wake the waiting thread up

log = logging.getLogger("btcnode.workers")


def inputs_together(inputs: int, *, alone: bool) -> int:
    """Inputs for a chunk of a block that has so many; ``alone``: no other work waits for the processes."""
    return max(SMALL_CHUNK_INPUTS, min(CHUNK_INPUTS, inputs // PIECES)) if alone else CHUNK_INPUTS


class Chunk:
    """Jobs ``first`` to ``last - 1`` of a block: the piece that is sent, answered and redone as one."""

    __slots__ = ("attempts", "check", "first", "inputs", "last", "local_only")

    def __init__(self, check: PooledCheck, first: int, last: int) -> None:
        self.check = check
        self.first = first
        self.last = last
        self.inputs = check.scripts.inputs_of(first, last)
        self.attempts = 0
        self.local_only = False

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return self.last - self.first

    @property
    def flags(self) -> int:
        """Script flags."""
        return self.check.scripts.flags

    def packed(self) -> tuple[bytes, bytes]:
        """Transactions and coins as bytes."""
        return self.check.scripts.packed(self.first, self.last)

    def usual_seconds(self) -> float:
        """What it takes a worker."""
        tx_pos = self.check.scripts.block.tx_pos
        return usual_seconds(tx_pos[self.last + 1] - tx_pos[self.first + 1], self.inputs)

    def longest(self) -> float:
        """Seconds that it may take at most."""
        return longest_verification(*self.packed())

    def has_input(self, job: int, index: int) -> bool:
        """Whether job ``job`` of this chunk has an input ``index``."""
        return 0 <= index < len(self.check.scripts.undo[self.first + job])

    def record_answer(self, failed: tuple[int, ScriptFailure] | None) -> None:
        """A worker's answer: all valid, or which job of this chunk failed and why."""
        self.check.answer(self, None if failed is None else Verdict(self.first + failed[0], failed[1]))

    def verify(self) -> None:
        """Do it here."""
        self.check.answer(self, self.check.scripts.verify(self.first, self.last))


class PooledCheck:
    """The scripts of one block, cut into chunks that workers and the waiting thread take from the same queue."""

    def __init__(
        self,
        scripts: BlockScripts,
        take_chunk: Callable[[], Chunk | None],
        forget: Callable[[PooledCheck], None],
        chunk_inputs: int = CHUNK_INPUTS,
    ) -> None:
        """``take_chunk`` gives the next chunk that nobody has, of any block; ``forget`` ends handing these out."""
        self.scripts = scripts
        self.cancelled = False
        self._take_chunk = take_chunk
        self._forget = forget
        # by numbers: chunks know their check, and in a circle a block would stay until the collector comes by
        self._ranges = dict(scripts.split(chunk_inputs))
        self._pending = deque(Chunk(self, *jobs) for jobs in self._ranges.items())  # guarded by the pool's lock
        self._unanswered = set(self._ranges)
        self._verdicts: dict[int, Verdict | None] = {}
        self._changed = threading.Condition()

    # -- with the pool's lock ------------------------------------------------------------------------------------

    @property
    def has_pending(self) -> bool:
        """Whether there are chunks that nobody has taken."""
        return bool(self._pending)

    def take(self, *, local: bool) -> Chunk | None:
        """Take a chunk; those that have cost two workers are for ``local`` use only."""
        pending = self._pending
        if not pending:
            return None
        if local or not pending[0].local_only:
            return pending.popleft()
        for chunk in pending:
            if not chunk.local_only:
                pending.remove(chunk)
                return chunk
        return None

    def give_back(self, chunk: Chunk) -> None:
        """A chunk was taken and will not be answered."""
        if not self.cancelled:
            self._pending.appendleft(chunk)
            with self._changed:
                self._changed.notify_all()

    # -- any thread ----------------------------------------------------------------------------------------------

    def answer(self, chunk: Chunk, verdict: Verdict | None) -> None:
        """Record the answer about a chunk."""
        with self._changed:
            self._verdicts[chunk.first] = verdict
            self._unanswered.discard(chunk.first)
            if not self._unanswered:
                self._changed.notify_all()

    # -- the thread that wants the verdict -----------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every chunk is answered."""
        return not self._unanswered

    def finish(self) -> Verdict | None:
        """Verify chunks, of this block first and then of later ones, until all of this block are answered."""
        while not self.done:
            chunk = self._take_chunk()
            if chunk is not None:
                chunk.verify()
                continue
            with self._changed:
                if self._unanswered and not self._pending:
                    self._changed.wait(WAIT_INTERVAL)
        return self._judge()

    def _judge(self) -> Verdict | None:
        """The lowest failure that the node's own process confirms."""
        for first, last in self._ranges.items():
            verdict = self._verdicts[first]  # KeyError rather than a yes by default
            if verdict is None:
                continue
            confirmed = self.scripts.verify(first, last)
            if confirmed is not None:
                return confirmed
            log.error(
                "a worker process found a script of block %s invalid that is valid: transaction %d, %s",
                to_display(self.scripts.block.hash), verdict.job + 1, verdict.failure.error.value,
            )  # fmt: skip
        return None

    def cancel(self) -> None:
        """Hand out nothing more; what has been sent is answered and forgotten."""
        self.cancelled = True
        self._forget(self)
