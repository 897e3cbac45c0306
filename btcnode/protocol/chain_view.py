"""What the protocol sees of the chain: the header tree, the active chain, and two judgements over them."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btcnode.chain.active_chain import ActiveChain
    from btcnode.chain.header_tree import HeaderTree
    from btcnode.params import NetworkParams


class ChainView(typing.Protocol):
    """Read access to the chain, and the header tree to add headers to (the loop thread owns it)."""

    @property
    def tree(self) -> HeaderTree:
        """All headers."""

    @property
    def active(self) -> ActiveChain:
        """The chain whose tip the coins are at."""

    @property
    def minimum_chain_work(self) -> int:
        """Chains with less work are neither downloaded nor served (``--minimumchainwork``)."""

    def is_initial_block_download(self, unix_time: int) -> bool:
        """Whether the tip is still far behind; once False it stays False."""


class TxSource(typing.Protocol):
    """Transactions that can be served: a mempool, or nothing."""

    def find_tx(self, tx_hash: bytes, by_wtxid: bool) -> bytes | None:
        """The serialised transaction with its witness, or None."""

    def minimum_feerate(self) -> int:
        """Satoshi per 1000 virtual bytes below which announcements are not wanted."""


class NoTransactions:
    """A TxSource without transactions."""

    def find_tx(self, tx_hash: bytes, by_wtxid: bool) -> bytes | None:
        """Always None."""
        return None

    def minimum_feerate(self) -> int:
        """Zero."""
        return 0


class NodeChainView:
    """The ChainView over a node's tree and active chain.

    Initial block download ends, for good, when the tip has the minimum chain work and is younger than
    ``max_tip_age`` seconds.
    """

    def __init__(
        self,
        tree: HeaderTree,
        active: ActiveChain,
        params: NetworkParams,
        *,
        minimum_chain_work: int | None = None,
        max_tip_age: int = 24 * 3600,
    ) -> None:
        self._tree = tree
        self._active = active
        self._minimum = params.minimum_chain_work if minimum_chain_work is None else minimum_chain_work
        self._max_tip_age = max_tip_age
        self._initial = True

    @property
    def tree(self) -> HeaderTree:
        """All headers."""
        return self._tree

    @property
    def active(self) -> ActiveChain:
        """The chain whose tip the coins are at."""
        return self._active

    @property
    def minimum_chain_work(self) -> int:
        """Chains with less work are neither downloaded nor served."""
        return self._minimum

    def is_initial_block_download(self, unix_time: int) -> bool:
        """Whether the tip is still far behind; once False it stays False."""
        if self._initial:
            tip = self._active.tip
            tree = self._tree
            self._initial = tree.chainwork(tip) < self._minimum or tree.time(tip) < unix_time - self._max_tip_age
        return self._initial
