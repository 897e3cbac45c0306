"""Heartbeat: latency and liveness of peers (BIP31), all from one timer wheel.

A ping goes out every two minutes, as in Bitcoin Core, and after one minute of silence already to a peer that owes us
something. Who has said nothing for three minutes, and left a ping unanswered for one, is silent: degraded until it is
heard of again. One that owes a pong for twenty minutes is dropped, as in Bitcoin Core.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.protocol.connections.floods import Floods
from btcnode.protocol.connections.peer_states import PeerEvent
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.events import PeersPressing
from btcnode.protocol.limits import (
    HEARTBEAT_MISSED,
    MAX_OWED_PONGS,
    PING_INTERVAL,
    PROBE_RECHECK,
    PROBE_UNANSWERED,
    TIMEOUT_INTERVAL,
)
from btcnode.protocol.peer import Peer
from btcnode.protocol.timer_wheel import TimerWheel
from btcnode.wire.constants import BIP31_VERSION
from btcnode.wire.messages import Ping, PingWithoutNonce, Pong


class Pings:
    """Pings, pongs, and what silence means."""

    def __init__(
        self, ctx: Context, floods: Floods, has_work: Callable[[int], bool], owes: Callable[[Peer], bool]
    ) -> None:
        """``has_work``: whether orphans of a peer wait to be looked at once more. ``owes``: whether it was asked."""
        self._ctx = ctx
        self._floods = floods
        self._has_work = has_work
        self._owes = owes
        self._owing: dict[int, None] = {}  # peers that wait for a pong
        self._wheel = TimerWheel(ctx.mockable)
        self._queued: dict[int, None] = {}  # peers to be pinged whatever the time is

    def connected(self, peer: Peer) -> None:
        """The handshake is complete: the first ping goes out."""
        peer.ping.queued = True
        self._check(peer)

    def forget(self, peer: Peer) -> None:
        """Nothing is sent to the peer any more."""
        self._owing.pop(peer.id, None)
        self._wheel.cancel(peer.id)

    def on_ping(self, peer: Peer, message: Ping) -> None:
        """Answer with the same nonce, once what the peer sent before is judged and what it asked for is sent.

        That is Core's order. Versions before BIP31 expect no answer.
        """
        if peer.common_version <= BIP31_VERSION:
            return
        self._floods.on_ping(peer)
        requests = peer.serve.asked
        if not peer.unjudged and not self._has_work(peer.id) and peer.serve.has_answered(requests):
            self._ctx.send(peer, Pong(message.nonce))
        elif len(peer.ping.owed) < MAX_OWED_PONGS:
            peer.ping.owed.append((peer.unjudged.place, requests, message.nonce))
            self._owing[peer.id] = None

    def flush(self) -> None:
        """Send the pongs that waited for something and do so no more."""
        for peer_id in list(self._owing) if self._owing else ():
            peer = self._ctx.peers.get(peer_id)
            if peer is None or not peer.role.is_spoken_to:
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

    def on_pressing(self, event: PeersPressing) -> None:
        """Peers send more than we read: each gets something to read, which shows whether it is still there.

        A system that has nobody for it any more refuses it, and the connection ends.
        """
        for peer_id in event.peer_ids:
            peer = self._ctx.peers.get(peer_id)
            if peer is None or not peer.role.is_spoken_to:
                continue
            if peer.ping.nonce:  # its answer may lie behind what waits
                self._ctx.send(peer, Ping(peer.ping.nonce))
            elif peer.role.is_complete:
                self._send(peer)
                self.watch(peer)

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
            took = self._ctx.mockable - ping.sent_at
            if took < 0:  # the user has set the clock back
                problem = "Timing mishap"
            else:
                ping.last = took
                ping.minimum = took if ping.minimum is None else min(ping.minimum, took)
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
            self.watch(peer)

    def watch(self, peer: Peer) -> None:
        """What the peer's next moment depends on has changed."""
        self._wheel.set(peer.id, self._next_check(peer))

    def queue_all(self) -> None:
        """Ping every peer at the next tick (the user's ``ping``)."""
        for peer in self._ctx.peers.values():
            peer.ping.queued = True
            if peer.role.is_complete:
                self._queued[peer.id] = None

    def tick(self) -> None:
        """Look at the peers whose time has come."""
        queued, self._queued = self._queued, {}
        for peer_id in (*queued, *self._wheel.advance(self._ctx.mockable)):
            peer = self._ctx.peers.get(peer_id)
            if peer is not None and peer.role.is_complete:
                self._check(peer)

    def _check(self, peer: Peer) -> None:
        """Send what is due; note silence; close the connection when an answer is overdue."""
        ping, mockable = peer.ping, self._ctx.mockable
        waited = mockable - ping.sent_at
        if ping.nonce and waited > TIMEOUT_INTERVAL and self._is_old(peer):
            self._ctx.disconnect(peer, f"ping timeout: {waited:.6f}s")
            return
        silent = mockable - peer.last_received
        if silent > TIMEOUT_INTERVAL and not peer.pauses and self._is_old(peer):
            self._ctx.disconnect(peer, f"socket receive timeout: {silent:.0f}s")
            return
        if ping.queued or (not ping.nonce and (waited > PING_INTERVAL or self._shall_probe(peer))):
            self._send(peer)
        if self._is_silent(peer):
            self._ctx.states.apply(peer, PeerEvent.SILENT)
        self.watch(peer)

    def _is_old(self, peer: Peer) -> bool:
        """Whether the connection is older than ``-peertimeout``."""
        return self._ctx.mockable - peer.connected_mockable > self._ctx.config.peer_timeout

    def _shall_probe(self, peer: Peer) -> bool:
        """Whether the peer keeps us waiting and has said nothing of late."""
        after = peer.role.probe_after
        if after is None or peer.pauses:
            return False
        return self._ctx.mockable - peer.last_received > after and self._owes(peer)

    def _is_silent(self, peer: Peer) -> bool:
        """Whether nothing came for long, not even an answer to a ping that had its time (and that we would have read).

        Without the latter everybody would be silent when the clock jumps. Who does not answer pings (before BIP31)
        cannot be told from who has nothing to say.
        """
        ping, mockable = peer.ping, self._ctx.mockable
        if not ping.nonce or peer.pauses or not self._ctx.states.fits(peer, PeerEvent.SILENT):
            return False
        unanswered = mockable - ping.unanswered_since >= PROBE_UNANSWERED
        return unanswered and mockable - peer.last_received > HEARTBEAT_MISSED

    def _next_check(self, peer: Peer) -> float:
        """When the peer is looked at again."""
        ping, mockable = peer.ping, self._ctx.mockable
        if ping.nonce:
            moment = max(ping.sent_at + TIMEOUT_INTERVAL, peer.connected_mockable + self._ctx.config.peer_timeout)
        else:
            moment = ping.sent_at + PING_INTERVAL
        if not ping.nonce and peer.role.probe_after is not None:
            moment = min(moment, max(peer.last_received + peer.role.probe_after, mockable + PROBE_RECHECK))
        elif ping.nonce and self._ctx.states.fits(peer, PeerEvent.SILENT):
            silent = max(peer.last_received + HEARTBEAT_MISSED, ping.unanswered_since + PROBE_UNANSWERED)
            moment = min(moment, max(silent, mockable + PROBE_RECHECK))
        return moment + 0.001

    def _send(self, peer: Peer) -> None:
        ping, mockable = peer.ping, self._ctx.mockable
        nonce = self._ctx.rng.getrandbits(64) or 1
        ping.queued = False
        ping.sent_at = mockable
        if not ping.nonce:
            ping.unanswered_since = mockable
        if peer.common_version > BIP31_VERSION:
            ping.nonce = nonce
            self._ctx.send(peer, Ping(nonce))
        else:
            ping.nonce = 0  # no pong will come
            self._ctx.send(peer, PingWithoutNonce())
