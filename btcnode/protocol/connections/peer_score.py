"""PeerScore: how a peer behaves, as one number from 0 to 100 that every peer begins with 50 of.

The number is made anew from a fingerprint of behaviour every ten seconds and soon after each fault (each
minute for who is blameless and asked for nothing):

    score = 50 + 50 (w0 service + w1 value) + 100 w2 fault        w = 0.4, 0.35, -0.25

- ``service`` (-1 to 1): how soon the peer answers, and how long the connection stands without stumbling;
- ``value`` (-1 to 1): data that we asked for and could use, against data that nobody asked for;
- ``fault`` (0 to 4): broken rules, and the share of requests that failed (which counts for less than 0.4).

Slow and failing peers cannot fall below 20: that takes broken rules or useless data, so a bad line of our own costs
nobody an address. What breaks consensus does not wait for a score: ``misbehaviour.py`` acts at once.

Counts fade with a half-life of ten minutes. With ``--peer-score-learning`` the weights by which peers are chosen for
block requests follow later outcomes (FTRL-Proximal on the logistic loss, McMahan et al. 2013), within bounds that keep
their signs. Who is evicted or removed is decided by the weights above: who could drive the others would remove honest
peers, or keep bad ones.
"""

from __future__ import annotations

from enum import Enum
from math import exp, sqrt
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from btcnode.protocol.addresses.netgroup import host_key
from btcnode.protocol.connections.conduct import HALF_LIFE, START, Conduct, Features, Judgement
from btcnode.protocol.effects import Audit, LogLevel
from btcnode.protocol.misbehaviour import Offence

if TYPE_CHECKING:
    from btcnode.protocol.blocks.fetch_strategy import FetchStrategy
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer

WEIGHTS = (0.4, 0.35, -0.25)
BOUNDS = ((0.1, 0.8), (0.1, 0.7), (-0.5, -0.1))
INTERVAL = 10.0  # seconds between two computations
INTERVAL_AT_REST = 60.0  # while nothing happens with a peer that has done nothing wrong
STABLE_AFTER = 3600.0  # seconds until a connection counts as fully stable
FAULT_MAX = 4.0
FAULT_LOAD = 16.0  # broken rules, weighed, that bring ``fault`` to 63 % of its maximum
FAILED_MAX = 0.36  # most that failed requests add to ``fault``: 9 points
PRIOR = 4.0  # blocks' worth of data before ``value`` says much
OUTCOME_DELAY = 60.0  # seconds between a judgement and the outcome that it is measured by


class Standing(Enum):
    """What follows from a score."""

    GOOD = "good"
    OBSERVED = "observed"  # below 60: nothing yet
    THROTTLED = "throttled"  # below 40: asked for fewer blocks, and after others; evicted first
    REMOVED = "removed"  # below 20: disconnected, discouraged, written to the audit log


THROTTLED_BELOW = 40.0
LIMITS = ((20.0, Standing.REMOVED), (THROTTLED_BELOW, Standing.THROTTLED), (60.0, Standing.OBSERVED))


def standing_of(score: float) -> Standing:
    """The standing that a score means."""
    return next((standing for limit, standing in LIMITS if score < limit), Standing.GOOD)


def features_of(conduct: Conduct, latency: float | None, uptime: float) -> Features:
    """``latency`` in seconds, None when nothing is known; ``uptime`` in seconds since the handshake."""
    response = 0.0 if latency is None else (1.0 - latency) / (1.0 + latency)
    stability = min(1.0, uptime / STABLE_AFTER) - min(2.0, conduct.stumbles)
    service = max(-1.0, min(1.0, 0.6 * response + 0.4 * stability))
    data = conduct.useful + conduct.wasted
    value = (conduct.useful - conduct.wasted) / (data + PRIOR)
    failing = FAILED_MAX * conduct.failed / (conduct.failed + conduct.useful + PRIOR)
    fault = FAULT_MAX * (1.0 - exp(-conduct.load / FAULT_LOAD)) + failing
    return Features(service, value, min(FAULT_MAX, fault))


