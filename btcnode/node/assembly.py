"""A node: its rooms, wired; started and stopped in order.

Start: data directory and lock, RPC (warming up), index and coins, the check of the newest blocks, imports, listening
sockets, peers. Stop: no new requests, peers, chain (flush), lock. A ``Node`` lives in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from random import SystemRandom
from typing import TYPE_CHECKING

from btcnode import __version__
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.config import NodeConfig
from btcnode.errors import BtcnodeError, ConfigError, DisconnectError, FatalError, RebuildError, StorageError
from btcnode.net.capture import MessageCapture
from btcnode.net.nat.service import NatService
from btcnode.net.proxy.dialer import Dialer
from btcnode.net.reactor import Reactor
from btcnode.node.chain_loader import ChainLoader, LoadingStopped
from btcnode.node.memory import make_memory_limiter
from btcnode.node.mempool_setup import make_pool, make_template_maker
from btcnode.node.nat_setup import start_nat
from btcnode.node.proxy_setup import Anonymity, listening, make_dialer, own_addresses
from btcnode.node.ready_file import remove_ready, write_ready
from btcnode.node.resources import DiskWatch
from btcnode.protocol.chain_view import NodeChainView
from btcnode.protocol.commands import SetNetworkActive
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.permissions import AccessRules
from btcnode.protocol.protocol import Protocol
from btcnode.rpc.methods import make_table
from btcnode.rpc.server import RpcServer
from btcnode.services.addresses import Addresses
from btcnode.services.alerts import Alert, Alerts
from btcnode.services.assumed_chain import AssumedChain
from btcnode.services.ban_file import BanFile
from btcnode.services.block_effects import BlockEffects
from btcnode.services.chain import Chain
from btcnode.services.chain_alerts import ChainAlerts
from btcnode.services.clock import Clock
from btcnode.services.control import Control
from btcnode.services.fees import FILE_NAME as FEES_FILE
from btcnode.services.fees import FeeEstimates
from btcnode.services.indexes import Indexes
from btcnode.services.measuring import Meter
from btcnode.services.mempool_file import MempoolFile
from btcnode.services.notifications import Notifications
from btcnode.services.parts import NodeParts
from btcnode.services.peers import Peers
from btcnode.services.peers_file import load_book, load_groups, seed_addresses, take_anchors
from btcnode.services.pruner import Pruner
from btcnode.services.snapshot_writer import SnapshotWriter
from btcnode.services.submissions import Submissions
from btcnode.services.sync_monitor import SyncMonitor
from btcnode.services.transactions import Transactions
from btcnode.sync.checker import PooledChecker
from btcnode.sync.driver import ChainDriver
from btcnode.sync.importer import BlockImporter, import_paths
from btcnode.sync.memory_limiter import MemoryLimiter
from btcnode.sync.worker_pool import WorkerPool, worker_count
from btcnode.wire.constants import NODE_BLOOM, NODE_COMPACT_FILTERS, NODE_NETWORK, NODE_P2P_V2, NODE_XTHIN

if TYPE_CHECKING:
    from btcnode.observe.metrics import MetricsExporter

HOUSEKEEPING_INTERVAL = 1.0  # seconds

log = logging.getLogger("btcnode.node")


def user_agent(config: NodeConfig) -> str:
    """BIP14: ``/btcnode:0.1.0(comment)/``."""
    comments = f"({'; '.join(config.uacomment)})" if config.uacomment else ""
    return f"/btcnode:{__version__}{comments}/"


def protocol_config(config: NodeConfig) -> ProtocolConfig:
    """The protocol's share of the options."""
    connect = config.connect_only
    return ProtocolConfig(
        user_agent=user_agent(config),
        services=(OWN_SERVICES & ~NODE_NETWORK if config.prunes else OWN_SERVICES)
        | (NODE_P2P_V2 if config.v2transport else 0)
        | (NODE_XTHIN if config.xthin else 0)
        | (NODE_COMPACT_FILTERS if config.peerblockfilters else 0)
        | (NODE_BLOOM if config.peerbloomfilters else 0),
        listen=config.listens,
        discover=config.discovers,
        dns_seed=config.asks_dns_seeds,
        force_dns_seed=config.forcednsseed,
        fixed_seeds=config.fixedseeds,
        connect=connect or (),
        no_automatic=connect is not None and not connect,
        add_nodes=config.addnode,
        seed_nodes=config.seednode,
        max_connections=config.maxconnections,
        peer_timeout=float(config.peertimeout),
        max_tip_age=config.maxtipage,
        networks=config.reachable_networks,
        private_broadcast=config.privatebroadcast,
        tx_relay=not config.blocksonly,
        tx_reconciliation=config.txreconciliation,
        require_standard=not config.acceptnonstdtxn,
        peer_score_learning=config.peer_score_learning,
        upload_target=config.upload_target,
        extra_transactions=config.blockreconstructionextratxn,
        block_relay=config.block_relay,
        log_ips=config.logips,
    )


