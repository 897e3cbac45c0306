"""The first stage of a node: its directory is locked and open, RPC answers that it warms up, the chain is loaded."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from btcnode import __version__
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.config import NodeConfig
from btcnode.errors import ConfigError, DisconnectError, RebuildError, StorageError
from btcnode.net.proxy.dialer import Dialer
from btcnode.node.chain_loader import ChainLoader
from btcnode.node.launch import Launch, closes
from btcnode.node.protocol_setup import access_rules
from btcnode.node.proxy_setup import listening, make_dialer
from btcnode.protocol.connections.permissions import AccessRules
from btcnode.rpc.server import RpcServer
from btcnode.services.addresses import Addresses
from btcnode.services.ban_file import BanFile
from btcnode.services.notifications import open_publisher
from btcnode.services.peers_file import load_book, load_groups
from btcnode.sync.checker import PooledChecker
from btcnode.sync.worker_pool import WorkerPool, worker_count

if TYPE_CHECKING:
    from btcnode.notify.publisher import Publisher

REPAIR = "reindex_after_failure_noninteractive_yes"  # a value of -test

log = logging.getLogger("btcnode.node")


@dataclass(frozen=True, slots=True)
class OpenedNode:
    """What is open. ``config`` is that of the launch, with ``reindex`` where the data is repaired by one."""

    launch: Launch
    config: NodeConfig
    access: AccessRules
    dialer: Dialer
    rpc: RpcServer | None  # None: -server=0
    rpc_closing: AsyncExitStack  # closes the server; moved up when every method answers
    addresses: Addresses
    bans: BanFile
    publisher: Publisher | None  # None: no -zmqpub... option, or an address that cannot be used
    workers: WorkerPool | None  # None: -par=1
    store: ChainStore
    state: Chainstate

    @property
    def checker(self) -> PooledChecker | None:
        """What verifies scripts in worker processes, None without any."""
        return None if self.workers is None else PooledChecker(self.workers)


async def open_node(launch: Launch, stack: AsyncExitStack) -> OpenedNode:
    """Open a node; raises BtcnodeError with one line for the user, StartStopped. ``stack`` closes what is open."""
    config, params = launch.config, launch.params
    log.info("btcnode %s on %s, data in %s", __version__, params.name, config.net_dir)
    log.info("scheduler thread start")  # this and lines like it: where Core begins the same work
    if config.acceptstalefeeestimates and params.chain != "regtest":  # here as in Core: with a log already
        raise ConfigError(f"acceptstalefeeestimates is not supported on {params.chain} chain.")
    access = access_rules(config)
    dialer = await make_dialer(config)
    if config.listens:
        listening(config, params.p2p_port, access.binds)  # wrong ones are told before anything is opened
    launch.check_stop()
    store, config = await _open_store(launch, stack, config)
    rpc, rpc_closing = await _open_rpc(launch, stack)
    launch.check_stop()
    launch.busy_with("Loading P2P addresses…")
    addresses = await launch.in_thread(lambda: _load_addresses(launch))
    launch.busy_with("Loading banlist…")
    bans = BanFile(config.net_dir, launch.clock.now())
    publisher = open_publisher(config)
    if publisher is not None:
        closes(stack, launch, lambda: asyncio.to_thread(publisher.close))
    count = worker_count(config.par)
    workers = WorkerPool(count, params) if count else None
    if workers is not None:
        closes(stack, launch, lambda: asyncio.to_thread(workers.close))
    checker = None if workers is None else PooledChecker(workers)
    store, config, state = await _load_chain(launch, stack, config, store, checker)
    launch.failure.listen(lambda error: _note_damage(store, error))
    return OpenedNode(
        launch, config, access, dialer, rpc, rpc_closing, addresses, bans, publisher, workers, store, state
    )


async def _open_store(launch: Launch, stack: AsyncExitStack, config: NodeConfig) -> tuple[ChainStore, NodeConfig]:
    """The store, and the options with which it was opened."""
    launch.control.status = "Opening the database…"
    try:
        store = await launch.in_thread(_loader(launch, config).open_store)
    except RebuildError:
        if not _repairs(config):
            raise
        config = replace(config, reindex=True)
        store = await launch.in_thread(_loader(launch, config).open_store)
    closes(stack, launch, lambda: asyncio.to_thread(store.close))
    return store, config


async def _open_rpc(launch: Launch, stack: AsyncExitStack) -> tuple[RpcServer | None, AsyncExitStack]:
    """The server that tells clients to wait, and what closes it."""
    closing = await stack.enter_async_context(AsyncExitStack())
    if not launch.config.server:
        return None, closing
    rpc = RpcServer(launch.config, launch.table, launch.params.rpc_port)
    closes(closing, launch, rpc.stop)
    await rpc.start()
    return rpc, closing


def _load_addresses(launch: Launch) -> Addresses:
    config, magic = launch.config, launch.params.magic
    book = load_book(config, magic, launch.rng, load_groups(config))
    return Addresses(book, config.net_dir, magic, launch.clock, cjdns=config.cjdnsreachable)


async def _load_chain(
    launch: Launch, stack: AsyncExitStack, config: NodeConfig, store: ChainStore, checker: PooledChecker | None
) -> tuple[ChainStore, NodeConfig, Chainstate]:
    """Check what is stored, and open it anew for a reindex where a test option allows to repair it that way."""
    try:
        state = await launch.in_thread(lambda: _loader(launch, config).load(store, checker))
    except RebuildError:
        if not _repairs(config):
            raise
        await asyncio.to_thread(store.close)
        store, config = await _open_store(launch, stack, replace(config, reindex=True))
        state = await launch.in_thread(lambda: _loader(launch, config).load(store, checker))
    closes(stack, launch, lambda: asyncio.to_thread(state.release))
    return store, config, state


def _loader(launch: Launch, config: NodeConfig) -> ChainLoader:
    return ChainLoader(config, launch.params, launch.clock, launch.busy_with, launch.check_stop)


def _repairs(config: NodeConfig) -> bool:
    """Whether a reindex is allowed to repair what is stored, and has not been tried."""
    return not config.reindex and REPAIR in config.test


def _note_damage(store: ChainStore, error: BaseException) -> None:
    """Remember for the next start that blocks could not be taken back: the data is damaged."""
    if isinstance(error, DisconnectError):
        try:
            store.note_damage(str(error))
        except StorageError as second:
            log.error("%s", second)
