"""Pings: latency and liveness (BIP31)."""

from __future__ import annotations

from btcnode.protocol.context import Context
from btcnode.protocol.limits import PING_INTERVAL, TIMEOUT_INTERVAL
from btcnode.protocol.peer import Peer
from btcnode.wire.constants import BIP31_VERSION
from btcnode.wire.messages import Ping, Pong


class Pings:
    """A ping after the handshake and every two minutes; no answer for twenty minutes ends the connection."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def on_ping(self, peer: Peer, message: Ping) -> None:
        """Answer with the same nonce; versions before BIP31 expect no answer."""
        if peer.common_version > BIP31_VERSION:
            self._ctx.send(peer, Pong(message.nonce))

    def on_pong(self, peer: Peer, message: Pong) -> None:
        """Take the round-trip time if the nonce is that of the ping under way; a missing or zero nonce cancels it."""
        ping = peer.ping
        if not ping.nonce:
            return
        if message.nonce == ping.nonce:
            ping.last = max(0.0, self._ctx.mono - ping.sent_at)
            ping.minimum = ping.last if ping.minimum is None else min(ping.minimum, ping.last)
            ping.nonce = 0
        elif not message.nonce:
            ping.nonce = 0

    def queue_all(self) -> None:
        """Ping every peer at the next tick (the user's ``ping``)."""
        for peer in self._ctx.peers.values():
            peer.ping.queued = True

    def tick(self, peer: Peer) -> None:
        """Send what is due; close the connection when an answer is overdue."""
        ping, mono = peer.ping, self._ctx.mono
        if ping.nonce and mono - ping.sent_at > TIMEOUT_INTERVAL:
            self._ctx.disconnect(peer, f"ping timeout: {mono - ping.sent_at:.0f} s")
            return
        if ping.queued or (not ping.nonce and mono - ping.sent_at > PING_INTERVAL):
            self._send(peer)

    def _send(self, peer: Peer) -> None:
        ping = peer.ping
        nonce = self._ctx.rng.getrandbits(64) or 1
        ping.queued = False
        ping.sent_at = self._ctx.mono
        ping.nonce = nonce if peer.common_version > BIP31_VERSION else 0
        self._ctx.send(peer, Ping(nonce))
