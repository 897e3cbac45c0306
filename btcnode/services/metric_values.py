"""What the metrics say of each part of a node: read from the numbers that the parts count for themselves.

Each function takes well below a millisecond, whatever a peer does. What grows with the number of peers is in
``PeerSums``, which is filled a few at a time; what asks the system is in ``outside``, which runs beside the loop.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from btcnode import __version__
from btcnode.chain.chainstate import Chainstate
from btcnode.counting import Histogram
from btcnode.mempool.pool import Mempool
from btcnode.net.connection import OTHER_COMMANDS, Connection
from btcnode.net.reactor import Reactor
from btcnode.observe import catalogue as c
from btcnode.observe.garbage import GarbagePauses
from btcnode.observe.metrics import Reading
from btcnode.protocol.protocol import Protocol
from btcnode.services.disk_space import scarcest
from btcnode.services.sync_monitor import SyncMonitor
from btcnode.services.transactions import Transactions
from btcnode.sync.driver import ChainDriver
from btcnode.sync.process_memory import resident, resident_of
from btcnode.sync.state_machine import SyncState
from btcnode.sync.worker_pool import WorkerPool
from btcnode.wire.registry import BY_COMMAND

SCORE_BOUNDS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
FETCH_BOUNDS = (0.1, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0)  # blocks a second
BANDWIDTH_BOUNDS = (1e4, 1e5, 1e6, 1e7, 1e8)  # bytes a second
COINS_FOLDERS = ("chainstate", "chainstate_snapshot")
INDEXES_FOLDER = "indexes"


def of_sync(monitor: SyncMonitor) -> Iterator[Reading]:
    """What was connected, and the state."""
    yield c.SYNC_BLOCKS.reads(monitor.blocks)
    yield c.SYNC_TRANSACTIONS.reads(monitor.txs)
    yield c.SYNC_INPUTS.reads(monitor.inputs)
    machine = monitor.machine
    yield c.SYNC_STATE.by({state.value: int(state is machine.state) for state in SyncState})
    yield c.SYNC_STATE_CHANGES.by({state.value: count for state, count in machine.entered.items()})
    yield c.REORGANISATIONS.reads(monitor.reorganisations.count)
    yield c.REORGANISATION_DEPTH.reads(monitor.reorganisations)
    yield c.BLOCKS_REJECTED.by({fault.value: count for fault, count in monitor.rejected.items()})


def of_requests(protocol: Protocol) -> Iterator[Reading]:
    """What was asked of peers, and what came of it."""
    fetching, headers = protocol.fetching, protocol.header_requests
    yield c.SYNC_SENT.by({"block": fetching.requests_sent, "headers": headers.sent})
    yield c.SYNC_SUCCESS.by({"block": fetching.requests_succeeded, "headers": headers.succeeded})
    failed: dict[tuple[str, ...], float] = {("block", why): n for why, n in fetching.requests_failed.items()}
    failed["headers", "unanswered"] = headers.failed
    yield Reading(c.SYNC_FAILED, failed)
    yield c.SYNC_LATENCY.by({"block": fetching.latencies, "headers": headers.latency})
    yield c.SYNC_ACTIVE_PEERS.reads(len(fetching.active))
    yield c.SYNC_PEER_RATE.reads(Histogram(FETCH_BOUNDS, (record.score for record in fetching.peers.values())))
    yield c.SYNC_BLOCKS_LIMIT.reads(fetching.blocks_limit)
    yield c.SYNC_PEERS_LIMIT.reads(fetching.peers_limit)


def of_stages(driver: ChainDriver, protocol: Protocol, pool: WorkerPool | None) -> Iterator[Reading]:
    """Queues and workers of the sync pipeline, prefetching, the coin cache and its flushes."""
    state = driver.chainstate
    coins, flusher, prefetcher = state.coins, state.executor.flusher, driver.prefetcher
    open_requests, queued, queued_bytes = protocol.block_queue()
    waiting = {
        "fetch": open_requests,
        "decode": driver.waiting_stores,
        "validate": queued,
        "scripts": pool.queued if pool is not None else 0,
        "commit": int(flusher.running),
    }
    yield c.SYNC_QUEUES.by(waiting)
    yield c.SYNC_QUEUE_BYTES.reads(queued_bytes)
    yield c.SYNC_WORKERS.by(stage_workers(pool))
    read_ahead = {"cached": prefetcher.cached, "read": prefetcher.lookups, "skipped": prefetcher.skipped}
    yield c.PREFETCH.by(read_ahead)
    yield c.CACHE_LOOKUPS.reads(coins.lookups)
    yield c.CACHE_MISSES.reads(coins.database_lookups)
    yield c.CACHE_BYTES.reads(coins.usage)
    yield c.CACHE_BUDGET.reads(coins.budget)
    yield c.FLUSHES.reads(flusher.flushes)
    yield c.FLUSH_SECONDS.reads(flusher.seconds)
    yield c.LAST_FLUSH.reads(flusher.last.seconds)
    yield c.WORKERS.by(pool.counts() if pool is not None else {})
    shadow = state.executor.shadow
    compared = shadow.counts() if shadow is not None else {}
    yield c.SHADOW_BLOCKS.reads(compared.get("blocks_compared", 0))
    yield c.SHADOW_INPUTS.reads(compared.get("inputs_compared", 0))
    yield c.SHADOW_DISAGREEMENTS.reads(compared.get("disagreements", 0))


def stage_workers(pool: WorkerPool | None) -> dict[str, int]:
    """By stage of the pipeline: threads or processes. Decoding and scripts share the worker processes."""
    processes = pool.workers if pool is not None else 0
    return {"fetch": 1, "decode": processes, "validate": 1, "scripts": processes + 1, "commit": 1}


def of_chain(state: Chainstate) -> Iterator[Reading]:
    """Where the chain stands."""
    tree = state.tree
    yield c.HEIGHT.reads(state.active.height)
    yield c.HEADERS.reads(tree.height(tree.best_header))
    yield c.TIP_TIME.reads(tree.time(state.tip))


def of_info(network: str, uptime: int, warnings: int) -> Iterator[Reading]:
    """What the node is."""
    yield Reading(c.INFO, {(__version__, network): 1})
    yield c.UPTIME.reads(uptime)
    yield c.WARNINGS.reads(warnings)


def of_mempool(transactions: Transactions, now: int) -> Iterator[Reading]:
    """The mempool, and what was offered to it."""
    pool: Mempool = transactions.pool
    yield c.POOL_TRANSACTIONS.reads(len(pool))
    yield c.POOL_VBYTES.reads(pool.total_vsize)
    yield c.POOL_BYTES.reads(pool.memory_usage)
    yield c.POOL_LIMIT.reads(pool.options.max_bytes)
    yield c.POOL_FEES.reads(pool.total_fee)
    yield c.POOL_MINIMUM.reads(max(pool.minimum_feerate(now), pool.options.min_relay_feerate))
    yield c.POOL_ACCEPTED.reads(transactions.accepted)
    yield c.POOL_REJECTED.by({result.value: count for result, count in transactions.rejected.items()})
    yield c.POOL_EVICTED.reads(pool.evicted)
    yield c.POOL_SCRIPTS.reads(transactions.verifier.verified)
    yield c.POOL_VERIFYING.reads(transactions.verifier.open)
    yield c.POOL_REEVALUATED.reads(transactions.admission.reevaluated)


def of_network(reactor: Reactor, protocol: Protocol, bans: int) -> Iterator[Reading]:
    """Connections, faults and delays; sums over peers are in ``PeerSums``."""
    traffic, counts = reactor.traffic, reactor.traffic.shared.counts
    yield c.WIRE_BYTES.by({"in": traffic.bytes_received, "out": traffic.bytes_sent})
    by_class = {"sent": counts.sent, "delayed": counts.delayed, "dropped": counts.dropped}
    classes: dict[tuple[str, ...], float] = {}
    for what, numbers in by_class.items():
        classes |= {(what, str(n)): count for n, count in enumerate(numbers)}
    yield Reading(c.CLASS_MESSAGES, classes)
    yield Reading(c.CONNECTIONS, Counter(traffic.made))
    yield c.MISBEHAVIOUR.by(
        {offence.name.lower().replace("_", "-"): count for offence, count in protocol.offences.items()}
    )
    yield c.BANS.reads(bans)
    yield c.DISCOURAGED.reads(protocol.discouraged)
    yield c.TX_RELAY.reads(protocol.delays.transactions)
    yield c.BLOCK_RELAY.reads(protocol.delays.blocks)
    yield c.BLOCK_AGE.reads(protocol.delays.ages)
    yield c.SEND_RATE.reads(traffic.shared.rates.buckets[1].rate)
    yield c.LOOP_LAG.reads(reactor.lag)


class PeerSums:
    """Sums over peers. What has ended is read when this is made, so that no byte counts twice or not at all."""

    def __init__(self, reactor: Reactor, protocol: Protocol) -> None:
        traffic = reactor.traffic
        self._protocol = protocol
        self.connections: list[Connection] = list(reactor.connections.values())
        self._bytes = {"in": Counter(traffic.ended_received), "out": Counter(traffic.ended_sent)}
        self._messages = {"in": Counter(traffic.messages_received), "out": Counter(traffic.messages_sent)}
        self._peers: Counter[tuple[str, ...]] = Counter({("in", "ipv4"): 0, ("out", "ipv4"): 0})
        self._scores, self._bandwidths = Histogram(SCORE_BOUNDS), Histogram(BANDWIDTH_BOUNDS)
        self._waiting = 0

    def add(self, connections: Iterable[Connection]) -> None:
        """Count some of the connections."""
        received, sent = self._bytes["in"], self._bytes["out"]
        for one in connections:
            for command, size in one.received_by_command.items():
                received[command] += size
            for command, size in one.sent_by_command.items():
                sent[command] += size
            self._waiting += one.queue.size
            if one.queue.bandwidth.value is not None:
                self._bandwidths.add(one.queue.bandwidth.value)
            peer = self._protocol.peer_summary(one.peer_id)
            if peer is not None:
                self._peers["in" if peer.inbound else "out", peer.network] += 1
                self._scores.add(peer.score)

    def readings(self) -> Iterator[Reading]:
        """What was added up so far, for the metrics by peer and message."""
        yield Reading(c.MESSAGE_BYTES, _by_type(self._bytes))
        yield Reading(c.MESSAGES, _by_type(self._messages))
        yield Reading(c.PEERS, dict(self._peers))
        yield c.SYNC_PEER_SCORE.reads(self._scores)
        yield c.BANDWIDTH.reads(self._bandwidths)
        yield c.SEND_QUEUE.reads(self._waiting)


def _by_type(counts: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, ...], float]:
    """By direction and type; what is no message of the protocol's is counted together."""
    found: Counter[tuple[str, ...]] = Counter()
    for direction, by_command in counts.items():
        for command, count in by_command.items():
            known = command in BY_COMMAND and command != OTHER_COMMANDS
            found[direction, command if known else "other"] += count
    return dict(found)


