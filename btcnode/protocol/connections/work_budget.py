"""What peers' messages cost us in measured processor time, against a budget for each that refills.

Work that we asked for (blocks, headers, transactions on request) is not charged; verifying the scripts of a transaction
that is refused then is, whoever asked for it and whatever process did it. Who has used its budget up is not read from
until a tenth of it is back; each budget that is used up counts against its score, which ends the connection in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import WORK_BURST, WORK_RATE
from btcnode.protocol.misbehaviour import Offence, weight_of
from btcnode.protocol.peer import PAUSE_WORK

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.events import WorkMeasured
    from btcnode.protocol.peer import Peer


class WorkBudget:
    """The budgets of all peers."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._paused: dict[int, None] = {}

    def on_measured(self, event: WorkMeasured) -> None:
        """What was done for peers since the last time."""
        for peer_id, seconds in event.spent:
            peer = self._ctx.peers.get(peer_id)
            if peer is None or not peer.role.is_heard:
                continue
            self._refill(peer)
            before = 0 if peer_id not in self._paused else _budgets(peer)
            peer.work_left -= seconds
            peer.conduct.work += seconds
            if (used := _budgets(peer) - before) > 0:
                self._overspent(peer, used)

    def useful(self, peer: Peer, seconds: float) -> None:
        """What the peer sent unasked was of use: that time is given back."""
        peer.work_left = min(WORK_BURST, peer.work_left + seconds)

    def _refill(self, peer: Peer) -> None:
        now = self._ctx.steady
        peer.work_left = min(WORK_BURST, peer.work_left + (now - peer.work_at) * WORK_RATE)
        peer.work_at = now

    def _overspent(self, peer: Peer, used: int) -> None:
        """Another so many budgets are used up."""
        ctx = self._ctx
        peer.conduct.blame(Offence.OVERSPENDING.name, used * weight_of(Offence.OVERSPENDING))
        text = f"{Offence.OVERSPENDING.value}: {peer.conduct.work:.2f} s of processor time of late"
        self._paused[peer.id] = None
        ctx.pause(peer, PAUSE_WORK)
        ctx.log_peer(peer, LogLevel.DEBUG, f"{text}: not read for a while")

    def tick(self) -> None:
        """Read again from those whose budget allows it."""
        for peer_id in list(self._paused):
            peer = self._ctx.peers.get(peer_id)
            if peer is not None:
                self._refill(peer)
                if peer.work_left < WORK_BURST / 10:
                    continue
                self._ctx.resume(peer, PAUSE_WORK)
            del self._paused[peer_id]


def _budgets(peer: Peer) -> int:
    """How many budgets the peer has used up beyond what it had: 1 as soon as nothing is left."""
    return 1 + int(-peer.work_left / WORK_BURST) if peer.work_left < 0 else 0
