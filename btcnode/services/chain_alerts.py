"""Watches the chain for what the user should know: unknown rules, a better chain that is invalid."""

from __future__ import annotations

import logging
from math import log2

from btcnode.chain.block_status import FAILED_VALID
from btcnode.chain.events import BlockConnected, BlockDisconnected, BlockInvalidated, BlockRejected, ChainEvent
from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.pow import block_work
from btcnode.primitives.hashes import to_display
from btcnode.protocol.connections.time_offsets import WARN_SECONDS
from btcnode.services.alerts import Alert, Alerts
from btcnode.services.chain import Chain
from btcnode.services.times import iso_time

BLOCKS_AHEAD = 6  # work that an invalid chain has before anybody is told of it, in blocks like the tip
INVALID_CHAIN_TEXT = (
    "Found invalid chain more than 6 blocks longer than our best chain."
    " This could be due to database corruption or consensus incompatibility with peers."
)  # word for word: monitoring looks for it
CLOCK_TEXT = (
    f"This computer's clock differs from that of its peers by more than {WARN_SECONDS // 60} minutes. A wrong clock can"
    " make the node refuse good blocks: check date, time and time zone. The warning goes when newly connected outbound"
    " peers agree with the clock; getpeerinfo and getnetworkinfo show the differences as timeoffset."
)

log = logging.getLogger("btcnode.chain")


class ChainAlerts:
    """Raises and lowers the alerts that depend on the chain and on the clocks of peers."""

    def __init__(self, chain: Chain, alerts: Alerts) -> None:
        self._chain = chain
        self._alerts = alerts
        self._tree: HeaderTree = chain.tree
        self._best_invalid = -1
        self._former_tip = -1  # before the blocks that were disconnected last, until one is connected
        self._find_invalid()
        chain.driver.listen(self._on_events)
        chain.listen_failures(self._failures_changed)

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        moved = False
        for event in chain_events:
            if isinstance(event, BlockConnected | BlockDisconnected):
                moved = True
                self._note_move(event)
            elif isinstance(event, BlockRejected) and self._tree.is_failed(event.index):
                self._log_rejected(event)
                self._note_invalid(event.index)
                if event.connecting:
                    self._note_invalid(event.top)
            elif isinstance(event, BlockInvalidated):
                self._log_invalid(event.index)
                self._note_invalid(event.index)
                self._note_side_branches(event.index)
        if moved:
            self._check_forks()
            self._check_rules()

    def _log_rejected(self, event: BlockRejected) -> None:
        """Core's lines: tools read them."""
        if event.connecting:
            log.info("Block validation error: %s", event.violation)
        self._log_invalid(event.index)
        if event.connecting:
            name = to_display(self._tree.hash(event.index))
            log.warning("ConnectTip: ConnectBlock %s failed, %s", name, event.violation)
            self._log_invalid(event.top)

    def _log_invalid(self, index: int) -> None:
        """Two lines with two spaces between the parts, as in Core up to 30: test harnesses wait for them so."""
        tree = self._tree
        for name, at in (("invalid block", index), (" current best", self._chain.tip())):
            log.info(
                "InvalidChainFound: %s=%s  height=%d  log2_work=%f  date=%s",
                name, to_display(tree.hash(at)), tree.height(at), log2(tree.chainwork(at)), iso_time(tree.time(at)),
            )  # fmt: skip

    # -- a chain with more work that is invalid --------------------------------------------------------------------

    def _find_invalid(self) -> None:
        """At the start every chain that has failed counts."""
        tree = self._tree
        failed = [index for index in tree.tips() if tree.is_failed(index)]
        self._best_invalid = max(failed, key=tree.chainwork, default=-1)
        self._check_forks()

    def _note_invalid(self, index: int) -> None:
        """A block has failed; as in Core what the user declares invalid counts without the blocks above it."""
        if self._best_invalid < 0 or self._tree.chainwork(index) > self._tree.chainwork(self._best_invalid):
            self._best_invalid = index
        self._check_forks()

    def _note_move(self, event: BlockConnected | BlockDisconnected) -> None:
        if isinstance(event, BlockConnected):
            self._former_tip = -1
        elif self._former_tip < 0:
            self._former_tip = event.index

    def _note_side_branches(self, invalid: int) -> None:
        """Branches off the active chain that the user has made invalid with it count when the chain moves next.

        Core comes upon them while it looks for what is the best now.
        """
        tree = self._tree
        if self._former_tip < 0 or not tree.is_ancestor(invalid, self._former_tip):
            return
        for tip in tree.tips():
            if not tree.is_failed(tip) or not tree.is_ancestor(invalid, tip):
                continue
            best = -1
            while not tree.is_ancestor(tip, self._former_tip):
                if tree.status(tip) & FAILED_VALID:
                    best = -1  # it was invalid before, and so was all above it
                elif best < 0 and tree.is_linked(tip):
                    best = tip
                tip = tree.prev(tip)
            if best >= 0 and tree.chainwork(best) > tree.chainwork(self._best_invalid):
                self._best_invalid = best

    def _failures_changed(self) -> None:
        """The user has invalidated or reconsidered a block; what follows is told when the chain moves, as in Core."""
        if self._best_invalid >= 0 and not self._tree.is_failed(self._best_invalid):
            self._best_invalid = -1

    def _check_forks(self) -> None:
        tree, tip, rival = self._tree, self._chain.tip(), self._best_invalid
        margin = block_work(tree.bits(tip)) * BLOCKS_AHEAD
        if rival >= 0 and tree.chainwork(rival) > tree.chainwork(tip) + margin:
            if self._alerts.raise_alert(Alert.INVALID_CHAIN, f"Warning: {INVALID_CHAIN_TEXT}"):
                log.warning("%s", INVALID_CHAIN_TEXT)
        else:
            self._alerts.lower_alert(Alert.INVALID_CHAIN)

    # -- rules that this node has not ------------------------------------------------------------------------------

    def _check_rules(self) -> None:
        for text, active in self._chain.unknown_rules():
            if active:
                self._alerts.raise_alert(Alert.UNKNOWN_RULES, text)

    # -- the clock -------------------------------------------------------------------------------------------------

    def check_clock(self, median_offset: int) -> None:
        """``median_offset``: seconds by which the clocks of peers are ahead of ours."""
        if abs(median_offset) <= WARN_SECONDS:
            self._alerts.lower_alert(Alert.CLOCK)
        elif self._alerts.raise_alert(Alert.CLOCK, CLOCK_TEXT):
            log.warning("%s", CLOCK_TEXT)
