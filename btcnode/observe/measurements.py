"""What is exported of a node at one moment; kept apart from the exporter, which only some nodes load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Requests:
    """What became of requests of one type."""

    sent: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything that is exported, at one moment. Bytes, seconds and heights; shares are of the last second."""

    state: str
    states: Sequence[str]
    blocks: int
    txs: int
    inputs: int
    blocks_per_second: float
    requests: Mapping[str, Requests]
    latency_bounds: Sequence[float]
    latency_counts: Sequence[int]  # one more than bounds, not cumulative
    latency_sum: float
    active_peers: int
    peer_scores: Mapping[str, float]  # 0 to 100
    peer_rates: Mapping[str, float]  # blocks a second
    blocks_in_flight_limit: int
    peers_limit: int
    queues: Mapping[str, int]
    busy: Mapping[str, float]  # shares, by stage
    cache_lookups: int
    cache_misses: int
    cache_bytes: int
    cache_budget: int
    flushes: int
    flush_seconds: float
    last_flush_seconds: float
    memory: Mapping[str, int]  # bytes, by kind
    height: int
    headers: int
    peers: Mapping[str, int]
    index_heights: Mapping[str, int] = field(default_factory=dict)  # by index
    index_rebuilding: Mapping[str, bool] = field(default_factory=dict)  # was damaged and is built anew
    mempool: Mapping[str, float] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)  # what became of worker processes and their work
    messages: Mapping[str, Sequence[int]] = field(default_factory=dict)  # what became of them -> count by class
    lag_bounds: Sequence[float] = ()  # seconds
    lag_counts: Sequence[int] = (0,)  # one more than bounds, not cumulative
    lag_sum: float = 0.0
    send_rate: float = 0.0  # messages of a class a second, of all peers that have limits
    waiting_bytes: int = 0  # in send queues
    peer_bandwidth: Mapping[str, float] = field(default_factory=dict)  # bytes a second, where it was measured
