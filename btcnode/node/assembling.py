"""The second stage of a node: its parts are made and wired. Nothing runs yet but what the first stage has begun."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError
from btcnode.net.reactor import Reactor
from btcnode.networks.assumeutxo import known_sets
from btcnode.node.launch import StartStopped, closes
from btcnode.node.memory import NodeConsumers
from btcnode.node.mempool_setup import make_pool, make_template_maker
from btcnode.node.protocol_setup import protocol_config
from btcnode.node.resources import CHAIN_GB, CLOSING_CONNECTIONS, MIN_FREE_BYTES
from btcnode.primitives.hashes import BlockHash
from btcnode.protocol.chain_view import NodeChainView
from btcnode.protocol.effects import TakeUtxoChunk, TakeUtxoTree
from btcnode.protocol.protocol import Protocol
from btcnode.record import record
from btcnode.rpc.request_metrics import rpc_metrics
from btcnode.services.assumed_chain import AssumedChain
from btcnode.services.block_effects import BlockEffects
from btcnode.services.chain import Chain
from btcnode.services.chain_alerts import ChainAlerts
from btcnode.services.fees import FILE_NAME as FEES_FILE
from btcnode.services.fees import FeeEstimates
from btcnode.services.first_contact import FirstContact
from btcnode.services.hints_writer import HintsWriter
from btcnode.services.indexes import Indexes
from btcnode.services.measuring import Measured, Meter
from btcnode.services.mempool_file import MempoolFile
from btcnode.services.notifications import Notifications
from btcnode.services.overview import Overview, Room
from btcnode.services.parts import NodeParts
from btcnode.services.peers import Peers
from btcnode.services.peers_file import read_anchors, seed_addresses
from btcnode.services.pruner import Pruner
from btcnode.services.recent import Recent
from btcnode.services.snapshot_writer import SnapshotWriter
from btcnode.services.submissions import Submissions
from btcnode.services.sync_monitor import SyncMonitor
from btcnode.services.transactions import PoolSource, Transactions
from btcnode.services.utxo_fetch import UtxoFetch
from btcnode.services.utxo_shares import UtxoShares
from btcnode.services.wallet_service import WalletService
from btcnode.storage.tip_note import TipNote
from btcnode.sync.driver import ChainDriver
from btcnode.sync.memory_limiter import MemoryLimiter
from btcnode.wire.constants import NODE_NETWORK, NODE_UTXO_SET

if TYPE_CHECKING:
    from btcnode.net.capture import MessageCapture
    from btcnode.node.launch import Launch
    from btcnode.node.opening import OpenedNode
    from btcnode.protocol.config import ProtocolConfig
    from btcnode.services.proof_keeper import ProofKeeper
    from btcnode.services.swift_sync import SwiftSync

log = logging.getLogger("btcnode.node")


@record
class Machinery:
    """What works below the parts: the chain's driver, the protocol and its sockets, the mempool's admission."""

    options: ProtocolConfig
    driver: ChainDriver
    view: NodeChainView
    protocol: Protocol
    reactor: Reactor
    transactions: Transactions


@record
class AssembledNode:
    """Everything that a node consists of."""

    opened: OpenedNode
    machinery: Machinery
    parts: NodeParts
    alerts: ChainAlerts
    memory: MemoryLimiter
    meter: Meter
    recent: Recent
    overview: Overview


def assemble(opened: OpenedNode, stack: AsyncExitStack) -> AssembledNode:
    """Make the parts; raises BtcnodeError with one line for the user. ``stack`` closes what was made."""
    launch, settings = opened.launch, opened.settings
    options = protocol_config(settings)
    note = TipNote(settings.net_dir)
    stack.push(lambda kind, *_: note.close(clean=launch.failure.error is None and kind in (None, StartStopped)))
    machinery = _make_machinery(opened, options, stack)
    driver, protocol, transactions = machinery.driver, machinery.protocol, machinery.transactions
    chain = Chain(driver, machinery.view, launch.params, launch.clock, opened.http.room.processes)
    alerts = ChainAlerts(chain, launch.alerts)
    assumed = _make_assumed(opened, machinery, chain)
    closes(stack, launch, assumed.close)
    swiftsync = _make_swiftsync(opened, machinery, chain, assumed)
    if swiftsync is not None:
        closes(stack, launch, swiftsync.close)
    utxo_shares, utxo_fetch = _make_utxo_sets(opened, machinery, chain, assumed, stack)
    indexes = Indexes(chain, settings, launch.alerts, launch.failure.report)
    closes(stack, launch, indexes.close)
    pruner = Pruner(chain, indexes.needs(), settings.storage.prune_target, enabled=settings.storage.prunes)
    closes(stack, launch, pruner.close)
    fees = None if settings.mempool.blocksonly else _make_fees(opened, machinery)
    mempool_file = _make_mempool_file(opened, transactions)
    sync = SyncMonitor(driver, machinery.view, protocol, opened.workers, launch.clock, note)
    parts = NodeParts(
        settings=settings,
        params=launch.params,
        clock=launch.clock,
        control=launch.control,
        alerts=launch.alerts,
        chain=chain,
        assumed=assumed,
        pruner=pruner,
        snapshots=SnapshotWriter(chain, pruner),
        hints=HintsWriter(chain, pruner),
        indexes=indexes,
        mempool=transactions.pool,
        mempool_file=mempool_file,
        submissions=Submissions(transactions, protocol, private=settings.proxies.privatebroadcast),
        templates=make_template_maker(settings.mining, launch.params),
        fees=fees,
        peers=Peers(machinery.reactor, protocol, options, settings, opened.bans, launch.clock),
        addresses=opened.addresses,
        notifications=Notifications(opened.publisher, transactions, machinery.view, launch.clock),
        sync=sync,
        swiftsync=swiftsync,
        utxo_fetch=utxo_fetch,
        utxo_shares=utxo_shares,
        contact=FirstContact(settings, protocol),
        wallets=_make_wallets(opened, machinery, chain, indexes),
    )
    effects = _make_effects(opened, machinery, parts, stack)
    closes(stack, launch, opened.addresses.close)
    closes(stack, launch, lambda: opened.bans.close(launch.clock.now()))
    closes(stack, launch, effects.close)
    closes(stack, launch, machinery.reactor.close)
    if fees is not None:
        closes(stack, launch, fees.close)
    closes(stack, launch, mempool_file.close)
    if parts.wallets is not None:
        closes(stack, launch, parts.wallets.close)
    sync.log_last_run()
    closes(stack, launch, sync.note_stop)
    limiter = _make_limiter(opened, machinery, chain)
    return AssembledNode(opened, machinery, parts, alerts, limiter, *_make_watchers(opened, machinery, parts))


def _make_effects(opened: OpenedNode, machinery: Machinery, parts: NodeParts, stack: AsyncExitStack) -> BlockEffects:
    """What carries out the protocol's effects, and what keeps proofs in a node without coins."""
    proofs = _make_proofs(opened, machinery, parts.chain)
    if proofs is not None:
        closes(stack, opened.launch, proofs.close)
    effects = BlockEffects(
        machinery.reactor, parts.chain, machinery.transactions, opened.addresses, parts.indexes.filters,
        opened.launch.clock, opened.settings.net_dir, parts.swiftsync, parts.indexes.utreexo, proofs, parts.utxo_shares,
    )  # fmt: skip
    if proofs is not None:
        proofs.start()
    return effects


