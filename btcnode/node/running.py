"""The last stage of a node: it is brought up to date and onto the network, and told that it is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from btcnode.networks.assumeutxo import known_sets
from btcnode.node.launch import Launch, closes
from btcnode.node.nat_setup import start_nat
from btcnode.node.proxy_setup import Anonymity, listening, own_addresses
from btcnode.node.ready_file import remove_ready, write_ready
from btcnode.node.resources import DiskWatch
from btcnode.protocol.commands import SetNetworkActive
from btcnode.record import record
from btcnode.services.peers_file import forget_anchors, save_anchors
from btcnode.services.utxo_fetch import FetchError

if TYPE_CHECKING:
    from btcnode.node.assembling import AssembledNode
    from btcnode.rpc.table import MethodTable
    from btcnode.services.parts import NodeParts
    from btcnode.sync.memory_limiter import MemoryLimiter
    from btcnode.wire.netaddr import NetAddress

# Block files up to this size are read as a whole before blocks are connected, as Core does with all: so that side
# branches are never tried. More than that is connected meanwhile, which is sooner done.
HELD_REINDEX_BYTES = 64 << 20
LOAD_METHODS_AFTER = 1.0  # seconds in which a fresh node does what is asked of it
LOAD_METHODS_REST = 0.02  # seconds between two of the modules, which take some milliseconds each

HOUSEKEEPING_INTERVAL = 1.0  # seconds

log = logging.getLogger("btcnode.node")


@record
class RunningNode:
    """A node that is ready, and where it can be reached: for JSON-RPC over HTTP, and for peers."""

    assembled: AssembledNode
    rpc_addresses: tuple[tuple[str, int], ...]
    p2p_addresses: tuple[NetAddress, ...]

    @property
    def parts(self) -> NodeParts:
        """What it consists of."""
        return self.assembled.parts


async def bring_up_to_date(node: AssembledNode, stack: AsyncExitStack) -> None:
    """Rebuild from own block files if asked to, and connect what is stored and not connected yet.

    From here on the node keeps to its memory, until ``stack`` is unwound.
    Raises StorageError, StartStopped: the next start goes on then.
    """
    opened, driver = node.opened, node.machinery.driver
    launch, store = opened.launch, opened.store
    _run_beside(stack, launch, _keep_memory(node.memory))
    _run_beside(stack, launch, node.parts.sync.watch())
    if store.reindexing:
        launch.busy_with("Reindexing blocks on disk…")
        paths = [store.files.block_path(number) for number in range(len(store.files.infos))]
        from btcnode.sync.importer import BlockImporter  # this and others of its kind: hardly any start needs it

        importer = BlockImporter(driver, launch.params.magic, launch.clock.now, own_files=True)
        with node.parts.sync.importing():
            driver.hold(sum(info.size for info in store.files.infos) <= HELD_REINDEX_BYTES)
            await launch.until_stopped(importer.run([path for path in paths if path.exists()]))
            driver.hold(False)
            await launch.until_stopped(driver.settled())
        async with driver.paused():
            opened.state.tree.forget_side_verdicts(opened.state.tip)
            store.files.end_adoption(opened.state.tree.last_blocks())
        await driver.flush()
        store.end_reindex()
        log.info("Reindexing finished")
    elif node.parts.swiftsync is not None:
        launch.busy_with("Reading the hints…")
        await launch.until_stopped(node.parts.swiftsync.open())
    launch.busy_with("Activating best chain…")
    await launch.until_stopped(driver.settled())
    node.parts.pruner.check_locks()


async def go_online(node: AssembledNode, stack: AsyncExitStack) -> RunningNode:
    """Start what runs for as long as the node does; raises BtcnodeError. ``stack`` stops it in the opposite order."""
    opened, parts = node.opened, node.parts
    launch, state = opened.launch, opened.state
    log.info("block tree size = %d", len(state.tree))
    log.info("nBestHeight = %d", state.active.height)
    disk = DiskWatch(opened.settings, launch.control.request_stop)
    disk.check_start(state.active.height)
    if parts.wallets is not None:
        launch.busy_with("Loading wallet…")
        await launch.until_stopped(parts.wallets.start(launch.warn))
    await _open_network(node, stack)
    parts.indexes.start()
    parts.pruner.start()
    _begin_utxo_sets(node)
    _find_ways_in(node, stack)
    if parts.fees is not None:
        parts.fees.start()
    closes(stack, launch, lambda: _write_chain(node))
    stack.push_async_exit(opened.rpc_closing.pop_all())  # once it answers, it stops before what it answers from
    stack.callback(parts.chain.stop_waiting)
    await _start_metrics(node, stack)
    _open_dashboard(node, stack)
    _run_beside(stack, launch, _keep_house(node, disk))
    _run_beside(stack, launch, _load_files(node))
    _run_beside(stack, launch, _load_methods(launch.table))
    if parts.wallets is not None:
        await parts.wallets.resubmit_all()
    launch.table.open(parts)
    running = RunningNode(
        node, () if opened.rpc is None else tuple(opened.rpc.addresses), tuple(node.machinery.reactor.bound)
    )
    stack.callback(remove_ready, opened.settings)
    heard = [(address.host, address.port) for address in running.p2p_addresses]
    write_ready(opened.settings, running.rpc_addresses, heard)
    log.info("the node is ready: height %d", state.active.height)
    log.info("init message: Done loading")
    return running


def _begin_utxo_sets(node: AssembledNode) -> None:
    """Share UTXO sets, and fetch the one that was asked for, by an option or in the last run."""
    parts, choice = node.parts, node.opened.settings.storage.downloadutxoset
    if parts.utxo_shares is not None:
        parts.utxo_shares.start()
    sets = known_sets(parts.params)
    if choice is None:
        if parts.chain.keeps_coins:
            parts.utxo_fetch.resume(sets)
        return
    try:
        parts.utxo_fetch.begin(next(one for one in sets if choice.names(one)), choice.root)
    except FetchError as error:
        log.info("[snapshot] no UTXO set is downloaded: %s", error)


async def _load_methods(table: MethodTable) -> None:
    """Load what answers has not been asked for yet, so that who asks for it later need not wait."""
    rest = LOAD_METHODS_AFTER
    more = True
    while more:
        await asyncio.sleep(rest)
        more, rest = await table.load_beside(), LOAD_METHODS_REST


async def _write_chain(node: AssembledNode) -> None:
    """What is dearest goes to disk first, as long as there is room and time; the rest is little then."""
    node.machinery.driver.wind_down()  # where memory is short, what is under way takes minutes
    if node.opened.launch.failure.error is None:
        await node.machinery.driver.flush()


async def _open_network(node: AssembledNode, stack: AsyncExitStack) -> None:
    opened, reactor, protocol = node.opened, node.machinery.reactor, node.machinery.protocol
    settings, launch = opened.settings, opened.launch
    magic = launch.params.magic
    if settings.connections.listen:
        places = listening(settings.connections)
        await reactor.listen(list(places.binds), required=places.chosen, onion=places.onion)
    for own in own_addresses(settings):
        reactor.feed(own)
    reactor.feed(SetNetworkActive(settings.connections.networkactive))
    launch.busy_with("Starting network threads…")
    for name in ("net", "addcon", "opencon", "msghand"):
        log.info("%s thread start", name)
    if node.machinery.options.automatic_outbound:
        forget_anchors(settings.net_dir)
        closes(stack, launch, lambda: asyncio.to_thread(save_anchors, settings.net_dir, protocol.anchors(), magic))
    reactor.start()
    opened.addresses.start()


def _find_ways_in(node: AssembledNode, stack: AsyncExitStack) -> None:
    """Ways through a NAT, through Tor and I2P, as far as the options ask for them."""
    settings, launch, reactor = node.opened.settings, node.opened.launch, node.machinery.reactor
    nat = start_nat(settings, reactor)
    if nat is not None:
        closes(stack, launch, nat.close)
    anonymity = Anonymity(settings, reactor, launch.params.p2p_port)
    closes(stack, launch, anonymity.close)
    anonymity.start()


async def _start_metrics(node: AssembledNode, stack: AsyncExitStack) -> None:
    """Serve measurements for Prometheus where the options say so; raises ConfigError."""
    settings, meter = node.opened.settings, node.meter
    if settings.notifications.metrics_port is None:
        return
    from btcnode.rpc.metrics_server import MetricsServer

    meter.garbage.watch()
    stack.callback(meter.garbage.close)
    server = MetricsServer(meter.text, node.opened.http, timeout_s=float(settings.rpc.rpcservertimeout_s))
    closes(stack, node.opened.launch, server.stop)
    port = await server.start(settings.notifications.metrics_bind, settings.notifications.metrics_port)
    log.info("metrics at http://%s:%d/metrics", settings.notifications.metrics_bind, port)


def _open_dashboard(node: AssembledNode, stack: AsyncExitStack) -> None:
    """What happens is remembered, and shown to who looks."""
    rpc = node.opened.rpc
    if rpc is None or node.opened.settings.rpc.dashboard is False:
        return
    _run_beside(stack, node.opened.launch, node.recent.keep())
    rpc.dashboard.open(node.overview.sections)
    stack.callback(rpc.dashboard.feed.stop)
    host, port = rpc.addresses[0]
    log.info("dashboard at http://%s/dashboard", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _run_beside(stack: AsyncExitStack, launch: Launch, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until the node stops; an error that it does not handle makes the node fail."""
    task = asyncio.get_running_loop().create_task(work)

    def ended(_: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            launch.failure.report(error)

    async def cancel() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    task.add_done_callback(ended)
    closes(stack, launch, cancel)


async def _load_files(node: AssembledNode) -> None:
    """Blocks that the user named, then the mempool of the last run; raises StorageError."""
    launch, settings = node.opened.launch, node.opened.settings
    log.info("initload thread start")
    try:
        if settings.storage.loadblock:
            await _import_blocks(node)
        if settings.storage.stopafterblockimport:
            log.info("Stopping after block import")
            launch.control.request_stop()
            return
        await node.parts.mempool_file.load()
    finally:
        log.info("initload thread exit")


async def _import_blocks(node: AssembledNode) -> None:
    from btcnode.sync.importer import import_paths

    launch, driver = node.opened.launch, node.machinery.driver
    with node.parts.sync.importing():
        report = await import_paths(
            driver, launch.params.magic, launch.clock.now, list(node.opened.settings.storage.loadblock)
        )
    log.info(
        "imported %d blocks from %d files (%d known already, %d refused, %d without parent)",
        report.blocks, report.files, report.known, report.rejected, report.orphans,
    )  # fmt: skip


async def _keep_memory(limiter: MemoryLimiter) -> None:
    """Until cancelled: divide the memory."""
    while True:
        limiter.divide()
        await asyncio.sleep(HOUSEKEEPING_INTERVAL)


async def _keep_house(node: AssembledNode, disk: DiskWatch) -> None:
    """Until cancelled: measure, raise alerts, take a sample of the sync, and let the chain see whether a flush is due.

    Raises StorageError.
    """
    machinery = node.machinery
    while True:
        disk.check(asyncio.get_running_loop().time())
        node.meter.measure()
        machinery.transactions.audit_pool()
        node.alerts.check_clock(machinery.protocol.median_time_offset())
        node.parts.sync.sample()
        node.parts.contact.check(asyncio.get_running_loop().time())
        await asyncio.sleep(HOUSEKEEPING_INTERVAL)
        machinery.driver.kick()
