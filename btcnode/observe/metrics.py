"""The node's measurements for Prometheus, served over HTTP by a thread of its own.

Whoever does the work counts it in plain numbers; they are read when somebody asks. Each exporter has its own registry,
so that several nodes may live in one process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from btcnode.errors import ConfigError
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


class MetricsExporter:
    """Serves ``/metrics`` at one address until it is closed.

    ``read`` gives the latest measurements; it is called from the exporter's thread.
    """

    def __init__(self, read: Callable[[], Measurements]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_NodeCollector(read))
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port (that of the system's choice for 0). Raises ConfigError."""
        try:
            self._server, self._thread = start_http_server(port, host, registry=self._registry)
        except OSError as error:
            text = f"cannot serve metrics at {host}:{port} ({error.strerror or error}): choose another --metrics-port"
            raise ConfigError(text) from None
        return int(self._server.server_port)

    def text(self) -> bytes:
        """What a scrape would get."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
