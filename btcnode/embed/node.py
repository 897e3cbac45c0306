"""A node that lives in a program's own event loop and directory, and is driven by method calls.

async with btcnode.Node(network="regtest") as node:
    await node.rpc.generatetoaddress(1, address)
    async for event in node.events(btcnode.NewTip):
        ...
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, get_args, overload

from btcnode.embed.events import Event, EventHub, EventStream
from btcnode.errors import BtcnodeError, StorageError
from btcnode.node.launch import StartStopped
from btcnode.node.node import Node as Life
from btcnode.node.running import RunningNode
from btcnode.observe.stdio import hold_standard_numbers
from btcnode.record import record
from btcnode.rpc.jsonvalue import decode_decimal, encode
from btcnode.rpc.python_values import arguments
from btcnode.rpc.table import MethodTable
from btcnode.rpc.typed import NodeRpc
from btcnode.rpc.wallet_name import at_wallet
from btcnode.services.parts import NodeParts
from btcnode.settings.doors import BY_KEYWORD, from_keywords

A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)
D = TypeVar("D", bound=Event)

log = logging.getLogger("btcnode.node")

OF_PROCESS = frozenset(keyword for keyword, option in BY_KEYWORD.items() if option.of_process)


class LocalRpc(NodeRpc):
    """The RPC methods as coroutines: ``await node.rpc.getblock(block_hash, 2)``, named arguments too.

    Nothing goes over HTTP. Results are what a client would get, amounts as ``decimal.Decimal``. Raises RpcError with
    Core's codes and messages, BtcnodeError once the node has stopped and in another event loop than the node's.
    """

    def __init__(self, table: MethodTable, check_here: Callable[[], object], wallet: str | None = None) -> None:
        """``check_here`` raises BtcnodeError where and when the methods cannot be called.

        ``wallet`` is the one that methods of wallets are about; None: the only one that is loaded.
        """

        async def call(name: str, *params: Any, **named: Any) -> Any:
            check_here()
            method = table.find(name)
            given = arguments(params, named)
            with at_wallet(wallet):
                return decode_decimal(encode(await table.call_async(method, given)))

        super().__init__(call)
        self._table = table

    def __dir__(self) -> list[str]:
        return sorted(self._table.methods)


@record
class _Running:
    """What there is of a node that runs."""

    node: RunningNode
    hub: EventHub
    table: MethodTable
    rpc: LocalRpc


class Node:
    """A full node in this program; ``async with`` starts and stops it.

    ``options`` are those of the command line with underscores (``btcnode start --help``); those of ``OF_PROCESS`` (log
    files and levels, commands to run) are the program's own affair: they have no effect, which the log tells. No
    bitcoin.conf is read. Without ``datadir`` it works in a temporary directory, made at its start and removed at its
    end. On regtest it listens for nobody and picks a
    free RPC port unless told otherwise.

    A node that was stopped can be started again. It belongs to the event loop in which it is started: methods and
    events are for tasks of that loop, its addresses and ``settings`` can be read anywhere.
    """

    def __init__(self, *, network: str = "regtest", datadir: Path | str | None = None, **options: Any) -> None:
        """Nothing is touched yet. Raises ConfigError for options that do not fit."""
        if network == "regtest":
            options = {"listen": False, "dnsseed": False, "rpcport": 0, "par": 1, **options}
        self._temporary: Path | None = None
        if datadir is None:  # a name that nobody can guess: it is made, and must be new, when the node starts
            self._temporary = datadir = Path(tempfile.gettempdir(), f"btcnode-{secrets.token_hex(8)}")
        loaded = from_keywords({"network": network, "datadir": datadir, **options})
        self.settings = loaded.settings
        self._notes = [*loaded.lines, *((logging.WARNING, text) for text in loaded.warnings)]
        for name in sorted(OF_PROCESS.intersection(name for name, value in options.items() if value is not None)):
            self._notes.append(
                (logging.WARNING, f"{name} has no effect: it is for the command, not for a program's node")
            )
        self._task: asyncio.Task[None] | None = None  # the node's whole life, from start to stop
        self._request_stop: Callable[[], None] = lambda: None
        self._now: _Running | None = None

    async def start(self) -> None:
        """Bring the node up; raises BtcnodeError with one line that says why it cannot.

        Nothing is left of a start that fails or is cancelled; a cancellation takes as long as going down takes.
        """
        if self._task is not None:
            raise BtcnodeError("the node has been started already")
        hold_standard_numbers()
        life = Life(self.settings)
        for level, text in self._notes:
            log.log(level, "%s", text)
        self._request_stop = life.launch.control.request_stop
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        # a task of its own: whoever is cancelled while the node goes up or down does not leave half of it
        self._task = task = loop.create_task(self._live(life, ready), name="btcnode")
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await self._end_of(task)
            raise
        if task.done() and not ready.done():
            self._task = None
            task.result()

    async def stop(self) -> None:
        """Take the node down, everything flushed; iterators over its events end. Nothing when it does not run.

        Raises what made the node fail, StorageError when its data could not be written. Once begun it is carried to its
        end: who cancels this waits for it.
        """
        task = self._task
        if task is None:
            return
        self._check_loop()
        self._request_stop()
        await self._end_of(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StartStopped):  # that one is for who starts it
            raise error

    async def _end_of(self, task: asyncio.Task[None]) -> None:
        """Wait until the node is down, and only then be cancelled."""
        cancelled = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
        if self._task is task:
            self._task = None
        if cancelled is not None:
            raise cancelled

    async def _live(self, life: Life, ready: asyncio.Future[None]) -> None:
        async with AsyncExitStack() as stack:
            if self._temporary is not None:
                await stack.enter_async_context(_directory(self._temporary))
            running = await stack.enter_async_context(life.life())
            machinery, table = running.assembled.machinery, life.launch.table
            hub = EventHub(machinery.driver.chainstate.tree, machinery.protocol.peer_ids)
            machinery.driver.listen(hub.on_chain)
            machinery.transactions.pool.listen(hub.on_transaction, hub.on_removal)
            machinery.reactor.watch(hub.on_input)
            self._now = now = _Running(running, hub, table, LocalRpc(table, lambda: self._check_here(now)))
            stack.callback(self._leave, now)
            ready.set_result(None)
            await life.launch.control.stop_requested.wait()
        if life.launch.failure.error is not None:
            raise life.launch.failure.error

    def _leave(self, now: _Running) -> None:
        self._now = None
        now.hub.close()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except Exception as second:
            if error is None:
                raise
            log.error("the node failed: %s", second)
            error.add_note(f"the node failed: {second}")

    def _check_loop(self) -> None:
        try:
            here: object = asyncio.get_running_loop()
        except RuntimeError:  # there is none
            here = None
        if self._task is not None and self._task.get_loop() is not here:
            raise BtcnodeError("the node runs in another event loop: call it there")

    def _check(self, wanted: _Running | None = None) -> _Running:
        """What runs (and is ``wanted``); raises BtcnodeError."""
        now = self._now
        if now is None or wanted not in (None, now):
            raise BtcnodeError("the node is not running: use it in `async with`")
        return now

    def _check_here(self, wanted: _Running | None = None) -> _Running:
        """The same, in the node's own event loop; raises BtcnodeError in another."""
        now = self._check(wanted)
        self._check_loop()
        return now

    @property
    def rpc(self) -> LocalRpc:
        """The RPC methods; raises BtcnodeError when the node is not running."""
        return self._check().rpc

    def wallet(self, name: str) -> LocalRpc:
        """The RPC methods about a wallet of this name, which need not be loaded yet (``createwallet``, ``loadwallet``).

        Raises BtcnodeError when the node is not running.
        """
        now = self._check()
        return LocalRpc(now.table, lambda: self._check_here(now), name)

    @overload
    def events(self) -> EventStream[Event]: ...
    @overload
    def events(self, kind: type[A], /) -> EventStream[A]: ...
    @overload
    def events(self, kind: type[A], other: type[B], /) -> EventStream[A | B]: ...
    @overload
    def events(self, kind: type[A], other: type[B], third: type[C], /) -> EventStream[A | B | C]: ...
    @overload
    def events(
        self, kind: type[A], other: type[B], third: type[C], fourth: type[D], /
    ) -> EventStream[A | B | C | D]: ...
    @overload
    def events(self, *kinds: type[Event]) -> EventStream[Event]: ...
    def events(self, *kinds: type[Any]) -> EventStream[Any]:
        """What happens from now on: events of these kinds, all of them without any.

        Raises BtcnodeError when the node is not running or runs in another event loop, TypeError for what is no kind of
        event.
        """
        for kind in kinds:
            if kind not in get_args(Event):
                raise TypeError(f"{kind!r} is no kind of event")
        return self._check_here().hub.subscribe(kinds or get_args(Event))

    @property
    def parts(self) -> NodeParts:
        """What the node consists of, for the tools of this package: names and meanings may change with every version.

        Raises BtcnodeError when the node is not running or runs in another event loop.
        """
        return self._check_here().node.assembled.parts

    @property
    def rpc_address(self) -> tuple[str, int]:
        """Host and port at which it answers JSON-RPC over HTTP too.

        Raises BtcnodeError with ``server=False``, and when the node is not running.
        """
        addresses = self._check().node.rpc_addresses
        if not addresses:
            raise BtcnodeError("the node has no RPC server: start it with server=True")
        return _reachable(*addresses[0])

    @property
    def p2p_address(self) -> tuple[str, int]:
        """Host and port at which peers on this machine reach it.

        Raises BtcnodeError when it listens for nobody (as on regtest without ``listen=True``) or is not running.
        """
        addresses = self._check().node.p2p_addresses
        if not addresses:
            raise BtcnodeError("the node listens for no peers: start it with listen=True")
        return _reachable(addresses[0].host, addresses[0].port)


def _reachable(host: str, port: int) -> tuple[str, int]:
    """An address that can be connected to, for one that may mean all of this machine's."""
    address = ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return host, port


@asynccontextmanager
async def _directory(path: Path) -> AsyncIterator[None]:
    """A directory that is there inside; also a program that ends without stopping its node leaves none behind."""
    _make(path)
    remove = partial(shutil.rmtree, path)
    atexit.register(remove)
    try:
        yield
    finally:
        await asyncio.to_thread(remove)
        atexit.unregister(remove)


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise StorageError(f"Cannot make the temporary directory {path}: {error.strerror}") from error
