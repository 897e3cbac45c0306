"""Peers that send more than anybody needs: what is beyond the rate is not looked at, and they are not read for a while.

Their bytes wait in the kernel meanwhile, so a flood costs little more than what the rate allows; each excess counts
against the peer's score, which ends the connection when it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.protocol.limits import FLOOD_PAUSE, PING_BURST, PING_RATE, TX_INV_BURST, TX_INV_RATE
from btcnode.protocol.misbehaviour import Offence, weight_of
from btcnode.protocol.peer import PAUSE_FLOOD, Peer
from btcnode.settings.permissions import Permission

if TYPE_CHECKING:
    from btcnode.protocol.context import Context


class Floods:
    """Rates of pings and announcements of each peer."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._until: dict[int, float] = {}  # peers that are not read from

    def on_ping(self, peer: Peer) -> None:
        """A ping came; it is answered in any case."""
        now = self._ctx.steady
        if peer.ping_tokens < 1:
            peer.ping_tokens = min(PING_BURST, max(0.0, now - peer.ping_tokens_at) * PING_RATE)
            peer.ping_tokens_at = now
        if peer.ping_tokens >= 1:
            peer.ping_tokens -= 1
        else:
            self._excess(peer, Offence.PING_FLOOD, 1)

    def announcements(self, peer: Peer, count: int) -> int:
        """An inv with ``count`` entries came: how many of them are looked at."""
        if peer.permissions & Permission.RELAY:
            return count
        now = self._ctx.steady
        if peer.tx_inv_tokens < count:
            earned = max(0.0, now - peer.tx_inv_at) * TX_INV_RATE
            peer.tx_inv_tokens = min(TX_INV_BURST, peer.tx_inv_tokens + earned)
            peer.tx_inv_at = now
        looked_at = min(count, int(peer.tx_inv_tokens))
        peer.tx_inv_tokens -= looked_at
        if looked_at < count:
            self._excess(peer, Offence.INV_FLOOD, count - looked_at)
        return looked_at

    def _excess(self, peer: Peer, offence: Offence, count: int) -> None:
        peer.conduct.blame(offence.name, count * weight_of(offence))
        if not peer.no_ban:
            self._until[peer.id] = self._ctx.steady + FLOOD_PAUSE
            self._ctx.pause(peer, PAUSE_FLOOD)

    def tick(self) -> None:
        """Read again from those who have waited."""
        for peer_id, until in list(self._until.items()):
            if self._ctx.steady >= until:
                del self._until[peer_id]
                if (peer := self._ctx.peers.get(peer_id)) is not None:
                    self._ctx.resume(peer, PAUSE_FLOOD)