def score_of(features: Features, weights: tuple[float, ...] = WEIGHTS) -> float:
    """The score, 0 to 100."""
    service, value, fault = features.as_tuple()
    raw = START + 50.0 * (weights[0] * service + weights[1] * value) + 100.0 * weights[2] * fault
    return max(0.0, min(100.0, raw))


class Learner:
    """FTRL-Proximal around the default weights: each coordinate has its own learning rate and forgets nothing.

    ``alpha`` and ``beta`` shape the rate, ``l1`` keeps weights at their defaults until there is evidence, ``l2``
    pulls them back.
    """

    def __init__(self, alpha: float = 0.05, beta: float = 1.0, l1: float = 0.1, l2: float = 1.0) -> None:
        self._alpha, self._beta, self._l1, self._l2 = alpha, beta, l1, l2
        self._z = [0.0, 0.0, 0.0]
        self._n = [0.0, 0.0, 0.0]

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights to be used now, each within its bounds."""
        return tuple(
            max(low, min(high, default + self._shift(i)))
            for i, (default, (low, high)) in enumerate(zip(WEIGHTS, BOUNDS, strict=True))
        )

    def _shift(self, i: int) -> float:
        z = self._z[i]
        if abs(z) <= self._l1:
            return 0.0
        rate = (self._beta + sqrt(self._n[i])) / self._alpha + self._l2
        return -(z - (self._l1 if z > 0 else -self._l1)) / rate

    def learn(self, features: Features, good: bool) -> None:
        """What came of a peer that was judged by these features."""
        x = features.as_tuple()
        weights = self.weights
        chance = 1.0 / (1.0 + exp(-4.0 * sum(w * v for w, v in zip(weights, x, strict=True))))
        for i, value in enumerate(x):
            gradient = (chance - float(good)) * value
            sigma = (sqrt(self._n[i] + gradient * gradient) - sqrt(self._n[i])) / self._alpha
            self._z[i] += gradient - sigma * (weights[i] - WEIGHTS[i])
            self._n[i] += gradient * gradient


class PeerScore(TypedDict):
    """How one peer behaves."""

    id: Annotated[int, "Number of the peer"]
    score: Annotated[float, "Score, 0 to 100"]
    state: Annotated[str, "handshake, active, degraded or draining"]
    standing: Annotated[str, "good, observed, throttled or removed"]
    service: Annotated[float, "Response and stability, -1 to 1"]
    value: Annotated[float, "Useful data against useless, -1 to 1"]
    fault: Annotated[float, "Broken rules and failed requests, 0 to 4"]
    useful: Annotated[float, "Useful pieces of data of late"]
    wasted: Annotated[float, "Pieces that nobody asked for"]
    failed: Annotated[float, "Requests that failed"]
    violations: Annotated[float, "Broken rules, weighed"]
    work: Annotated[float, "Seconds of processor time of late that nobody asked it to cost"]


class Scores:
    """Computes every peer's score and draws the consequences."""

    def __init__(self, ctx: Context, strategy: FetchStrategy) -> None:
        self._ctx = ctx
        self._strategy = strategy
        self.learner = Learner()

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights by which peers are chosen for block requests."""
        return self.learner.weights if self._ctx.config.peer_score_learning else WEIGHTS

    def tick(self, peer: Peer) -> float:
        """Compute the score if it is time to; returns when it is next.

        That of a peer which is blameless and asked for nothing moves slowly: it waits until something happens.
        """
        conduct, steady = peer.conduct, self._ctx.steady
        if steady < conduct.next_at:
            return conduct.next_at
        conduct.next_at = steady + INTERVAL
        conduct.fade(steady)
        latency = self._take_requests(peer)
        features = features_of(conduct, latency, self._uptime(peer))
        before, conduct.score = standing_of(conduct.score), score_of(features)
        record = self._strategy.peers.get(peer.id)
        if record is not None:
            if self._ctx.config.peer_score_learning:
                self._learn(conduct, features, record.sent)
            record.standing = score_of(features, self.weights) / START
        now = standing_of(conduct.score)
        if now is not before:
            self._ctx.log_peer(peer, LogLevel.DEBUG, f"score {conduct.score:.0f}: {now.value}")
        if now is Standing.REMOVED:
            self._remove(peer, features)
        at_rest = (record is None or not record.open) and not conduct.has_faults
        return steady + INTERVAL_AT_REST if at_rest and conduct.next_at <= steady + INTERVAL else conduct.next_at

    def _take_requests(self, peer: Peer) -> float | None:
        """Count what came of block requests since the last time; returns the peer's latency."""
        conduct, record = peer.conduct, self._strategy.peers.get(peer.id)
        if record is not None:
            conduct.useful += record.succeeded - conduct.seen[0]
            conduct.failed += record.failed - conduct.seen[1]
            conduct.seen = (record.succeeded, record.failed)
            if record.latency is not None:
                return record.latency
        return peer.ping.last

    def _uptime(self, peer: Peer) -> float:
        return 0.0 if peer.complete_since is None else self._ctx.mockable - peer.complete_since

    def _learn(self, conduct: Conduct, features: Features, requests: int) -> None:
        """Hold the judgement of a minute ago against what happened since, if the peer was asked for blocks.

        Whom we asked is our choice: what other peers do unasked teaches nothing.
        """
        steady, bad, judged = self._ctx.steady, conduct.wasted + conduct.failed + conduct.load, conduct.judged
        if judged is not None and steady - judged.at < OUTCOME_DELAY:
            return
        if judged is not None and requests > judged.requests:
            kept = 0.5 ** ((steady - judged.at) / HALF_LIFE)
            gain, harm = conduct.useful - kept * judged.useful, bad - kept * judged.bad
            if max(gain, harm) > 0.01:
                self.learner.learn(judged.features, gain > harm)
        conduct.judged = Judgement(steady, features, conduct.useful, bad, requests)

    def _remove(self, peer: Peer, features: Features) -> None:
        """Disconnect and discourage, with the evidence on record; the user's own choices stay."""
        ctx, spared = self._ctx, peer.is_spared
        discourage = not spared and not peer.address.is_local
        ctx.emit(Audit(self._evidence(peer, features, "spared" if spared else "disconnected", discourage)))
        if spared:
            peer.conduct.next_at = ctx.steady + HALF_LIFE
            return
        if discourage:
            ctx.discouraged.add(host_key(peer.address))
        worst = peer.conduct.worst
        why = f"mostly for {Offence[worst].value} ({peer.conduct.offences[worst]} times)" if worst else "useless data"
        text = f"score {peer.conduct.score:.0f}, {why}"
        ctx.disconnect(peer, text, discourage=discourage, level=LogLevel.WARNING)

    def _evidence(self, peer: Peer, features: Features, action: str, discouraged: bool) -> dict[str, Any]:
        conduct = peer.conduct
        return {
            "time": int(self._ctx.unix),
            "peer": peer.id,
            "address": str(peer.address),
            "connection_type": peer.kind.value,
            "user_agent": "".join(c if " " <= c <= "~" else "?" for c in peer.user_agent),
            "action": action,
            "discouraged": discouraged,
            **{name: value for name, value in self.describe(peer, features).items() if name != "id"},
            "offences": dict(conduct.offences),
        }

    def describe(self, peer: Peer, features: Features | None = None) -> PeerScore:
        """The score and what it is made of, for people."""
        conduct = peer.conduct
        if features is None:
            record = self._strategy.peers.get(peer.id)
            latency = record.latency if record is not None and record.latency is not None else peer.ping.last
            features = features_of(conduct, latency, self._uptime(peer))
        return {
            "id": peer.id,
            "score": round(conduct.score, 1),
            "state": peer.state.value,
            "standing": standing_of(conduct.score).value,
            "service": round(features.service, 3),
            "value": round(features.value, 3),
            "fault": round(features.fault, 3),
            "useful": round(conduct.useful, 2),
            "wasted": round(conduct.wasted, 2),
            "failed": round(conduct.failed, 2),
            "violations": round(conduct.load, 2),
            "work": round(conduct.work, 3),
        }
