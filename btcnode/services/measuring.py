"""The metrics of a running node, read when somebody asks: in slices, so that a scrape holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from btcnode.net.reactor import Reactor
from btcnode.observe import catalogue as c
from btcnode.observe.garbage import GarbagePauses
from btcnode.observe.metrics import Reading
from btcnode.protocol.protocol import Protocol
from btcnode.record import record
from btcnode.services import metric_values
from btcnode.services.parts import NodeParts
from btcnode.services.transactions import Transactions
from btcnode.shielding import shielded
from btcnode.sync.driver import ChainDriver
from btcnode.sync.profile import StageSeconds
from btcnode.sync.worker_pool import WorkerPool

PEERS_AT_ONCE = 50  # connections that are summed up in one turn of the loop: half a millisecond
LEAST_AGE = 1.0  # seconds; who asks again within them gets the same text


@record
class Measured:
    """The parts of a node that measurements are taken of."""

    driver: ChainDriver
    protocol: Protocol
    reactor: Reactor
    transactions: Transactions
    workers: WorkerPool | None
    parts: NodeParts


class Meter:
    """Rates of the last second, and the text of all metrics; belongs to the loop thread."""

    def __init__(self, node: Measured, more: Callable[[], Iterable[Reading]]) -> None:
        """``more`` are readings of what is not among the parts."""
        self._node = node
        self._more = more
        self._loop = asyncio.get_running_loop()
        self.garbage = GarbagePauses()
        self._before = (self._loop.time(), node.parts.sync.blocks, node.parts.sync.stages())
        self.blocks_per_second = 0.0
        self.busy: dict[str, float] = {}  # share of the last second, by stage
        self._text = b""
        self._made_at = -LEAST_AGE
        self._making: asyncio.Task[bytes] | None = None

    def measure(self) -> None:
        """Once a second: how busy everything was."""
        monitor = self._node.parts.sync
        then, blocks, stages = self._before
        self._before = now, _, new = (self._loop.time(), monitor.blocks, monitor.stages())
        seconds = now - then
        if seconds > 0:
            self.blocks_per_second = (monitor.blocks - blocks) / seconds
            self.busy = _busy(stages, new, seconds, self._node.protocol)

    async def text(self) -> bytes:
        """Every metric, as Prometheus reads it; made once for all who ask within a second."""
        if self._making is None:
            if self._loop.time() - self._made_at < LEAST_AGE:
                return self._text
            self._making = self._loop.create_task(self._make())
            self._making.add_done_callback(self._made)
        return await shielded(self._making)

    def _made(self, making: asyncio.Task[bytes]) -> None:
        self._making = None
        if not making.cancelled() and making.exception() is None:
            self._text, self._made_at = making.result(), self._loop.time()

    async def _make(self) -> bytes:
        lines = []
        for reading in await self.readings():
            lines.append(reading.text())
            await asyncio.sleep(0)
        return "".join(lines).encode()

    async def readings(self) -> list[Reading]:
        """Every metric of the catalogue, in its order."""
        node, found = self._node, []
        state, settings = node.driver.chainstate, node.parts.settings
        pids = list(node.workers.pids) if node.workers is not None else []
        block_bytes = node.parts.chain.size_on_disk()
        found += await asyncio.to_thread(
            metric_values.outside, settings.net_dir, settings.blocks_dir, block_bytes, pids
        )
        for part in self._parts():
            found += part
            await asyncio.sleep(0)
        sums = metric_values.PeerSums(node.reactor, node.protocol)
        for start in range(0, len(sums.connections), PEERS_AT_ONCE):
            sums.add(sums.connections[start : start + PEERS_AT_ONCE])
            await asyncio.sleep(0)
        found += sums.readings()
        found += metric_values.of_chain(state)
        order = {metric: n for n, metric in enumerate(c.CATALOGUE)}
        return sorted(found, key=lambda reading: order[reading.metric])

    def _parts(self) -> Iterator[Iterable[Reading]]:
        """What is read in one turn of the loop each."""
        node = self._node
        parts = node.parts
        yield metric_values.of_sync(parts.sync)
        yield metric_values.of_requests(node.protocol)
        yield metric_values.of_stages(node.driver, node.protocol, node.workers)
        yield metric_values.of_info(parts.params.name, parts.control.uptime(), len(parts.alerts.warnings()))
        yield metric_values.of_mempool(node.transactions, parts.clock.now())
        yield metric_values.of_network(node.reactor, node.protocol, len(parts.peers.bans()))
        yield metric_values.of_process(self.garbage)
        yield self._own()
        yield self._more()

    def _own(self) -> Iterator[Reading]:
        parts = self._node.parts
        yield c.SYNC_BLOCK_RATE.reads(self.blocks_per_second)
        yield c.SYNC_BUSY.by(self.busy or dict.fromkeys(metric_values.stage_workers(None), 0.0))
        yield c.DOWNLOADING.reads(int(parts.chain.is_initial_block_download()))
        indexes = parts.indexes.states()
        yield c.INDEX_HEIGHT.by({one.name: one.height for one in indexes})
        yield c.INDEX_REBUILDING.by({one.name: int(one.rebuilding) for one in indexes})


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
