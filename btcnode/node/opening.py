"""The first stage of a node: its directory is locked and open, RPC answers that it warms up, the chain is loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from btcnode import __version__
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.compiled import allow
from btcnode.errors import ConfigError, DisconnectError, RebuildError, StorageError
from btcnode.node.chain_loader import ChainLoader
from btcnode.node.launch import Launch, closes
from btcnode.node.memory import MemoryBudget, fit_memory
from btcnode.node.placement import Placement
from btcnode.node.proxy_setup import listening, make_dialer
from btcnode.node.ready_file import ready_path, remove_ready
from btcnode.node.resources import http_limits, side_processes
from btcnode.record import record
from btcnode.rpc.server import RpcServer
from btcnode.services.addresses import Addresses
from btcnode.services.ban_file import BanFile
from btcnode.services.notifications import open_publisher
from btcnode.services.peers_file import load_book, load_groups
from btcnode.storage.fault_note import last_fault
from btcnode.storage.interpreter_lock import is_free_threaded, require_lock
from btcnode.storage.layout import KERNELS_FAULT_FILE
from btcnode.storage.locking import DirectoryLock
from btcnode.sync.checker import PooledChecker
from btcnode.sync.worker_pool import WorkerPool, worker_count

if TYPE_CHECKING:
    from pathlib import Path

    from btcnode.net.proxy.dialer import Dialer
    from btcnode.notify.publisher import Publisher
    from btcnode.rpc.http_server import HttpLimits
    from btcnode.settings.permissions import AccessRules
    from btcnode.settings.settings import Settings
    from btcnode.storage.proof_files import ProofFiles
    from btcnode.sync.memory_plan import MemoryPlan

REPAIR = "reindex_after_failure_noninteractive_yes"  # a value of -test

log = logging.getLogger("btcnode.node")


@record
class OpenedNode:
    """What is open. ``settings`` is that of the launch, with ``reindex`` where the data is repaired by one.

    Caches and workers in it are no more than there is memory for.
    """

    launch: Launch
    settings: Settings
    access: AccessRules
    dialer: Dialer
    http: HttpLimits  # of all HTTP servers
    rpc: RpcServer | None  # None: -server=0
    rpc_closing: AsyncExitStack  # closes the server; moved up when every method answers
    addresses: Addresses
    bans: BanFile
    publisher: Publisher | None  # None: no -zmqpub... option, or an address that cannot be used
    workers: WorkerPool | None  # None: -par=1
    budget: MemoryBudget
    store: ChainStore
    state: Chainstate
    proofs: ProofFiles | None  # None: the node keeps coins

    @property
    def checker(self) -> PooledChecker | None:
        """What verifies scripts in worker processes, None without any."""
        return None if self.workers is None else PooledChecker(self.workers)


async def open_node(launch: Launch, stack: AsyncExitStack, meanwhile: Callable[[], None] = lambda: None) -> OpenedNode:
    """Open a node; raises BtcnodeError with one line for the user, StartStopped. ``stack`` closes what is open.

    ``meanwhile`` is called while the files are opened, which is for the disk to do.
    """
    settings, params = launch.settings, launch.params
    log.info("btcnode %s on %s, data in %s", __version__, params.name, settings.net_dir)
    if is_free_threaded():
        require_lock()
        log.info("this Python has its global interpreter lock on, as the database needs it: workers are processes")
    log.info("scheduler thread start")  # this and lines like it: where Core begins the same work
    if settings.mempool.acceptstalefeeestimates and params.chain != "regtest":  # here as in Core: with a log already
        raise ConfigError(f"acceptstalefeeestimates is not supported on {params.chain} chain.")
    access = settings.connections.access
    dialer = await make_dialer(settings)
    if settings.connections.listen:
        listening(settings.connections)  # wrong ones are told before anything is opened
    launch.check_stop()
    placement = Placement.of(settings)
    stack.callback(placement.end)
    placement.begin()
    _forget_last_run(settings)
    settings, budget, memory = fit_memory(settings)
    if memory.kernels:
        _allow_kernels(settings.net_dir, make=budget.may_compile(memory))
    opening = asyncio.ensure_future(_open_store(launch, stack, settings, memory))
    try:
        await asyncio.sleep(0)  # it has begun
        meanwhile()
    except BaseException:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        raise
    store, settings = await opening
    processes = side_processes(settings, placement.workers)
    stack.callback(processes.close)
    http = http_limits(settings, processes)
    rpc, rpc_closing = await _open_rpc(launch, stack, http)
    launch.check_stop()
    launch.busy_with("Loading P2P addresses…")
    addresses = await launch.in_thread(lambda: _load_addresses(launch))
    launch.busy_with("Loading banlist…")
    bans = BanFile(settings.net_dir, launch.clock.now())
    bans.begin()
    publisher = open_publisher(settings)
    if publisher is not None:
        closes(stack, launch, lambda: asyncio.to_thread(publisher.close))
    count = worker_count(settings.storage.par)
    workers = WorkerPool(count, params, processors=placement.workers) if count else None
    placement.pin_loop()
    if workers is not None:
        closes(stack, launch, lambda: asyncio.to_thread(workers.close))
    checker = None if workers is None else PooledChecker(workers)
    proofs: ProofFiles | None = None
    if settings.storage.utreexocsn:
        from btcnode.storage.proof_files import ProofFiles

        proofs = ProofFiles(settings.net_dir)
    store, settings, state = await _load_chain(launch, stack, settings, memory, store, checker, proofs)
    launch.failure.listen(lambda error: _note_damage(store, error))
    store.damage_reports.listen(launch.failure.reporter(asyncio.get_running_loop()))
    return OpenedNode(
        launch, settings, access, dialer, http, rpc, rpc_closing, addresses, bans, publisher, workers, budget, store,
        state, proofs,
    )  # fmt: skip


def _allow_kernels(net_dir: Path, *, make: bool) -> None:
    """Allow kernels, unless a run has ended in those that are there."""

    def remember(what: str) -> None:
        from btcnode.compiled.refusal import Refusal

        Refusal(net_dir / KERNELS_FAULT_FILE).note(what)

    try:
        refused = _refused_kernels(net_dir)
    except OSError as error:
        refused = str(error)
    if refused is None:
        allow(make=make, remember=remember)
    else:
        log.warning("no compiled kernels, plain Python does their work: %s", refused)


def _refused_kernels(net_dir: Path) -> str | None:
    """Why kernels are not to be used; raises OSError."""
    fault = last_fault(net_dir)
    if fault is None and not (net_dir / KERNELS_FAULT_FILE).exists():
        return None
    from btcnode.compiled.refusal import Refusal, ended_in_kernels

    refusal = Refusal(net_dir / KERNELS_FAULT_FILE)
    if fault is not None and ended_in_kernels(fault.stack):
        refusal.note(f"a run has ended in them ({fault.what})", fault.when)
    return refusal.stands()


def _forget_last_run(settings: Settings) -> None:
    """Where a run that was killed could be reached; raises DatadirLockedError while another one goes on."""
    if not ready_path(settings).exists():
        return
    lock = DirectoryLock(settings.net_dir)
    try:
        remove_ready(settings)
    finally:
        lock.release()


async def _open_store(
    launch: Launch, stack: AsyncExitStack, settings: Settings, memory: MemoryPlan
) -> tuple[ChainStore, Settings]:
    """The store, and the options with which it was opened."""
    launch.control.status = "Opening the database…"
    try:
        store = await launch.in_thread(_loader(launch, settings, memory).open_store, ChainStore.close)
    except RebuildError:
        if not _repairs(settings):
            raise
        settings = settings.changed("storage", reindex=True)
        store = await launch.in_thread(_loader(launch, settings, memory).open_store, ChainStore.close)
    closes(stack, launch, lambda: asyncio.to_thread(store.close))
    return store, settings


async def _open_rpc(
    launch: Launch, stack: AsyncExitStack, limits: HttpLimits
) -> tuple[RpcServer | None, AsyncExitStack]:
    """The server that tells clients to wait, and what closes it."""
    closing = await stack.enter_async_context(AsyncExitStack())
    if not launch.settings.rpc.server:
        return None, closing
    rpc = RpcServer(launch.settings, launch.table, limits, log_behind=launch.log_behind)
    closes(closing, launch, rpc.stop)
    await rpc.start()
    return rpc, closing


def _load_addresses(launch: Launch) -> Addresses:
    settings, magic = launch.settings, launch.params.magic
    book = load_book(settings, magic, launch.rng, load_groups(settings))
    return Addresses(book, settings.net_dir, magic, launch.clock, cjdns=settings.proxies.cjdnsreachable)


async def _load_chain(
    launch: Launch,
    stack: AsyncExitStack,
    settings: Settings,
    memory: MemoryPlan,
    store: ChainStore,
    checker: PooledChecker | None,
    proofs: ProofFiles | None,
) -> tuple[ChainStore, Settings, Chainstate]:
    """Check what is stored, and open it anew for a reindex where a test option allows to repair it that way."""
    try:
        state = await launch.in_thread(
            lambda: _loader(launch, settings, memory).load(store, checker, proofs), Chainstate.release
        )
    except RebuildError:
        if not _repairs(settings):
            raise
        await asyncio.to_thread(store.close)
        store, settings = await _open_store(launch, stack, settings.changed("storage", reindex=True), memory)
        state = await launch.in_thread(
            lambda: _loader(launch, settings, memory).load(store, checker, proofs), Chainstate.release
        )
    closes(stack, launch, lambda: asyncio.to_thread(state.release))
    return store, settings, state


def _loader(launch: Launch, settings: Settings, memory: MemoryPlan) -> ChainLoader:
    return ChainLoader(settings, launch.params, launch.clock, launch.busy_with, launch.check_stop, memory.queue)


def _repairs(settings: Settings) -> bool:
    """Whether a reindex is allowed to repair what is stored, and has not been tried."""
    return not settings.storage.reindex and REPAIR in settings.chain.test


def _note_damage(store: ChainStore, error: BaseException) -> None:
    """Remember for the next start that blocks could not be taken back: the data is damaged."""
    if isinstance(error, DisconnectError):
        try:
            store.note_damage(str(error))
        except StorageError as second:
            log.error("%s", second)
