"""The simulated internet: where nodes are, how fast their lines are, what is lost, and who reaches whom."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

from btcnode.record import struct
from btcnode.simulate.regions import REGIONS, SHARES, one_way
from btcnode.simulate.scenario import Scenario
from btcnode.testing.simulator import FRAME_HEADER, Content, End, Endpoint, Simulator

INTERLEAVED = 4096  # bytes up to which a message does not wait behind large ones on a line
MAX_RETRANSMISSIONS = 15  # after which a connection is dead, as Linux has it


@struct
class Line:
    """Where somebody is, and the line there: bytes per second, and when it is free of large messages."""

    number: int
    region: int
    upload: float
    download: float
    up_free: float = 0.0
    down_free: float = 0.0


@struct
class Cut:
    """A partition: nobody inside reaches anybody outside before ``until``, on the simulation's clock."""

    since: float
    until: float
    inside: frozenset[int]


class Internet(Simulator):
    """Wires by a scenario. Endpoints have to be given their ``Line`` by ``place`` before they send."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(seed)
        self._scenario = scenario
        self._seed = seed
        self._loss = scenario.links.loss
        self._jitter = scenario.latency.jitter
        self._lines: dict[Endpoint, Line] = {}
        self._distances: dict[tuple[int, int], float] = {}
        self.cuts: list[Cut] = []
        self.bytes_sent: Counter[str] = Counter()
        self.messages_sent: Counter[str] = Counter()

    def draw_line(self, number: int) -> Line:
        """The line of the node of this number; the same whatever else is drawn."""
        rng, links = Random(f"line {self._seed} {number}"), self._scenario.links
        region = rng.choices(range(len(REGIONS)), SHARES)[0]
        factor = links.slow if rng.random() < links.slow_share else 1.0
        return Line(number, region, links.upload * factor, links.download * factor)

    def place(self, endpoint: Endpoint, line: Line) -> None:
        """Somebody is at the end of this line."""
        self._lines[endpoint] = line

    def remove(self, endpoint: Endpoint) -> None:
        """Somebody is there no more; what is on the way to it is lost."""
        self._lines.pop(endpoint, None)

    def _distance(self, first: Line, second: Line) -> float:
        low, high = sorted((first, second), key=lambda line: line.number)
        pair = low.number, high.number
        found = self._distances.get(pair)
        if found is None:
            rng, latency = Random(f"distance {self._seed} {pair}"), self._scenario.latency
            if latency.model == "uniform":
                found = rng.uniform(latency.minimum, latency.maximum)
            elif latency.model == "lognormal":
                found = rng.lognormvariate(math.log(latency.median), latency.sigma)
            else:
                found = one_way(low.region, high.region) * rng.uniform(0.7, 1.3)
            self._distances[pair] = found
        return found

    def _until_healed(self, first: int, second: int) -> float:
        """Seconds until two nodes reach each other, infinite if never."""
        waits = [
            cut.until - self.now
            for cut in self.cuts
            if cut.since <= self.now < cut.until and (first in cut.inside) is not (second in cut.inside)
        ]
        return max(waits, default=0.0)

    def _lost_time(self) -> float:
        """Seconds by which lost packets delay the one that arrives."""
        delay, wait = 0.0, self._scenario.links.retransmission
        for _ in range(MAX_RETRANSMISSIONS):
            if self.rng.random() >= self._loss:
                return delay
            delay += wait
            wait *= 2
        return math.inf

    def latency(self, source: Endpoint, target: Endpoint) -> float:
        """Seconds that a packet takes now; infinite: it never arrives."""
        first, second = self._lines.get(source), self._lines.get(target)
        if first is None or second is None:
            return math.inf
        delay = self._distance(first, second) * (1 + self.rng.random() * self._jitter)
        if self._loss:
            delay += self._lost_time()
        if self.cuts:
            delay += self._until_healed(first.number, second.number)
        return delay

    def arrival(self, end: End, target: Endpoint, size: int) -> float:
        """When what is sent now has arrived: large messages share both lines, small ones pass them."""
        latency = self.latency(end.owner, target)
        if latency == math.inf:
            return latency
        source, sink = self._lines[end.owner], self._lines[target]
        if size <= INTERLEAVED:
            return self.now + latency + size / source.upload + size / sink.download
        source.up_free = max(self.now, source.up_free) + size / source.upload
        first = source.up_free - size / source.upload + latency
        sink.down_free = max(first, sink.down_free) + size / sink.download
        return max(source.up_free + latency, sink.down_free)

    def transmit(self, end: End, other: End, command: str, content: Content, length: int) -> None:
        """As the base class, and count it."""
        self.bytes_sent[command] += length + FRAME_HEADER
        self.messages_sent[command] += 1
        super().transmit(end, other, command, content, length)