def access_rules(config: NodeConfig) -> AccessRules:
    """Which peers may what."""
    force = config.whitelistforcerelay
    relay = config.whitelistrelay if config.whitelistrelay is not None else force or not config.blocksonly
    return AccessRules(config.whitelist, config.whitebind, relay=relay, force_relay=force)


class Node:
    """One node. ``run`` is its whole life; ``start`` and ``stop`` are for programs that embed it."""

    def __init__(self, config: NodeConfig) -> None:
        """Nothing is touched before ``start``; must be made within a running event loop."""
        self.config = config
        self.params = config.network_params()
        self.access = access_rules(config)
        self.clock = Clock(config.mocktime)
        self.alerts = Alerts()
        self.control = Control(config, self.clock)
        self.stop_requested = self.control.stop_requested
        self.disk = DiskWatch(config, self.stop_requested.set)
        self.failure: BaseException | None = None
        self.chain: Chain | None = None
        self.watch: ChainAlerts | None = None
        self.peers: Peers | None = None
        self.addresses: Addresses | None = None
        self.driver: ChainDriver | None = None
        self.reactor: Reactor | None = None
        self.nat: NatService | None = None
        self.anonymity: Anonymity | None = None
        self.protocol: Protocol | None = None
        self.view: NodeChainView | None = None
        self.memory: MemoryLimiter | None = None
        self.monitor: SyncMonitor | None = None
        self.figures: Meter | None = None
        self.metrics: MetricsExporter | None = None
        self.transactions: Transactions | None = None
        self.mempool_file: MempoolFile | None = None
        self.ban_file: BanFile | None = None
        self.fees: FeeEstimates | None = None
        self.notifications: Notifications | None = None
        self.indexes: Indexes | None = None
        self.pruner: Pruner | None = None
        self.assume: AssumedChain | None = None
        self.table = make_table(self.control)
        self._store: ChainStore | None = None
        self._pool: WorkerPool | None = None
        self._rpc: RpcServer | None = None
        self._rng = SystemRandom()  # nonces go out to peers: a generator that they could predict would betray the rest
        self._import: asyncio.Task[None] | None = None
        self._housekeeper: asyncio.Task[None] | None = None

    @property
    def rpc_addresses(self) -> list[tuple[str, int]]:
        """Where JSON-RPC is answered over HTTP."""
        return [] if self._rpc is None else list(self._rpc.addresses)

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(
        self, *, on_ready: Callable[[], None] = lambda: None, on_stopping: Callable[[], None] = lambda: None
    ) -> None:
        """Start, wait until somebody asks to stop, stop; raises what made the node fail.

        ``on_ready`` is called when the node is up, ``on_stopping``, which may block, before it goes down again.
        """
        try:
            await self.start()
            if not self.stop_requested.is_set():
                on_ready()
            await self.stop_requested.wait()
            await asyncio.to_thread(on_stopping)
        finally:
            try:
                await self.stop()
            except StorageError as error:
                if self.failure is None:
                    raise
                log.error("%s", error)  # it follows from the failure, which is what the user is told of
        if isinstance(self.failure, BtcnodeError):
            where = self.config.debuglogfile
            text = f"A fatal internal error occurred, see {where} for details: {self.failure}"
            raise FatalError(text) from self.failure
        if self.failure is not None:
            raise self.failure

    async def start(self) -> None:
        """Bring everything up; raises BtcnodeError with one line for the user."""
        config = self.config
        log.info("btcnode %s on %s, data in %s", __version__, self.params.name, config.net_dir)
        log.info("scheduler thread start")  # this and lines like it: where Core begins the same work
        if config.acceptstalefeeestimates and self.params.chain != "regtest":  # here as in Core: with a log already
            raise ConfigError(f"acceptstalefeeestimates is not supported on {self.params.chain} chain.")
        dialer = await make_dialer(config)
        if config.listens:
            listening(config, self.params.p2p_port, self.access.binds)  # wrong ones are told before anything is opened
        try:
            state = await self._open_chain()
        except LoadingStopped:
            log.info("Shutdown requested. Exiting.")
            return
        self._assemble(state, dialer)
        await self._bring_up_to_date()
        if self.stop_requested.is_set():
            return
        log.info("block tree size = %d", len(state.tree))
        log.info("nBestHeight = %d", state.active.height)
        self.disk.check_start(state.active.height)
        await self._open_network()
        self.table.open(self._parts())
        assert self.reactor is not None
        heard = [(address.host, address.port) for address in self.reactor.bound]
        write_ready(config, self._rpc.addresses if self._rpc is not None else [], heard)
        log.info("the node is ready: height %d", state.active.height)
        log.info("init message: Done loading")

    def _parts(self) -> NodeParts:
        assert self.chain is not None and self.assume is not None and self.pruner is not None
        assert self.indexes is not None and self.transactions is not None and self.mempool_file is not None
        assert self.peers is not None and self.addresses is not None
        assert self.notifications is not None and self.monitor is not None
        return NodeParts(
            config=self.config, params=self.params, clock=self.clock, control=self.control, alerts=self.alerts,
            chain=self.chain, assumed=self.assume, pruner=self.pruner,
            snapshots=SnapshotWriter(self.chain, self.pruner), indexes=self.indexes, mempool=self.transactions.pool,
            mempool_file=self.mempool_file, submissions=self.submissions,
            templates=make_template_maker(self.config), fees=self.fees, peers=self.peers, addresses=self.addresses,
            notifications=self.notifications, sync=self.monitor,
        )  # fmt: skip

    def _load_addresses(self) -> Addresses:
        groups = load_groups(self.config)
        book = load_book(self.config, self.params.magic, self._rng, groups)
        cjdns = self.config.cjdnsreachable
        return Addresses(book, self.config.net_dir, self.params.magic, self.clock, cjdns=cjdns)

    async def _open_chain(self) -> Chainstate:
        """Open and check what is stored, by a reindex where a test option allows to repair it that way."""
        try:
            return await self._load_chain()
        except RebuildError:
            if self.config.reindex or "reindex_after_failure_noninteractive_yes" not in self.config.test:
                raise
        if self._store is not None:
            self._store.close()
        self.config = replace(self.config, reindex=True)
        return await self._load_chain()

    async def _load_chain(self) -> Chainstate:
        config = self.config
        loader = ChainLoader(config, self.params, self.clock, self._tell, self.stop_requested.is_set)
        self.control.status = "Opening the database…"
        self._store = store = await asyncio.to_thread(loader.open_store)
        if config.server and self._rpc is None:
            self._rpc = RpcServer(config, self.table, self.params.rpc_port)
            await self._rpc.start()
        if self.addresses is None:
            self._tell("Loading P2P addresses…")
            self.addresses = await asyncio.to_thread(self._load_addresses)
        workers = worker_count(config.par)
        if workers and self._pool is None:
            self._pool = WorkerPool(workers, self.params)
        checker = PooledChecker(self._pool) if self._pool is not None else None
        return await asyncio.to_thread(loader.load, store, checker)

    def _tell(self, status: str) -> None:
        """What the node is busy with, for clients that ask too early, and in the log as Core writes it."""
        self.control.status = status
        log.info("init message: %s", status)

    def _assemble(self, state: Chainstate, dialer: Dialer) -> None:
        """Make the objects between chain and sockets."""
        transactions = self._assemble_chain(state)
        self._assemble_network(transactions, dialer)
        assert self.driver is not None and self.view is not None and self.reactor is not None
        assert self.protocol is not None
        self.memory = make_memory_limiter(self.config, self.driver, self._pool, self.reactor)
        self.monitor = SyncMonitor(self.driver, self.view, self.protocol, self._pool, self.clock)
        self.monitor.log_last_run()
        self.figures = Meter(self.driver, self.protocol, self.monitor, transactions, self._pool, self.reactor)

    def _assemble_chain(self, state: Chainstate) -> Transactions:
        """Chain, indexes, mempool, and what follows them."""
        config = self.config
        self.driver = ChainDriver(
            state,
            on_fatal=self._on_fatal,
            stop_at_height=config.stopatheight,
            on_stop_height=self.stop_requested.set,
            pool=self._pool,
        )
        self.view = NodeChainView(state.tree, state.active, self.params, max_tip_age=config.maxtipage)
        self.chain = Chain(self.driver, self.view, self.params, self.clock)
        self.watch = ChainAlerts(self.chain, self.alerts)
        self.indexes = Indexes(self.chain, config)
        self.pruner = Pruner(self.chain, self.indexes.needs(), config.prune_target, enabled=config.prunes)
        self.transactions = transactions = Transactions(
            self.driver, self.view, self.clock, make_pool(config), self._pool, self._on_fatal
        )
        if not config.blocksonly:
            self.fees = FeeEstimates(
                transactions,
                self.view,
                state.tree,
                self.clock,
                config.net_dir / FEES_FILE,
                accept_stale=config.acceptstalefeeestimates,
            )
        self.chain.mempool_settled = transactions.settled
        self.assume = AssumedChain(
            self.chain,
            self.view,
            transactions.pool,
            PooledChecker(self._pool) if self._pool is not None else None,
            dbcache=config.dbcache << 20,
            on_fatal=self._on_fatal,
        )
        self.notifications = Notifications(config, transactions, self.view, self.clock)
        return transactions

    def _assemble_network(self, transactions: Transactions, dialer: Dialer) -> None:
        """Protocol and sockets, and what is known of peers and kept of transactions."""
        config = self.config
        assert self.driver is not None and self.chain is not None and self.view is not None
        assert self.indexes is not None
        options = protocol_config(config)
        assert self.addresses is not None
        self._tell("Loading banlist…")
        self.ban_file = BanFile(config.net_dir, self.clock.now())
        self.protocol = Protocol(
            options,
            self.params,
            self.view,
            self._rng,
            asyncio.get_running_loop().time(),
            self.clock.time(),
            address_book=self.addresses.book,
            transactions=transactions.source,
            bans=self.ban_file.bans,
            fixed_seeds=lambda: seed_addresses(self.params.name),
            anchors=take_anchors(config.net_dir, self.params.magic) if options.automatic_outbound else (),
        )
        bridge = BlockEffects(self.driver, self.chain, transactions, self.clock, config.net_dir)
        self.reactor = Reactor(
            self.protocol,
            self.params.magic,
            self.params.p2p_port,
            bridge,
            wall_clock=self.clock.time,
            clock_held=lambda: self.clock.held,
            connect_timeout=config.timeout / 1000,
            max_send_buffer=config.maxsendbuffer * 1000,
            max_receive_buffer=config.maxreceivebuffer * 1000,
            look_up_names=config.dns,
            v2=config.v2transport,
            access=self.access,
            dialer=dialer,
            cjdns=config.cjdnsreachable,
        )
        self.clock.on_set.append(self.reactor.tell_time)
        bridge.filters = self.indexes.filters
        bridge.addresses = self.addresses
        if config.capturemessages:
            self.reactor.capture = MessageCapture(config.net_dir, self.clock.time)
        assert self.assume is not None
        self.assume.attach(self.protocol)
        transactions.attach(self.reactor)
        bridge.attach(self.reactor)
        self.mempool_file = MempoolFile(
            transactions, self.protocol, self.clock, config.net_dir, with_key=not config.persistmempoolv1
        )
        self.submissions = Submissions(transactions, self.protocol, private=config.privatebroadcast)
        self.peers = Peers(self.reactor, self.protocol, options, config, self.ban_file, self.clock)

    async def _bring_up_to_date(self) -> None:
        """Rebuild from own block files if asked to, and connect what is stored and not connected yet."""
        assert self.driver is not None and self._store is not None
        if self._store.reindexing:
            self._tell("Reindexing blocks on disk…")
            files = self._store.files
            paths = [files.block_path(number) for number in range(len(files.infos))]
            paths = [path for path in paths if path.exists()]
            await self._until_stopped(
                BlockImporter(self.driver, self.params.magic, self.clock.now, own_files=True).run(paths)
            )
            if self.stop_requested.is_set():  # the next start goes on
                return
            await self.driver.flush()
            self._store.end_reindex()
            log.info("Reindexing finished")
        self._tell("Activating best chain…")
        await self._until_stopped(self.driver.settled())
        assert self.pruner is not None
        self.pruner.check_locks()

    async def _until_stopped(self, work: object) -> None:
        """Await ``work``, or give it up when the node is asked to stop."""
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        waiter = asyncio.ensure_future(self.stop_requested.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if task.done():
            task.result()
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _open_network(self) -> None:
        config = self.config
        assert self.reactor is not None and self.driver is not None and self.addresses is not None
        if config.listens:
            places = listening(config, self.params.p2p_port, self.access.binds)
            await self.reactor.listen(list(places.binds), required=places.chosen, onion=places.onion)
        for own in own_addresses(config, self.params.p2p_port, self.access.binds):
            self.reactor.feed(own)
        if config.metrics_port is not None and (board := self.figures) is not None:
            from btcnode.observe.metrics import MetricsExporter  # loads an HTTP server of its own

            self.metrics = MetricsExporter(lambda: board.latest)
            port = self.metrics.start(config.metrics_bind, config.metrics_port)
            log.info("metrics at http://%s:%d/metrics", config.metrics_bind, port)
        self.reactor.feed(SetNetworkActive(config.networkactive))
        self._tell("Starting network threads…")
        for name in ("net", "addcon", "opencon", "msghand"):
            log.info("%s thread start", name)
        self.reactor.start()
        self.addresses.start()
        assert self.indexes is not None and self.pruner is not None
        self.indexes.start()
        self.pruner.start()
        self.nat = start_nat(config, self.reactor)
        self.anonymity = Anonymity(config, self.reactor, self.params.p2p_port)
        self.anonymity.start()
        if self.fees is not None:
            self.fees.start()
        self._housekeeper = asyncio.create_task(self._keep_house())
        self._import = asyncio.create_task(self._import_files())

    async def _keep_house(self) -> None:
        """Divide the memory, and let the chain see whether a flush is due, also while no block comes."""
        assert self.driver is not None and self.memory is not None
        assert self.monitor is not None and self.figures is not None and self.transactions is not None
        assert self.watch is not None and self.protocol is not None
        while True:
            self.disk.look(asyncio.get_running_loop().time())
            self.memory.look()
            self.figures.measure()
            self.transactions.look_behind()
            self.watch.look_at_clock(self.protocol.median_time_offset())
            try:
                await self.monitor.observe()
            except StorageError as error:
                self._on_fatal(error)
                return
            await asyncio.sleep(HOUSEKEEPING_INTERVAL)
            self.driver.kick()

    async def _import_files(self) -> None:
        """Blocks that the user named, then the mempool of the last run."""
        log.info("initload thread start")
        assert self.driver is not None and self.mempool_file is not None
        try:
            if self.config.loadblock:
                await self._import_blocks(self.driver)
            if self.config.stopafterblockimport:
                log.info("Stopping after block import")
                self.stop_requested.set()
                return
            if self.config.persistmempool:
                await self.mempool_file.load()
        except StorageError as error:
            self._on_fatal(error)
        finally:
            self.mempool_file.loaded = True
            log.info("initload thread exit")

    async def _import_blocks(self, driver: ChainDriver) -> None:
        report = await import_paths(driver, self.params.magic, self.clock.now, list(self.config.loadblock))
        log.info(
            "imported %d blocks from %d files (%d known already, %d refused, %d without parent)",
            report.blocks, report.files, report.known, report.rejected, report.orphans,
        )  # fmt: skip

    def _on_fatal(self, error: BaseException) -> None:
        """Something broke that the node cannot go on with."""
        if self.failure is None:
            self.failure = error
            self.alerts.raise_alert(Alert.FATAL_ERROR, str(error))
            if isinstance(error, BtcnodeError):
                log.error("%s", error)
            else:
                log.error("internal error, the node stops", exc_info=error)
            if isinstance(error, DisconnectError) and self._store is not None:
                try:
                    self._store.note_damage(str(error))
                except StorageError as second:
                    log.error("%s", second)
        self.stop_requested.set()

    async def _save_mempool(self) -> None:
        """Keep the mempool for the next run; nothing else depends on it."""
        if self.transactions is None or self.mempool_file is None:
            return
        loaded = self.mempool_file.loaded
        await self.transactions.close()
        if loaded and self.config.persistmempool:
            try:
                await self.mempool_file.save()
            except StorageError as error:
                log.error("the mempool is not saved: %s", error)

    async def stop(self) -> None:
        """Take everything down, flushed; may be called after a failed start too."""
        self.stop_requested.set()
        log.info("Shutdown in progress...")
        remove_ready(self.config)
        for task in (self._import, self._housekeeper):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.monitor is not None:
            await self.monitor.note_stop()
        if self.metrics is not None:
            await asyncio.to_thread(self.metrics.close)
        if self.chain is not None:
            self.chain.stop_waiting()
        if self._rpc is not None:
            await self._rpc.stop()
        if self.nat is not None:
            await self.nat.close()
        if self.anonymity is not None:
            await self.anonymity.close()
        if self.reactor is not None and self.protocol is not None:
            await self._save_mempool()
            if self.fees is not None:
                await self.fees.close()
            anchors = self.protocol.anchors()
            await self.reactor.close()
            if self.ban_file is not None:
                await self.ban_file.close(self.clock.now())
            assert self.addresses is not None
            automatic = protocol_config(self.config).automatic_outbound
            await self.addresses.close(anchors if automatic else None)
        if self.indexes is not None:
            await self.indexes.close()
        if self.pruner is not None:
            await self.pruner.close()
        if self.assume is not None:
            await self.assume.close()
        if self.driver is not None:
            await self.driver.close()
            shadow = self.driver.chainstate.executor.shadow
            if shadow is not None:
                log.info("%s", shadow.summary())
        elif self._store is not None:
            self._store.close()
        if self.notifications is not None:
            await asyncio.to_thread(self.notifications.close)
        if self._pool is not None:
            await asyncio.to_thread(self._pool.close)
        log.info("Shutdown done")
