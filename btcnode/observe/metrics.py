"""The node's measurements as text for Prometheus.

Whoever does the work counts it in plain numbers; they are read when somebody asks. Each node has a registry of its own,
so that several may live in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from btcnode.observe.measurements import Measurements


class _NodeCollector(Collector):
    def __init__(self, read: Callable[[], Measurements]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """All metrics of the moment."""
        now = self._read()
        yield from _sync(now)
        yield from _requests(now)
        yield from _resources(now)
        yield from _node(now)
        yield from _traffic(now)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(
    name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> HistogramMetricFamily:
    """``counts`` are not cumulative, and one more than ``bounds``; ``total`` is the sum of what was measured."""
    below = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        below += count
        buckets.append((bound, below))
    histogram = HistogramMetricFamily(name, text)
    histogram.add_metric([], buckets, total)
    return histogram


def _sync(now: Measurements) -> Iterable[Metric]:
    yield _counter("sync_blocks_processed", "Blocks connected", now.blocks)
    yield _counter("sync_transactions_processed", "Transactions connected", now.txs)
    yield _counter("sync_inputs_processed", "Inputs connected", now.inputs)
    yield _gauge("sync_blocks_per_second", "Blocks connected in the last second", now.blocks_per_second)
    states = {state: float(state == now.state) for state in now.states}
    yield _labelled("sync_state", "1 for the state that the synchronisation is in", "state", states)
    yield _labelled("sync_stage_queue_length", "Pieces of work that wait for a stage", "stage", now.queues)
    yield _labelled("sync_stage_busy_fraction", "Share of the last second that a stage worked", "stage", now.busy)


def _requests(now: Measurements) -> Iterable[Metric]:
    for suffix, text in (("sent", "asked for"), ("success", "answered"), ("failed", "not answered, or wrongly")):
        family = CounterMetricFamily(f"sync_requests_{suffix}", f"Requests {text}", labels=["type"])
        for kind, counts in now.requests.items():
            value = {"sent": counts.sent, "success": counts.succeeded, "failed": counts.failed}[suffix]
            family.add_metric([kind], value)
        yield family
    text = "From getdata to the block"
    yield _histogram("sync_request_latency_seconds", text, now.latency_bounds, now.latency_counts, now.latency_sum)
    yield _gauge("sync_active_peers", "Peers that blocks are fetched from", now.active_peers)
    yield _labelled("sync_peer_score", "How a peer behaves, 0 to 100", "peer", now.peer_scores)
    yield _labelled("sync_peer_fetch_rate", "Blocks a second that a peer is good for", "peer", now.peer_rates)
    yield _gauge("sync_blocks_in_flight_limit", "Blocks in flight at one peer", now.blocks_in_flight_limit)
    yield _gauge("sync_peers_limit", "Peers that may be fetched from at a time", now.peers_limit)


def _resources(now: Measurements) -> Iterable[Metric]:
    yield _counter("sync_cache_lookups", "Coins looked up", now.cache_lookups)
    yield _counter("sync_cache_misses", "Coins that the database was asked for", now.cache_misses)
    yield _gauge("sync_cache_bytes", "Bytes of the coin cache", now.cache_bytes)
    yield _gauge("sync_cache_budget_bytes", "Bytes that it may take", now.cache_budget)
    yield _counter("sync_flushes", "Flushes of the coin cache", now.flushes)
    yield _counter("sync_flush_seconds", "Seconds that flushes have taken", now.flush_seconds)
    yield _gauge("sync_last_flush_seconds", "Seconds that the last one took", now.last_flush_seconds)
    yield _labelled("process_memory_bytes", "Resident memory of the node and its workers", "kind", now.memory)


def _node(now: Measurements) -> Iterable[Metric]:
    yield _gauge("node_height", "Height of the active chain", now.height)
    yield _gauge("node_headers", "Height of the best header", now.headers)
    yield _labelled("node_peers", "Connected peers", "direction", now.peers)
    yield _labelled("node_index_height", "Height that an optional index has", "index", now.index_heights)
    text = "1 while an optional index that was damaged is built anew"
    yield _labelled("node_index_rebuilding", text, "index", now.index_rebuilding)
    for name, count in now.workers.items():
        yield _counter(f"workers_{name}", f"Worker processes: {name.replace('_', ' ')}", count)
    for name, value in now.mempool.items():
        yield _gauge(f"mempool_{name}", f"Mempool: {name.replace('_', ' ')}", value)


def _traffic(now: Measurements) -> Iterable[Metric]:
    for what, counts in now.messages.items():
        family = CounterMetricFamily(f"p2p_messages_{what}", f"Messages {what}, by class", labels=["class"])
        for kind, count in enumerate(counts):
            family.add_metric([str(kind)], count)
        yield family
    text = "How late the loop comes to its ticks"
    yield _histogram("loop_lag_seconds", text, now.lag_bounds, now.lag_counts, now.lag_sum)
    yield _gauge("p2p_send_rate", "Messages of a class a second, of all peers with limits together", now.send_rate)
    yield _gauge("p2p_send_queue_bytes", "Bytes that wait to be sent", now.waiting_bytes)
    yield _labelled("p2p_peer_bandwidth_bytes", "Bytes a second that a peer's line takes", "peer", now.peer_bandwidth)


class MetricsText:
    """The text of a scrape. ``read`` gives the latest measurements, the same object as long as nothing is new."""

    def __init__(self, read: Callable[[], Measurements]) -> None:
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(_NodeCollector(read))
        self._made: dict[str, bytes] = {}  # of the latest measurements, by type
        self._of: Measurements | None = None

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """``(content type, text)`` in the form that an ``Accept`` header asks for, made once for each measurement."""
        encode, kind = choose_encoder(accept)
        now = self._read()
        if now is not self._of:
            self._made, self._of = {}, now
        if kind not in self._made:
            self._made[kind] = encode(self._registry)
        return kind, self._made[kind]
