"""Heartbeat: latency and liveness of peers (BIP31), all from one timer wheel.

A ping goes out every two minutes, and is also the probe of a peer that has been silent as long. A peer that says
nothing for three minutes is degraded, until it sends again; one that owes a pong for twenty minutes is dropped, as in
Bitcoin Core.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.protocol.connections.floods import Floods
from btcnode.protocol.connections.peer_states import PeerEvent, PeerState
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import (
    HEARTBEAT_MISSED,
    MAX_OWED_PONGS,
    PING_INTERVAL,
    TIMEOUT_INTERVAL,
)
from btcnode.protocol.peer import Peer
from btcnode.protocol.timer_wheel import TimerWheel
from btcnode.wire.constants import BIP31_VERSION
from btcnode.wire.messages import Ping, Pong


class Pings:
    """Pings, pongs, and what silence means."""

    def __init__(self, ctx: Context, floods: Floods, has_work: Callable[[int], bool]) -> None:
        """``has_work``: whether orphans of a peer wait to be looked at once more."""
        self._ctx = ctx
        self._floods = floods
        self._has_work = has_work
        self._owing: dict[int, None] = {}  # peers that wait for a pong
        self._wheel = TimerWheel(ctx.mockable)
        self._queued: dict[int, None] = {}  # peers to be pinged whatever the time is

    def connected(self, peer: Peer) -> None:
        """The handshake is complete: the first ping goes out."""
        peer.ping.queued = True
        self._check(peer)

    def forget(self, peer: Peer) -> None:
        """The connection is gone."""
        self._owing.pop(peer.id, None)
        self._wheel.cancel(peer.id)

    def on_ping(self, peer: Peer, message: Ping) -> None:
        """Answer with the same nonce, once what the peer sent before is judged and what it asked for is sent.

        That is Core's order. Versions before BIP31 expect no answer.
        """
        if peer.common_version <= BIP31_VERSION:
            return
        self._floods.on_ping(peer)
        requests = peer.serve.queue.added
        if not peer.unjudged and not self._has_work(peer.id) and peer.serve.has_answered(requests):
            self._ctx.send(peer, Pong(message.nonce))
        elif len(peer.ping.owed) < MAX_OWED_PONGS:
            peer.ping.owed.append((peer.unjudged.place, requests, message.nonce))
            self._owing[peer.id] = None

    def flush(self) -> None:
        """Send the pongs that waited for something and do so no more."""
        for peer_id in list(self._owing) if self._owing else ():
            peer = self._ctx.peers.get(peer_id)
            if peer is None or peer.disconnecting:
                del self._owing[peer_id]
                continue
            owed = peer.ping.owed
            while owed and not self._has_work(peer_id):
                place, requests, nonce = owed[0]
                if not peer.unjudged.clear_up_to(place) or not peer.serve.has_answered(requests):
                    break
                owed.popleft()
                self._ctx.send(peer, Pong(nonce))
            if not owed:
                del self._owing[peer_id]

    def on_pong(self, peer: Peer, message: Pong) -> None:
        """Take the round-trip time if the nonce is that of the ping under way; a missing or zero nonce cancels it."""
        ping, expected = peer.ping, peer.ping.nonce
        problem = ""
        if message.nonce is None:
            problem = "Short payload"
            ping.nonce = 0
        elif not expected:
            problem = "Unsolicited pong without ping"
        elif message.nonce == expected:
            ping.last = max(0.0, self._ctx.mockable - ping.sent_at)
            ping.minimum = ping.last if ping.minimum is None else min(ping.minimum, ping.last)
            ping.nonce = 0
        elif not message.nonce:
            problem = "Nonce zero"  # from software that does not echo it
            ping.nonce = 0
        else:
            problem = "Nonce mismatch"
        if problem:
            size = 0 if message.nonce is None else 8
            text = f"{problem}, {expected:x} expected, {message.nonce or 0:x} received, {size} bytes"
            self._ctx.log(LogLevel.DEBUG, "net", f"pong peer={peer.id}: {text}")
        if expected:
            self._wheel.set(peer.id, ping.sent_at + PING_INTERVAL)

    def on_message(self, peer: Peer) -> None:
        """Something came from the peer: it is alive."""
        if self._ctx.states.state(peer.id) is PeerState.DEGRADED:
            self._ctx.states.handle(peer.id, PeerEvent.DATA_SYNCED)

    def queue_all(self) -> None:
        """Ping every peer at the next tick (the user's ``ping``)."""
        for peer in self._ctx.peers.values():
            peer.ping.queued = True
            if peer.established:
                self._queued[peer.id] = None

    def tick(self) -> None:
        """Look at the peers whose time has come."""
        queued, self._queued = self._queued, {}
        for peer_id in (*queued, *self._wheel.advance(self._ctx.mockable)):
            peer = self._ctx.peers.get(peer_id)
            if peer is not None and peer.established and not peer.disconnecting:
                self._check(peer)

    def _check(self, peer: Peer) -> None:
        """Send what is due; note silence; close the connection when an answer is overdue."""
        ping, mockable = peer.ping, self._ctx.mockable
        waited = mockable - ping.sent_at
        if ping.nonce and waited > TIMEOUT_INTERVAL:
            self._ctx.states.handle(peer.id, PeerEvent.TIMEOUT)
            self._ctx.disconnect(peer, f"ping timeout: {waited:.6f}s")
            return
        if ping.queued or (not ping.nonce and waited > PING_INTERVAL):
            self._send(peer)
        silent = mockable - peer.last_received
        if ping.nonce and silent > HEARTBEAT_MISSED and self._ctx.states.state(peer.id) is PeerState.STABLE:
            self._ctx.states.handle(peer.id, PeerEvent.HEARTBEAT_MISSED)
        moments = [ping.sent_at + (TIMEOUT_INTERVAL if ping.nonce else PING_INTERVAL)]
        if self._ctx.states.state(peer.id) is PeerState.STABLE and peer.last_received + HEARTBEAT_MISSED > mockable:
            moments.append(peer.last_received + HEARTBEAT_MISSED)
        self._wheel.set(peer.id, min(moments) + 0.001)

    def _send(self, peer: Peer) -> None:
        ping = peer.ping
        nonce = self._ctx.rng.getrandbits(64) or 1
        ping.queued = False
        ping.sent_at = self._ctx.mockable
        ping.nonce = nonce if peer.common_version > BIP31_VERSION else 0
        self._ctx.send(peer, Ping(nonce))
