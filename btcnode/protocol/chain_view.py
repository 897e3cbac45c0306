"""What the protocol sees of the chain: the header tree, the active chain, and two judgements over them."""

from __future__ import annotations

import logging
import typing
from typing import TYPE_CHECKING

from btcnode.consensus.known_txs import JudgedTx

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from btcnode.chain.active_chain import ActiveChain
    from btcnode.chain.header_tree import HeaderTree
    from btcnode.networks.parameters import NetworkParams

log = logging.getLogger("btcnode.chain")


class FoldedBlocks(typing.Protocol):
    """A sync without lookups that is under way: blocks up to a target are wanted in any order."""

    @property
    def target(self) -> int:
        """Header index of the last block, -1 while it is not known: nothing is asked for then."""

    @property
    def first(self) -> int:
        """Height of the lowest block that is missing."""

    def has(self, height: int) -> bool:
        """Whether the block at a height up to the target's is done."""

    def is_ready(self, height: int) -> bool:
        """Whether such a block may be asked for: what else it takes to fold it is here."""


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

    @property
    def history(self) -> tuple[int, int] | None:
        """Tip of the validated chain below a loaded UTXO set, and the set's block; None when there is no such set."""

    @property
    def folded(self) -> FoldedBlocks | None:
        """The sync without lookups that is under way, None when there is none."""

    def is_initial_block_download(self, unix_time: int) -> bool:
        """Whether the tip is still far behind; once False it stays False."""


class PoolEntry(JudgedTx, typing.Protocol):
    """A transaction of the mempool, as far as relay needs to know it; ``fee`` is without the user's deltas."""

    @property
    def vsize(self) -> int:
        """Policy virtual size in bytes."""

    @property
    def sequence(self) -> int:
        """The mempool's ``sequence`` when it came in."""


class TxSource(typing.Protocol):
    """Read access to the mempool, or to nothing. The loop thread owns it; nothing here takes long but ``in_order``."""

    @property
    def sequence(self) -> int:
        """Grows with every transaction that comes or goes; starts at 1 (Core's mempool sequence)."""

    def find_tx(self, tx_hash: bytes, by_wtxid: bool) -> PoolEntry | None:
        """The transaction in the mempool with this txid or wtxid, or None."""

    def by_wtxid(self) -> Mapping[bytes, PoolEntry]:
        """All transactions by wtxid, in a deterministic order; a live view, not to be kept."""

    def parents(self, entry: PoolEntry) -> Iterable[PoolEntry]:
        """Transactions of the mempool that ``entry`` spends from, in a deterministic order."""

    def chunk_feerate(self, entry: PoolEntry) -> float:
        """Feerate (satoshi per virtual byte) of the chunk of ``entry``: its place in the mempool's order."""

    def in_order(self) -> Iterable[PoolEntry]:
        """All transactions of this moment, best feerate first and parents before children, to be read by and by.

        For the mempool message only: 10 ms for a hundred thousand.
        """

    def best(self, count: int) -> Sequence[PoolEntry]:
        """At most ``count`` from the top of that order, 0.1 us each."""

    def minimum_feerate(self) -> int:
        """Satoshi per 1000 virtual bytes below which the full mempool takes nothing now (Core's ``GetMinFee``)."""

    def relay_feerate(self) -> int:
        """``--minrelaytxfee``: satoshi per 1000 virtual bytes below which nothing is relayed."""

    def unbroadcast(self) -> Collection[bytes]:
        """Txids of the user's transactions that no peer has asked for yet."""

    def asked_for(self, txid: bytes, group: int) -> None:
        """A peer of this group of addresses has asked for a transaction, and gets it."""


class NoTransactions:
    """A TxSource without transactions."""

    @property
    def sequence(self) -> int:
        """Always 1."""
        return 1

    def find_tx(self, tx_hash: bytes, by_wtxid: bool) -> PoolEntry | None:
        """Always None."""
        return None

    def by_wtxid(self) -> Mapping[bytes, PoolEntry]:
        """Nothing."""
        return {}

    def parents(self, entry: PoolEntry) -> Iterable[PoolEntry]:
        """Nothing."""
        return ()

    def chunk_feerate(self, entry: PoolEntry) -> float:
        """Zero."""
        return 0.0

    def in_order(self) -> Iterable[PoolEntry]:
        """Nothing."""
        return iter(())

    def best(self, count: int) -> Sequence[PoolEntry]:
        """Nothing."""
        return []

    def minimum_feerate(self) -> int:
        """Zero."""
        return 0

    def relay_feerate(self) -> int:
        """Zero."""
        return 0

    def unbroadcast(self) -> Collection[bytes]:
        """Nothing."""
        return ()

    def asked_for(self, txid: bytes, group: int) -> None:
        """Nothing to do."""


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
        history: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        """``history`` gives what the property of this name gives."""
        self._tree = tree
        self._active = active
        self._minimum = params.minimum_chain_work if minimum_chain_work is None else minimum_chain_work
        self._max_tip_age = max_tip_age
        self._initial = True
        self._history = history
        self._folded: FoldedBlocks | None = None

    @property
    def tree(self) -> HeaderTree:
        """All headers."""
        return self._tree

    @property
    def active(self) -> ActiveChain:
        """The chain whose tip the coins are at."""
        return self._active

    @property
    def history(self) -> tuple[int, int] | None:
        """Tip of the validated chain below a loaded UTXO set, and the set's block; None when there is no such set."""
        return self._history()

    @property
    def folded(self) -> FoldedBlocks | None:
        """The sync without lookups that is under way, None when there is none."""
        return self._folded

    def begin_folding(self, folded: FoldedBlocks) -> None:
        """A sync without lookups begins; until its end blocks are asked for as it wants them."""
        self._folded = folded

    def end_folding(self) -> None:
        """Blocks are asked for along the header tree again."""
        self._folded = None

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
            if not self._initial:
                log.info("Leaving InitialBlockDownload (latching to false)")  # tools wait for bitcoind's words
        return self._initial
