"""Where a synchronisation spends its time: sampled once a second, told by ``getsyncprofile`` and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from btcnode.record import record, struct

BUSY = 0.7  # above this share of the time a stage is what the others wait for


@record
class StageSeconds:
    """Seconds that each stage has worked since the start of the process; ``workers`` is how many processes share the
    last two kinds of work (0: the chain thread does it all)."""

    store: float  # chain thread: check and store blocks
    validate: float  # chain thread: lookups, spends, additions, and scripts where there is no worker
    commit: float  # flushes
    processes: float  # decoding and scripts in worker processes, all together
    workers: int


@struct
class SyncSample:
    """The node at one moment; ``steady`` in seconds, memory in bytes."""

    steady: float
    blocks: int
    inputs: int
    txs: int
    memory: int
    requests_open: int
    queued_blocks: int
    active_peers: int
    peers: int
    stages: StageSeconds


@struct
class SyncReport:
    """Figures over a synchronisation; fractions are of its duration."""

    duration: float
    blocks: int
    inputs: int
    txs: int
    blocks_per_second: float
    inputs_per_second: float
    mean_memory: int
    peak_memory: int
    mean_peers: float
    most_peers: int
    busy: Mapping[str, float]
    bottleneck: str


@struct
class SyncProfile:
    """Collects samples from ``start`` on."""

    first: SyncSample | None = None
    last: SyncSample | None = None
    samples: int = 0
    memory_sum: int = 0
    memory_peak: int = 0
    peers_sum: int = 0
    peers_most: int = 0
    waiting_for_peers: float = 0.0  # seconds: requests were open and nothing was in validation
    history: list[tuple[float, int]] = field(default_factory=list)  # seconds and bytes, thinned out as it grows

    MAX_HISTORY = 2000

    def add(self, sample: SyncSample) -> None:
        """Take in a sample."""
        if self.first is None:
            self.first = sample
        elif self.last is not None and sample.requests_open and not sample.queued_blocks:
            self.waiting_for_peers += sample.steady - self.last.steady
        self.last = sample
        self.samples += 1
        self.memory_sum += sample.memory
        self.memory_peak = max(self.memory_peak, sample.memory)
        self.peers_sum += sample.active_peers
        self.peers_most = max(self.peers_most, sample.active_peers)
        self.history.append((sample.steady - self.first.steady, sample.memory))
        if len(self.history) > self.MAX_HISTORY:
            del self.history[1::2]

    def report(self) -> SyncReport | None:
        """The figures so far; None before the second sample."""
        first, last = self.first, self.last
        if first is None or last is None or last.steady <= first.steady:
            return None
        seconds = last.steady - first.steady
        old, new = first.stages, last.stages
        chain = (new.store - old.store) + (new.validate - old.validate)
        busy = {
            "fetch": min(1.0, self.waiting_for_peers / seconds),
            "store": min(1.0, (new.store - old.store) / seconds),
            "validate": min(1.0, (new.validate - old.validate) / seconds),
            "scripts": min(1.0, (new.processes - old.processes) / (seconds * new.workers)) if new.workers else 0.0,
            "commit": min(1.0, (new.commit - old.commit) / seconds),
        }
        return SyncReport(
            duration=seconds,
            blocks=last.blocks - first.blocks,
            inputs=last.inputs - first.inputs,
            txs=last.txs - first.txs,
            blocks_per_second=(last.blocks - first.blocks) / seconds,
            inputs_per_second=(last.inputs - first.inputs) / seconds,
            mean_memory=self.memory_sum // self.samples,
            peak_memory=self.memory_peak,
            mean_peers=self.peers_sum / self.samples,
            most_peers=self.peers_most,
            busy=busy,
            bottleneck=bottleneck(busy, min(1.0, chain / seconds)),
        )


def bottleneck(busy: Mapping[str, float], chain: float) -> str:
    """What the sync waited for most; ``chain`` is the share of the time that the chain thread worked."""
    if chain >= BUSY and busy["scripts"] >= BUSY:
        return "processor: the chain thread and the worker processes are both busy"
    if busy["scripts"] >= BUSY:
        return "scripts: more worker processes (--par) would help"
    if chain >= BUSY:
        return "validation: the chain thread is busy"
    if busy["commit"] >= BUSY:
        return "disk: flushes take most of the time"
    if busy["fetch"] >= 1 - BUSY:
        return "peers: blocks are asked for and come too slowly"
    return "none: nothing was busy for long"


def describe(report: SyncReport) -> list[str]:
    """The report as lines for the log."""
    mib = 1 << 20
    busy = ", ".join(f"{name} {share:.0%}" for name, share in report.busy.items())
    return [
        f"sync report: {report.blocks} blocks with {report.inputs} inputs in {report.duration:.0f} s"
        f" ({report.blocks_per_second:.1f} blocks/s, {report.inputs_per_second:.0f} inputs/s)",
        f"sync report: memory {report.mean_memory // mib} MiB on average, {report.peak_memory // mib} MiB at most;"
        f" {report.mean_peers:.1f} peers on average, {report.most_peers} at most",
        f"sync report: busy {busy}; bottleneck: {report.bottleneck}",
    ]
