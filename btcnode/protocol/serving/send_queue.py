"""What waits to be sent to one peer: in which order, how fast, and what is dropped when it comes too late.

Three classes: what the connection lives by (0: pings, headers, blocks, requests, whatever is not named below), the most
urgent of which overtakes what the socket does not take, but not each other; transactions and their announcements (1);
addresses and filters (2). Within a class the order holds (but whole blocks and spent coins, which have no bucket, do
not wait for what has one), and a pong comes after all that was to be sent before it, as peers take it for the end of
the answers.

The base rate follows the bandwidth that was measured: 50 messages a second for each MB/s, at least 10, at most 200.
Classes 1 and 2 have a bucket of that rate each, for the peer and for all peers together. Under congestion (the line
took less than there was, within the last five seconds) the classes get 1.5, 1.0 and 0.3 of it: class 0 has a bucket
then too, for the peer alone, so that peers that do not read cannot keep others waiting. How fast whole blocks and spent
coins go is measured by the socket itself. Announcements and gossip that waited half a second (1) or five (2) for the
line or for a bucket are dropped, what waited for us, as processors are busy, is not; answers never are. News is paced
by who tells it and can be dropped, so it pays the peer's own bucket only: else peers that ask for much could keep the
others from hearing of transactions.

Links to this machine, and to peers that the user favours, have no buckets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field
from math import inf

from btcnode.record import struct
from btcnode.tuples import NamedTuple

URGENT = frozenset({"ping", "headers", "cmpctblock", "getblocktxn", "getdata", "getheaders"})
_CLASSES = {
    "tx": 1, "notfound": 1, "merkleblock": 1,
    "addr": 2, "addrv2": 2, "cfilter": 2, "cfheaders": 2, "cfcheckpt": 2,
}  # fmt: skip
_BUCKETLESS = frozenset({"block", "bspent", "uproof", "utxoset"})
_END = "pong"  # of what came before it
CLASSES = 3
FACTORS = (1.5, 1.0, 0.3)  # of the base rate, by class, under congestion
CONGESTION = 5.0  # seconds that a line counts as congested after it took less than there was
DEADLINES = (inf, 0.5, 5.0)  # seconds that a droppable message of a class may wait
RATE_PER_MB = 50.0  # messages a second
RATE_MIN = 10.0
RATE_MAX = 200.0
BURST = 5.0  # seconds of the rate that may be sent at once
GLOBAL_FACTOR = 10.0  # all peers together, against what one may have at their joint bandwidth
SMOOTHING = 0.3  # weight of the newest measurement
MIN_SAMPLE = 0.01  # seconds; a shorter time measures the kernel's buffer, not the line


def class_of(command: str, *, droppable: bool) -> int:
    """The class of a message; an inv of transactions is droppable, one of blocks is not."""
    if command == "inv":
        return 1 if droppable else 0
    return _CLASSES.get(command, 0)


def rate_for(bandwidth: float | None) -> float:
    """Messages a second at this many bytes a second; None: nothing has kept us back so far."""
    if bandwidth is None:
        return RATE_MAX
    return min(RATE_MAX, max(RATE_MIN, RATE_PER_MB * bandwidth / 1e6))


class TokenBucket:
    """``rate`` tokens a second, at most ``BURST`` seconds of them. Times are seconds that never run backward."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = rate * BURST
        self._at = now

    def change_rate(self, now: float, rate: float) -> None:
        """Go on at another rate."""
        self._fill(now)
        self.rate = rate

    def _fill(self, now: float) -> None:
        self._tokens = min(self.rate * BURST, self._tokens + (now - self._at) * self.rate)
        self._at = now

    def has(self, now: float) -> bool:
        """Whether there is a token."""
        self._fill(now)
        return self._tokens >= 1.0

    def take(self) -> None:
        """Take the token that ``has`` saw."""
        self._tokens -= 1.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token."""
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self.rate)


class ClassRates:
    """A bucket for each class at the base rate, or its share of that while the line is congested."""

    __slots__ = ("_base", "_until", "buckets", "congested")

    def __init__(self, base: float, now: float) -> None:
        self._base = base
        self._until = now
        self.congested = False
        self.buckets = [TokenBucket(base, now) for _ in range(CLASSES)]

    def congest(self, now: float, base: float | None = None) -> None:
        """The line takes less than there is; ``base``: the new base rate, where it is known."""
        changed = base is not None and base != self._base
        self._base = self._base if base is None else base
        self._until = now + CONGESTION
        if changed or not self.congested:
            self._set(now)

    def end_congestion(self, now: float) -> None:
        """Time has passed: congestion may be over."""
        if self.congested and now >= self._until:
            self._set(now)

    def _set(self, now: float) -> None:
        self.congested = now < self._until
        for bucket, factor in zip(self.buckets, FACTORS, strict=True):
            bucket.change_rate(now, self._base * factor if self.congested else self._base)


class Bandwidth:
    """Bytes a second that a line takes, measured only while it takes less than there is to send."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def measure(self, size: int, seconds: float) -> None:
        """So many bytes were taken in this time while more waited."""
        if seconds >= MIN_SAMPLE:
            rate = size / seconds
            self.value = rate if self.value is None else self.value + SMOOTHING * (rate - self.value)