def _make_proofs(opened: OpenedNode, machinery: Machinery, chain: Chain) -> ProofKeeper | None:
    if opened.proofs is None:
        return None
    from btcnode.services.proof_keeper import ProofKeeper

    return ProofKeeper(opened.proofs, chain, machinery.reactor.feed, opened.launch.failure.report)


def _make_wallets(opened: OpenedNode, machinery: Machinery, chain: Chain, indexes: Indexes) -> WalletService | None:
    if opened.settings.wallet.disablewallet:
        return None
    return WalletService(opened.settings, chain, machinery.transactions, indexes, opened.launch.clock)


def _make_mempool_file(opened: OpenedNode, transactions: Transactions) -> MempoolFile:
    settings = opened.settings
    return MempoolFile(
        transactions,
        opened.launch.clock,
        settings.net_dir,
        persist=settings.mempool.persistmempool,
        with_key=not settings.mempool.persistmempoolv1,
    )


def _make_watchers(opened: OpenedNode, machinery: Machinery, parts: NodeParts) -> tuple[Meter, Recent, Overview]:
    """What tells people and programs how the node is."""
    launch = opened.launch
    measured = Measured(
        machinery.driver, machinery.protocol, machinery.reactor, machinery.transactions, opened.workers, parts
    )
    meter = Meter(measured, lambda: rpc_metrics(launch.table))
    recent = Recent(
        machinery.driver, parts.mempool, launch.clock, (opened.settings.net_dir, opened.settings.blocks_dir)
    )
    room = Room(MIN_FREE_BYTES, CHAIN_GB.get(launch.params.name, 0) * 10**9, opened.budget.limit)
    return meter, recent, Overview(measured, meter, recent, room)


