"""Transactions of a wallet, and what has become of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from btcnode.primitives.coin import txout_value
from btcnode.primitives.tx import Tx


class Confirmed(NamedTuple):
    """In a block of the active chain, ``position`` counted from 0."""

    block_hash: bytes
    height: int
    position: int


class BlockConflicted(NamedTuple):
    """A block of the active chain spends what it spends, or what one of its ancestors spends."""

    block_hash: bytes
    height: int


class InPool(NamedTuple):
    """In the mempool."""


class Inactive(NamedTuple):
    """Nowhere but in the wallet; ``abandoned``: the user has given it up, its inputs may be spent again."""

    abandoned: bool = False


State = Confirmed | BlockConflicted | InPool | Inactive
IN_POOL, INACTIVE, ABANDONED = InPool(), Inactive(), Inactive(True)


@dataclass(slots=True, eq=False)
class WalletTx:
    """A transaction of a wallet's history.

    ``received`` is when it became known, ``smart_time`` what is shown as its time: the block's, as far as that fits
    the order (Unix seconds). ``position`` orders transactions as they became known. ``notes`` are told by RPC as they
    are: comment, to, replaces_txid, replaced_by_txid. ``pool_conflicts`` are txids of transactions in the mempool that
    contradict this one or an ancestor (as keys, in order), ``truc_child`` the one child in the mempool of a version 3
    transaction.
    """

    tx: Tx
    state: State
    received: int = 0
    smart_time: int = 0
    position: int = -1
    notes: dict[str, str] = field(default_factory=dict)
    pool_conflicts: dict[bytes, None] = field(default_factory=dict)
    truc_child: bytes | None = None

    @property
    def txid(self) -> bytes:
        """The transaction's, 32 bytes in internal order."""
        return self.tx.txid

    @property
    def is_coinbase(self) -> bool:
        """Whether it makes a block's new coins."""
        return self.tx.is_coinbase

    @property
    def is_confirmed(self) -> bool:
        """Whether a block of the active chain has it."""
        return type(self.state) is Confirmed

    @property
    def in_pool(self) -> bool:
        """Whether the mempool has it."""
        return type(self.state) is InPool

    @property
    def is_abandoned(self) -> bool:
        """Whether the user has given it up."""
        return type(self.state) is Inactive and self.state.abandoned

    @property
    def is_inactive(self) -> bool:
        """Whether it is nowhere else."""
        return type(self.state) is Inactive

    @property
    def is_block_conflicted(self) -> bool:
        """Whether a block contradicts it."""
        return type(self.state) is BlockConflicted

    @property
    def is_unconfirmed(self) -> bool:
        """Whether it may confirm yet, as far as is known."""
        return not (self.is_abandoned or self.is_block_conflicted or self.pool_conflicts or self.is_confirmed)

    @property
    def spends(self) -> bool:
        """Whether its inputs count as spent."""
        return not (self.is_abandoned or self.is_block_conflicted or self.pool_conflicts)

    @property
    def time(self) -> int:
        """The time that is shown."""
        return self.smart_time or self.received

    @property
    def value_out(self) -> int:
        """Satoshi of all outputs."""
        return sum(txout_value(txout) for txout in self.tx.txouts)
