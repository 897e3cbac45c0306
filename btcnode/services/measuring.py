"""Measurements of a running node, taken once a second on the loop thread for whoever exports them."""

from __future__ import annotations

import asyncio
from typing import Any

from btcnode.mempool.pool import Mempool
from btcnode.net.reactor import Reactor
from btcnode.observe.measurements import Measurements, Requests
from btcnode.protocol.blocks.fetch_strategy import LATENCY_BUCKETS
from btcnode.protocol.protocol import Protocol
from btcnode.services.indexes import Indexes
from btcnode.services.sync_monitor import SyncMonitor
from btcnode.services.transactions import Transactions
from btcnode.sync.driver import ChainDriver
from btcnode.sync.process_memory import resident, resident_of
from btcnode.sync.profile import StageSeconds
from btcnode.sync.state_machine import SyncState
from btcnode.sync.worker_pool import WorkerPool


class Meter:
    """Holds the latest measurements; ``measure`` belongs to the loop thread, ``latest`` may be read by any."""

    def __init__(
        self,
        driver: ChainDriver,
        protocol: Protocol,
        monitor: SyncMonitor,
        transactions: Transactions,
        pool: WorkerPool | None,
        reactor: Reactor,
        indexes: Indexes,
    ) -> None:
        self._driver = driver
        self._protocol = protocol
        self._monitor = monitor
        self._transactions = transactions
        self._pool = pool
        self._reactor = reactor
        self._indexes = indexes
        self._loop = asyncio.get_running_loop()
        self._before = (self._loop.time(), monitor.blocks, monitor.stages())
        self.latest = self._take(0.0, {})

    def measure(self) -> None:
        """Measure everything anew."""
        then, blocks, stages = self._before
        now = self._loop.time()
        self._before = (now, self._monitor.blocks, self._monitor.stages())
        seconds = now - then
        if seconds <= 0:
            return
        rate = (self._monitor.blocks - blocks) / seconds
        self.latest = self._take(rate, _busy(stages, self._before[2], seconds, self._protocol))

    def _take(self, rate: float, busy: dict[str, float]) -> Measurements:
        state, monitor = self._driver.chainstate, self._monitor
        fetching, coins = self._protocol.fetching, state.coins
        flusher = state.executor.flusher
        open_requests, queued, queued_bytes = self._protocol.block_queue()
        headers = self._protocol.header_requests
        own = resident()
        workers = resident_of(self._pool.pids if self._pool is not None else ())
        peers = [info for peer in self._protocol.peer_ids() if (info := self._protocol.peer_info(peer)) is not None]
        incoming = sum(info["inbound"] for info in peers)
        blocks = Requests(fetching.requests_sent, fetching.requests_succeeded, sum(fetching.requests_failed.values()))
        return Measurements(
            state=monitor.machine.state.value,
            states=[one.value for one in SyncState],
            blocks=monitor.blocks,
            txs=monitor.txs,
            inputs=monitor.inputs,
            blocks_per_second=rate,
            requests={
                "block": blocks,
                "headers": Requests(headers.sent, headers.succeeded, headers.failed),
            },
            latency_bounds=LATENCY_BUCKETS,
            latency_counts=tuple(fetching.latency_buckets),
            latency_sum=fetching.latency_sum,
            active_peers=len(fetching.active),
            peer_scores={str(peer): one["score"] for peer, one in self._protocol.peer_scores().items()},
            peer_rates={str(peer): record.score for peer, record in fetching.peers.items()},
            blocks_in_flight_limit=fetching.blocks_limit,
            peers_limit=fetching.peers_limit,
            queues={
                "fetch": open_requests,
                "decode": self._driver.waiting_stores,
                "validate": queued,
                "validate_bytes": queued_bytes,
                "scripts": self._pool.queued if self._pool is not None else 0,
                "commit": int(flusher.running),
            },
            busy=busy,
            cache_lookups=coins.lookups,
            cache_misses=coins.database_lookups,
            cache_bytes=coins.usage,
            cache_budget=coins.budget,
            flushes=flusher.flushes,
            flush_seconds=flusher.seconds,
            last_flush_seconds=flusher.last.seconds,
            memory={"node": own.own, "mapped": own.mapped, "workers": workers.total},
            height=state.active.height,
            headers=state.tree.height(state.tree.best_header),
            peers={"in": incoming, "out": len(peers) - incoming},
            index_heights={state.name: state.height for state in self._indexes.states()},
            index_rebuilding={state.name: state.rebuilding for state in self._indexes.states()},
            mempool=_mempool(self._transactions),
            workers=self._pool.counts() if self._pool is not None else {},
            **_traffic(self._reactor),
        )


def _busy(old: StageSeconds, new: StageSeconds, seconds: float, protocol: Protocol) -> dict[str, float]:
    """Shares of the last second; fetching counts as busy while blocks are awaited."""
    scripts = (new.processes - old.processes) / (seconds * new.workers) if new.workers else 0.0
    shares = {
        "fetch": float(protocol.block_queue()[0] > 0),
        "decode": (new.store - old.store) / seconds,
        "validate": (new.validate - old.validate) / seconds,
        "scripts": scripts,
        "commit": (new.commit - old.commit) / seconds,
    }
    return {stage: min(1.0, max(0.0, share)) for stage, share in shares.items()}


def _traffic(reactor: Reactor) -> dict[str, Any]:
    counts, queues = reactor.traffic.shared.counts, {str(peer): one.queue for peer, one in reactor.connections.items()}
    return {
        "messages": {"sent": counts.sent, "delayed": counts.delayed, "dropped": counts.dropped},
        "lag_bounds": reactor.lag.BOUNDS,
        "lag_counts": tuple(reactor.lag.counts),
        "lag_sum": reactor.lag.sum,
        "send_rate": reactor.traffic.shared.rates.buckets[1].rate,
        "waiting_bytes": sum(queue.size for queue in queues.values()),
        "peer_bandwidth": {
            peer: queue.bandwidth.value for peer, queue in queues.items() if queue.bandwidth.value is not None
        },
    }


def _mempool(transactions: Transactions) -> dict[str, float]:
    pool: Mempool = transactions.pool
    return {
        "transactions": len(pool),
        "vbytes": pool.total_vsize,
        "bytes": pool.memory_usage,
        "fees_satoshi": pool.total_fee,
        "evicted": pool.evicted,
        "scripts_verified": transactions.verifier.verified,
        "in_verification": transactions.verifier.open,
        "reevaluated": transactions.admission.reevaluated,
    }