def _make_machinery(opened: OpenedNode, options: ProtocolConfig, stack: AsyncExitStack) -> Machinery:
    launch, settings, state = opened.launch, opened.settings, opened.state
    driver = ChainDriver(
        state,
        on_fatal=launch.failure.report,
        stop_at_height=settings.storage.stopatheight,
        on_stop_height=launch.control.request_stop,
        pool=opened.workers,
    )
    shadow = state.executor.shadow
    if shadow is not None:
        stack.callback(lambda: log.info("%s", shadow.summary()))
    closes(stack, launch, driver.close)
    view = NodeChainView(
        state.tree,
        state.active,
        launch.params,
        max_tip_age=settings.chain.maxtipage_s,
        history=driver.history_span,
    )
    pool = make_pool(settings.mempool)
    protocol = Protocol(
        options,
        launch.params,
        view,
        launch.rng,
        asyncio.get_running_loop().time(),
        launch.clock.time(),
        address_book=opened.addresses.book,
        transactions=PoolSource(pool, launch.clock),
        bans=opened.bans.bans,
        fixed_seeds=lambda: seed_addresses(launch.params.name),
        anchors=read_anchors(settings.net_dir, launch.params.magic) if options.automatic_outbound else (),
    )
    reactor = Reactor(
        protocol,
        launch.params.magic,
        launch.params.p2p_port,
        wall_clock=launch.clock.time,
        clock_held=lambda: launch.clock.held,
        connect_timeout=settings.connections.timeout_ms / 1000,
        max_send_buffer=settings.connections.maxsendbuffer_bytes,
        max_receive_buffer=settings.connections.maxreceivebuffer_bytes,
        look_up_names=settings.connections.dns,
        v2=settings.connections.v2transport,
        access=opened.access,
        dialer=opened.dialer,
        cjdns=settings.proxies.cjdnsreachable,
        capture=_message_capture(launch),
        most_incoming=settings.connections.maxconnections + CLOSING_CONNECTIONS,
        gives_way=lambda: driver.has_block and not view.is_initial_block_download(launch.clock.now()),
    )
    launch.clock.listen(reactor.feed_tick)
    feed, fatal = reactor.feed_all, launch.failure.report
    transactions = Transactions(driver, view, launch.clock, pool, opened.workers, feed, fatal)
    closes(stack, launch, transactions.close)
    return Machinery(options, driver, view, protocol, reactor, transactions)


