"""A block's script checks: what is to be verified, and who does it.

``BlockScripts`` is the work: the block, the coins its transactions spend, the flags. A ``ScriptChecker`` takes it on
and answers with a ``ScriptCheck``. ``InlineChecker`` does everything in the calling thread; one that shares the work
with other processes is given to the executor by whoever owns those processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Protocol

from btcnode.compiled import current, look_for
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import BlockHash
from btcnode.script.caches import ScriptExecutionCache
from btcnode.script.runs import judge
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_jobs
from btcnode.tuples import NamedTuple

INPUTS_FOR_KERNEL = 64  # a block with so many is worth the loading of kernels


class Verdict(NamedTuple):
    """The first job of a block that failed, and why."""

    job: int
    failure: ScriptFailure


class BlockScripts:
    """The script jobs of one block; job ``i`` is transaction ``i + 1`` (the coinbase has none).

    ``undo`` has the spent coins of each of them, in order of its inputs, as connecting the block has found them.
    Transactions that ``cache`` knows to be valid under the same flags are left out of ``split``; ``inputs`` counts the
    inputs of the others. Core does the same: an outpoint names the output that it spends, so that a wtxid fixes all
    that a script sees but the flags.
    """

    __slots__ = ("_known", "block", "flags", "inputs", "undo")

    def __init__(
        self, block: ParsedBlock, undo: list[list[bytes]], flags: int, cache: ScriptExecutionCache | None = None
    ) -> None:
        self.block = block
        self.undo = undo
        self.flags = flags
        self.inputs = sum(map(len, undo))
        self._known: list[bool] | None = None
        if not cache:
            return
        if cache.contains_all(block.wtxids[1:], flags):  # nearly every block at the tip
            self._known, self.inputs = [True] * len(undo), 0
        else:
            self._known = [cache.contains(wtxid, flags) for wtxid in block.wtxids[1:]]
            self.inputs -= sum(len(coins) for coins, known in zip(undo, self._known, strict=True) if known)

    def __len__(self) -> int:
        """Number of jobs."""
        return len(self.undo)

    def inputs_of(self, first: int, last: int) -> int:
        """Number of inputs of the jobs ``first`` to ``last - 1``."""
        first_in = self.block.first_in
        return first_in[last + 1] - first_in[first + 1]

    def jobs(self, first: int, last: int) -> list[ScriptJob]:
        """The jobs ``first`` to ``last - 1`` as objects."""
        block, flags = self.block, self.flags
        return [ScriptJob(block.tx_raw(i + 1), [coin[4:] for coin in self.undo[i]], flags) for i in range(first, last)]

    def verify(self, first: int, last: int) -> Verdict | None:
        """Verify some jobs here and now, in order; None when all are valid."""
        if self.inputs >= INPUTS_FOR_KERNEL:
            look_for()
        found = None if current() is None else judge(*self.packed(first, last), last - first, self.flags)
        failed = verify_jobs(self.jobs(first, last)) if found is None else found.failed
        return None if failed is None else Verdict(first + failed[0], failed[1])

    def verify_all(self) -> Verdict | None:
        """Verify here and now what is not known, in order; None when all is valid."""
        for first, last in self.split(self.inputs + 1):
            verdict = self.verify(first, last)
            if verdict is not None:
                return verdict
        return None

    def packed(self, first: int, last: int) -> tuple[bytes, bytes]:
        """Transactions and packed coins of some jobs, each kind as one run of bytes without any lengths between.

        Both describe themselves: a transaction says how many coins it spends, a coin how long it is.
        """
        block = self.block
        raw = block.raw[block.tx_pos[first + 1] : block.tx_pos[last + 1]]
        return raw, b"".join(chain.from_iterable(self.undo[first:last]))

    def split(self, target_inputs: int) -> list[tuple[int, int]]:
        """Cut the jobs into ranges of about ``target_inputs`` inputs; a transaction is never divided."""
        if not self.inputs:
            return []
        first_in, ranges, known = self.block.first_in, [], self._known
        start, base = 0, first_in[1]
        for i in range(len(self.undo)):
            end = first_in[i + 2]
            if known is not None and known[i]:
                if start < i:
                    ranges.append((start, i))
                start, base = i + 1, end
            elif end - base >= target_inputs:
                ranges.append((start, i + 1))
                start, base = i + 1, end
        if start < len(self.undo):
            ranges.append((start, len(self.undo)))
        return ranges


class ScriptCheck(Protocol):
    """The scripts of one block on their way through verification."""

    @property
    def done(self) -> bool:
        """Whether ``finish`` would return at once."""

    def finish(self) -> Verdict | None:
        """Take part in the work until every job has an explicit answer; None when all are valid.

        The verdict is that of the lowest failing job, whoever verified it and in whatever order.
        """

    def cancel(self) -> None:
        """The answer is not wanted any more."""


class ScriptChecker(Protocol):
    """Who verifies scripts."""

    def start(self, scripts: BlockScripts) -> ScriptCheck | None:
        """Take a block's scripts on without waiting; None when this block is better verified by the caller."""


class FinishedCheck:
    """A check whose verdict is known."""

    __slots__ = ("_verdict",)

    done = True

    def __init__(self, verdict: Verdict | None) -> None:
        self._verdict = verdict

    def finish(self) -> Verdict | None:
        """The verdict."""
        return self._verdict

    def cancel(self) -> None:
        """Nothing is under way."""


class InlineChecker:
    """Verifies nothing elsewhere."""

    def start(self, scripts: BlockScripts) -> ScriptCheck | None:
        """Always the caller's work."""
        return None


class ShadowValidator(Protocol):
    """A second script engine that compares its verdicts with ours (``chain.shadow``)."""

    def selects(self, height: int) -> bool:
        """Whether the block at ``height`` is one to compare."""

    def check_block(
        self, height: int, block_hash: BlockHash, jobs: Sequence[ScriptJob], verdict: tuple[int, ScriptFailure] | None
    ) -> None:
        """Compare; raises when the engines disagree."""

    def summary(self) -> str:
        """What was compared so far, in one line."""

    def counts(self) -> Mapping[str, int]:
        """Blocks and inputs that were compared, and disagreements."""
