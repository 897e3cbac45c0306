"""What the chainstate tells the rest of the node: plain data, newest last."""

from __future__ import annotations

from dataclasses import field

from btcnode.errors import ProofError, RuleViolation
from btcnode.primitives.block import ParsedBlock
from btcnode.record import record


@record
class BlockConnected:
    """The header at ``index`` is the new tip; ``inputs`` and ``txs`` count what its block held.

    ``block`` is the block itself: do not keep it.
    """

    index: int
    height: int
    txs: int
    inputs: int
    fees: int
    block: ParsedBlock = field(compare=False, repr=False)


@record
class BlockDisconnected:
    """The block at ``index`` left the active chain; its parent is the tip now. Do not keep ``block``.

    ``by_hand``: the user has declared it invalid. ``returns``: its transactions may become unconfirmed again.
    """

    index: int
    height: int
    block: ParsedBlock = field(compare=False, repr=False)
    by_hand: bool = False
    returns: bool = True


@record
class BlockRejected:
    """The block at ``index`` broke a rule: when its bytes were checked, or (``connecting``) on the coins.

    ``top`` is the last of the blocks that would have been connected with it (-1 while connecting nothing).
    """

    index: int
    violation: RuleViolation
    connecting: bool = False
    top: int = -1


@record
class BlockInvalidated:
    """The user has declared the block at ``index`` invalid, and the active chain has left it."""

    index: int


@record
class BlockStored:
    """The bytes of the block at ``index`` passed the checks that need no coins, and lie on disk."""

    index: int


@record
class BlockUnproven:
    """The block at ``index`` could not be connected as its Utreexo proof is wrong or missing; its data is not here now.

    ``error`` says what is wrong with the proof. Nothing is said of the block, nor of the chain on top of it.
    """

    index: int
    error: ProofError


@record
class Flushed:
    """Coins, index and tip marker are on disk up to the block that was the tip when the flush began."""

    coins_put: int
    coins_deleted: int


@record
class SnapshotActivated:
    """A UTXO set was loaded: the header at ``index`` is the tip, without the blocks on the way to it."""

    index: int
    height: int


@record
class HistoryMoved:
    """The chain below a loaded UTXO set has come to the header at ``index``, or is validated completely."""

    index: int
    height: int


ChainEvent = (
    BlockConnected
    | BlockDisconnected
    | BlockRejected
    | BlockInvalidated
    | BlockStored
    | BlockUnproven
    | Flushed
    | SnapshotActivated
    | HistoryMoved
)