def _message_capture(launch: Launch) -> MessageCapture | None:
    settings = launch.settings
    if not settings.connections.capturemessages:
        return None
    from btcnode.net.capture import MessageCapture

    return MessageCapture(settings.net_dir, launch.clock.time)


def _make_limiter(opened: OpenedNode, machinery: Machinery, chain: Chain) -> MemoryLimiter:
    consumers = NodeConsumers(
        machinery.driver,
        opened.workers,
        machinery.reactor,
        machinery.transactions,
        chain,
        opened.http.room,
        opened.budget.enforced,
    )
    return MemoryLimiter(opened.budget, consumers, opened.state.coins)


def _make_assumed(opened: OpenedNode, machinery: Machinery, chain: Chain) -> AssumedChain:
    protocol = machinery.protocol
    whole = protocol.services & NODE_NETWORK

    def offer_history(available: bool) -> None:
        protocol.offer(protocol.services | whole if available else protocol.services & ~NODE_NETWORK)

    return AssumedChain(
        chain,
        machinery.transactions.pool,
        opened.checker,
        dbcache=opened.settings.storage.dbcache_bytes,
        offer_history=offer_history,
        on_fatal=opened.launch.failure.report,
    )


def _make_utxo_sets(
    opened: OpenedNode, machinery: Machinery, chain: Chain, assumed: AssumedChain, stack: AsyncExitStack
) -> tuple[UtxoShares | None, UtxoFetch]:
    """What shares sets, and what fetches one; raises ConfigError for one that nobody knows."""
    settings, protocol, reactor = opened.settings, machinery.protocol, machinery.reactor

    def offer(available: bool) -> None:
        others = protocol.services & ~NODE_UTXO_SET
        protocol.offer(others | NODE_UTXO_SET if available else others)

    choice, sets = settings.storage.downloadutxoset, known_sets(opened.launch.params)
    if choice is not None and not any(map(choice.names, sets)):
        heights = ", ".join(str(known.height) for known in sets)
        raise ConfigError(
            f"-downloadutxoset: no UTXO set of that block is known; there are those of heights {heights}."
        )
    shares = None
    if settings.connections.peerutxosets:
        shares = UtxoShares(settings.net_dir, opened.launch.params, chain, offer)
    fetch = UtxoFetch(
        settings.net_dir,
        chain,
        assumed,
        reactor.feed,
        protocol.utxo_set_sources,
        shares,
        speaks=machinery.options.utxo_sets,
    )
    reactor.execute_with({TakeUtxoTree: fetch.on_tree, TakeUtxoChunk: fetch.on_chunk}, {})
    closes(stack, opened.launch, fetch.close)
    if shares is not None:
        closes(stack, opened.launch, shares.close)
    return shares, fetch


def _make_swiftsync(opened: OpenedNode, machinery: Machinery, chain: Chain, assumed: AssumedChain) -> SwiftSync | None:
    storage, reactor = opened.settings.storage, machinery.reactor
    if storage.swiftsync is None:
        return None
    from btcnode.services.swift_sync import SwiftOptions, SwiftSync

    named = storage.swiftsyncblock
    options = SwiftOptions(
        storage.swiftsync,
        None if named is None else BlockHash(named.to_bytes(32, "little")),
        keep_blocks=not storage.prunes,
        full=storage.swiftsyncfull,
        validate=storage.swiftsyncvalidate,
    )
    return SwiftSync(
        chain,
        machinery.view,
        assumed,
        opened.workers,
        opened.launch.clock,
        options,
        feed=reactor.feed,
        has_peers=lambda: bool(reactor.connections),
        on_fatal=opened.launch.failure.report,
    )


def _make_fees(opened: OpenedNode, machinery: Machinery) -> FeeEstimates:
    settings = opened.settings
    return FeeEstimates(
        machinery.transactions,
        machinery.view,
        opened.state.tree,
        opened.launch.clock,
        settings.net_dir / FEES_FILE,
        accept_stale=settings.mempool.acceptstalefeeestimates,
    )