def of_process(garbage: GarbagePauses) -> Iterator[Reading]:
    """Python's side of the process."""
    yield c.TASKS.reads(len(asyncio.all_tasks()))
    yield c.THREADS.reads(threading.active_count())
    yield c.GC_PAUSES.by(garbage.pauses)
    yield c.GC_COLLECTED.by({str(n): stats["collected"] for n, stats in enumerate(gc.get_stats())})
    yield c.PYTHON_BLOCKS.reads(sys.getallocatedblocks())


def outside(net_dir: Path, blocks_dir: Path, block_bytes: int, pids: Iterable[int]) -> list[Reading]:
    """What the system knows; for a thread."""
    own, workers = resident(), resident_of(pids)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    disk = scarcest(net_dir, blocks_dir)
    sizes = {
        "blocks": block_bytes,
        "coins": sum(folder_size(net_dir / name) for name in COINS_FOLDERS),
        "indexes": folder_size(net_dir / INDEXES_FOLDER),
    }
    return [
        c.MEMORY.by({"node": own.own, "mapped": own.mapped, "workers": workers.total}),
        c.CPU.reads(usage.ru_utime + usage.ru_stime),
        c.DESCRIPTORS.reads(open_descriptors()),
        c.DESCRIPTORS_LIMIT.reads(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        c.DISK_BYTES.by(sizes),
        c.DISK_FREE.reads(disk.free),
        c.DISK_SIZE.reads(disk.size),
    ]


def open_descriptors() -> int:
    """How many the process has, 0 where the system does not tell."""
    for place in ("/proc/self/fd", "/dev/fd"):
        try:
            return sum(1 for _ in Path(place).iterdir())
        except OSError:
            continue
    return 0


def folder_size(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk; what goes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        total += status.st_blocks * 512
    return total
