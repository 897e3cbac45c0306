"""How long a peer may hold the download window up: two seconds, longer after each peer that was dropped for it.

The time doubles with every such peer, since our own line may be the cause, and shrinks again as blocks connect
(Bitcoin Core's figures, in whole seconds).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import (
    BLOCK_STALLING_DECAY,
    BLOCK_STALLING_TIMEOUT_DEFAULT,
    BLOCK_STALLING_TIMEOUT_MAX,
)

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer


class Stalling:
    """The time-out, and who runs into it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.timeout = BLOCK_STALLING_TIMEOUT_DEFAULT  # seconds

    def start(self, peer: Peer, grace: float = 0.0) -> None:
        """The peer holds the window up: its time begins after ``grace`` seconds, unless it runs already."""
        if peer.blocks.stalling_since is None:
            peer.blocks.stalling_since = self._ctx.mockable + grace
            self._ctx.log(LogLevel.DEBUG, "net", f"Stall started peer={peer.id}")

    def drop_overdue(self, peer: Peer) -> bool:
        """Disconnect a peer whose time is over; tells whether it was."""
        since = peer.blocks.stalling_since
        if since is None or self._ctx.mockable - since <= self.timeout:
            return False
        self._ctx.disconnect(peer, "Peer is stalling block download")
        longer = min(2 * self.timeout, BLOCK_STALLING_TIMEOUT_MAX)
        if longer != self.timeout:
            self.timeout = longer
            self._ctx.log(LogLevel.DEBUG, "net", f"Increased stalling timeout temporarily to {longer} seconds")
        return True

    def on_connected(self) -> None:
        """A block joined the active chain."""
        shorter = max(int(self.timeout * BLOCK_STALLING_DECAY), BLOCK_STALLING_TIMEOUT_DEFAULT)
        if shorter != self.timeout:
            self.timeout = shorter
            self._ctx.log(LogLevel.DEBUG, "net", f"Decreased stalling timeout to {shorter} seconds")