@struct
class Counts:
    """Messages by class: sent, made to wait for a bucket, dropped."""

    sent: list[int] = field(default_factory=lambda: [0] * CLASSES)
    delayed: list[int] = field(default_factory=lambda: [0] * CLASSES)
    dropped: list[int] = field(default_factory=lambda: [0] * CLASSES)


class SharedLimits:
    """The buckets of all peers together, and what they have counted."""

    def __init__(self, now: float) -> None:
        self.bandwidth = Bandwidth()
        self.counts = Counts()
        self.rates = ClassRates(GLOBAL_FACTOR * RATE_MAX, now)

    def measure(self, now: float, size: int, seconds: float) -> None:
        """All peers together took so many bytes in this time, while at least one was kept waiting."""
        self.bandwidth.measure(size, seconds)
        self.rates.congest(now, GLOBAL_FACTOR * rate_for(self.bandwidth.value))


class Outgoing(NamedTuple):
    """A message that waits. ``place``: in the order of coming. ``expires``: when it need not be sent any more."""

    command: str
    payload: bytes
    kind: int
    place: int
    expires: float


class SendQueue:
    """Of one peer. ``limited`` False: no buckets (nothing expires then unless the socket is full)."""

    def __init__(self, shared: SharedLimits, now: float, overhead: int) -> None:
        """``overhead``: bytes that each message takes beside its payload."""
        self._shared = shared
        self._overhead = overhead
        self.limited = True
        self.size = 0  # bytes of all that waits
        self.bandwidth = Bandwidth()
        self._come = 0
        self._turns = 0  # given to what may be sent, in the order in which it may
        self._urgent: deque[tuple[int, Outgoing]] = deque()
        self._ready: deque[tuple[int, Outgoing]] = deque()
        self._held: tuple[deque[Outgoing], ...] = tuple(deque() for _ in range(CLASSES + 1))  # the last: pongs
        self._rates = ClassRates(RATE_MAX, now)

    def __bool__(self) -> bool:
        """Whether anything may be sent when the socket takes it."""
        return bool(self._urgent or self._ready)

    @property
    def holds(self) -> bool:
        """Whether something waits for a bucket."""
        return any(self._held)

    def measure(self, now: float, size: int, seconds: float) -> None:
        """The line took so many bytes in this time while more waited."""
        self.bandwidth.measure(size, seconds)
        self._rates.congest(now, rate_for(self.bandwidth.value))

    def add(self, now: float, command: str, payload: bytes, *, full: bool, droppable: bool) -> None:
        """A message is to be sent. ``full``: the socket takes nothing at the moment."""
        kind = class_of(command, droppable=droppable)
        self._come += 1
        message = Outgoing(command, payload, kind, self._come, now + DEADLINES[kind] if droppable else inf)
        self.size += self._overhead + len(payload)
        if full:
            self._rates.congest(now)
        self._after_time(now)
        lane = self._held[CLASSES if command == _END else kind]
        pays = self.limited and command not in _BUCKETLESS
        if not pays or (not lane and self._may_come(message) and self._pay(message, now)):
            self._free(message)
        else:
            lane.append(message)
            self._shared.counts.delayed[kind] += 1

    def _free(self, message: Outgoing) -> None:
        """It may be sent when the socket takes it."""
        self._turns += 1
        (self._urgent if message.command in URGENT else self._ready).append((self._turns, message))

    def _may_come(self, message: Outgoing) -> bool:
        """Whether nothing is held that came before, of what may not be overtaken."""
        if message.command != _END:
            return True
        return all(not held or held[0].place > message.place for held in self._held[:CLASSES])

    def _after_time(self, now: float) -> None:
        """Time has passed: what the end of congestion sets free is free."""
        self._rates.end_congestion(now)
        self._shared.rates.end_congestion(now)
        if not self._rates.congested:
            while self._held[0]:
                self._free(self._held[0].popleft())

    def _buckets(self, message: Outgoing) -> list[TokenBucket]:
        """What a message has to pay: class 0 a bucket under congestion, news its peer's, answers everybody's too."""
        own, kind = self._rates.buckets[message.kind], message.kind
        if not kind:
            return [own] if self._rates.congested else []
        return [own] if message.expires < inf else [own, self._shared.rates.buckets[kind]]

    def _pay(self, message: Outgoing, now: float) -> bool:
        """Take a token of each bucket if all have one."""
        buckets = self._buckets(message)
        if not all(bucket.has(now) for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.take()
        return True

    def release(self, now: float) -> None:
        """Let go what the buckets allow by now, and drop what waited too long."""
        self._after_time(now)
        for held in self._held:
            while held:
                late = held[0].expires <= now
                if not (late and self._rates.congested) and self._may_come(held[0]) and self._pay(held[0], now):
                    self._free(held.popleft())
                elif late:
                    self._drop(held.popleft())
                else:
                    break

    def wait(self, now: float) -> float | None:
        """Seconds until ``release`` has something to do; None when nothing is held."""
        waits = [
            max((bucket.wait(now) for bucket in self._buckets(held[0])), default=0.0)
            for held in self._held
            if held and self._may_come(held[0])
        ]
        return min(waits, default=None)

    def pop(self, now: float, *, full: bool) -> Outgoing | None:
        """The next message; None when there is none that the socket shall get now."""
        urgent, ready = self._urgent, self._ready
        while urgent or (ready and not full):
            if urgent and (full or not ready or urgent[0][0] < ready[0][0]):
                return self._taken(urgent.popleft()[1])
            message = ready.popleft()[1]
            if message.expires > now or not self._rates.congested:
                return self._taken(message)
            self._drop(message)
        return None

    def pop_all(self) -> list[Outgoing]:
        """Everything, held or not, in the order of coming, before the connection is closed."""
        messages = [message for _, message in (*self._urgent, *self._ready)]
        messages += [message for held in self._held for message in held]
        self._urgent.clear()
        self._ready.clear()
        for held in self._held:
            held.clear()
        return [self._taken(message) for message in sorted(messages, key=lambda message: message.place)]

    def _taken(self, message: Outgoing) -> Outgoing:
        self.size -= self._overhead + len(message.payload)
        self._shared.counts.sent[message.kind] += 1
        return message

    def _drop(self, message: Outgoing) -> None:
        self.size -= self._overhead + len(message.payload)
        self._shared.counts.dropped[message.kind] += 1
