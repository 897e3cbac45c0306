"""The chainstate's units of work.

The loop thread plans a step from the header tree, the chain thread executes it on coins and files, the loop thread
commits the result to the tree. A step carries everything that its execution reads of the mutable state.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.chain.second_look import SecondLook
from btcnode.consensus.known_txs import JudgedTx
from btcnode.errors import ProofError, RuleViolation
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.steps import Steps
from btcnode.record import record, struct
from btcnode.storage.blockfiles import BlockPos


@record
class StoreStep:
    """Check the bytes of the block of header ``index`` and append them to the block files.

    ``position`` is set when the bytes lie in the block files already (reindex): then nothing is written. ``known`` has
    what was found out about the block's transactions before, by their places, if anything was. ``checked`` is called in
    the chain thread with a block that has passed, before it is written.
    """

    index: int
    prev: int
    raw: bytes
    parsed: ParsedBlock | None = None
    position: BlockPos | None = None
    known: tuple[JudgedTx | None, ...] = ()
    checked_txs: int = 0  # not 0: the block was checked elsewhere and has so many transactions; it is only stored
    checked: Callable[[ParsedBlock], object] | None = None


@record
class ConnectStep:
    """Connect the block of header ``index``, a child of the tip; its bytes lie at ``position``.

    ``undo_position`` is where its undo data lies already, if it was connected before.
    """

    index: int
    prev: int
    height: int
    position: BlockPos
    undo_position: BlockPos | None
    verify_scripts: bool


@record
class FinishStep:
    """Wait for the scripts of the oldest block that was connected ahead of its script checks: header ``index``."""

    index: int
    height: int


@record
class RetreatStep:
    """Give up every block that was connected ahead of its script checks."""


@record
class DisconnectStep:
    """Disconnect the tip, header ``index``."""

    index: int
    prev: int
    height: int
    position: BlockPos
    undo_position: BlockPos


@record
class FlushStep:
    """Write the index records of changed headers, then coins and tip marker in one transaction.

    Without coins the marker stays what it is. ``beside``: only begin to write; a ``EndFlushStep`` has to follow, and
    blocks may be connected in between. ``prune``: numbers of block files that are deleted afterwards; the records of
    their blocks are among those written.
    """

    records: list[tuple[int, bytes]]
    tip_hash: bytes
    with_coins: bool = True
    beside: bool = False
    prune: tuple[int, ...] = ()


@record
class EndFlushStep:
    """Wait for the end of the flush that was begun as ``flush``."""

    flush: FlushStep


@record
class SecondLookStep:
    """A slice of the second look at block ``index``, which was found invalid (``pending_looks.py``)."""

    index: int
    slices: Steps[None]


Step = StoreStep | ConnectStep | FinishStep | RetreatStep | DisconnectStep | FlushStep | EndFlushStep | SecondLookStep


@struct
class StepResult:
    """What came of a step; ``violation`` set means that the block is at fault and nothing was changed.

    ``ahead``: the block is connected but its scripts are still being verified, a ``FinishStep`` has to follow.
    ``postponed``: it cannot be judged before those ahead of it are finished; nothing was changed.

    ``unproven``: what it spends was not shown to be in the set, which says nothing of the block; nothing was changed.
    ``condemns`` False: the violation is not held against the header.
    """

    violation: RuleViolation | None = None
    condemns: bool = True
    second_look: SecondLook | None = (
        None  # at the coins that a block was judged by: until then the verdict is of this run
    )
    slice: tuple[float, bool] = (0.0, False)  # seconds of a slice, and whether it was the last
    position: BlockPos | None = None
    crc: int = 0  # CRC-32 of the bytes that were stored
    undo_position: BlockPos | None = None
    txs: int = 0
    inputs: int = 0
    fees: int = 0
    ahead: bool = False
    postponed: bool = False
    unproven: ProofError | None = None
    block: ParsedBlock | None = None  # that was stored, connected or disconnected
    coins_put: int = 0
    coins_deleted: int = 0
