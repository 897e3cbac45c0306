"""The feerate below which we want no announcements, told to every peer now and then (BIP133)."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from btcnode.primitives.amounts import MAX_MONEY
from btcnode.protocol.agenda import NEVER, NEXT_TICK, Part
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import (
    AVG_FEEFILTER_INTERVAL,
    FEE_FILTER_SMALLEST,
    FEE_FILTER_SPACING,
    MAX_FEEFILTER_CHANGE_DELAY,
    MAX_FILTER_FEERATE,
)
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import FEEFILTER_VERSION
from btcnode.wire.messages import FeeFilter

if TYPE_CHECKING:
    from random import Random

    from btcnode.protocol.chain_view import TxSource
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer

_SILENT = (ConnectionKind.BLOCK_RELAY, ConnectionKind.FEELER, ConnectionKind.PRIVATE_BROADCAST)


class FeeFilterRounder:
    """Rounds feerates to one of few values, up or down by chance: an exact one would tell who we are."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._values = [0.0]
        value = FEE_FILTER_SMALLEST
        while value <= MAX_FILTER_FEERATE:
            self._values.append(value)
            value *= FEE_FILTER_SPACING
        self.maximum = int(self._values[-1])

    def round(self, feerate: int) -> int:
        """The next value above in one of three cases, the one below in the others; satoshi per kvB."""
        at = bisect_left(self._values, feerate)
        if at == len(self._values) or (at and self._rng.getrandbits(32) % 3):
            at -= 1
        return int(self._values[at])


class FeeFilters:
    """When which fee filter is sent to whom."""

    def __init__(self, ctx: Context, source: TxSource) -> None:
        self._ctx = ctx
        self._source = source
        self._rounder = FeeFilterRounder(ctx.rng)
        self._minimum = MAX_MONEY  # as in initial download, until a tick has looked
        self._initial = True

    def begin_tick(self) -> None:
        """Read the mempool's minimum once for all peers: none is wanted in initial download, when all are dropped."""
        if not self._ctx.config.tx_relay:
            return
        before = self._minimum
        self._initial = self._ctx.is_initial_block_download()
        self._minimum = MAX_MONEY if self._initial else self._source.minimum_feerate()
        if self._minimum != before:
            self._ctx.agenda.wake_all(Part.FEES)

    def tick(self, peer: Peer) -> float:
        """Send the filter if it is time: every ten minutes on average, within five after a substantial change.

        Returns when the peer is looked at next.
        """
        ctx = self._ctx
        if not ctx.config.tx_relay or not peer.role.is_told or peer.common_version < FEEFILTER_VERSION:
            return NEVER
        if peer.kind in _SILENT or peer.permissions & Permission.FORCE_RELAY:
            return NEVER
        before = peer.next_fee_filter
        wanted = self._minimum
        if not self._initial and peer.fee_filter_sent == self._rounder.maximum:
            peer.next_fee_filter = 0.0
        if ctx.mockable >= peer.next_fee_filter:
            feerate = max(self._rounder.round(wanted), self._source.relay_feerate())
            if feerate != peer.fee_filter_sent:
                ctx.send(peer, FeeFilter(feerate))
                peer.fee_filter_sent = feerate
            peer.next_fee_filter = ctx.mockable + ctx.rng.expovariate(1 / AVG_FEEFILTER_INTERVAL)
        elif ctx.mockable + MAX_FEEFILTER_CHANGE_DELAY < peer.next_fee_filter and not (
            3 * peer.fee_filter_sent <= 4 * wanted and 3 * wanted <= 4 * peer.fee_filter_sent
        ):
            peer.next_fee_filter = ctx.mockable + ctx.rng.uniform(0, MAX_FEEFILTER_CHANGE_DELAY)
        return NEXT_TICK if peer.next_fee_filter != before else before  # what was told may differ much from what is so
