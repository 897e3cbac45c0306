"""A node that lives in a program's own event loop and directory, and is driven by method calls.

async with btcnode.Node(network="regtest") as node:
    await node.rpc.generatetoaddress(1, address)
    async for event in node.events(btcnode.NewTip):
        ...
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast, get_args, overload

from btcnode.embed.events import Event, EventHub, EventStream
from btcnode.errors import BtcnodeError
from btcnode.node.node import Node as Life
from btcnode.node.running import RunningNode
from btcnode.observe.stdio import hold_standard_numbers
from btcnode.rpc.jsonvalue import decode_decimal, encode
from btcnode.rpc.table import MethodTable
from btcnode.rpc.typed import NodeRpc
from btcnode.settings.doors import from_keywords

A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)


class LocalRpc(NodeRpc):
    """The RPC methods as coroutines: ``await node.rpc.getblock(block_hash, 2)``, named arguments too.

    Nothing goes over HTTP. Results are what a client would get, amounts as ``decimal.Decimal``. Raises RpcError with
    Core's codes and messages.
    """

    def __init__(self, table: MethodTable) -> None:
        async def call(name: str, *params: Any, **named: Any) -> Any:
            method = table.find(name)
            if named and params:
                named["args"] = list(params)
            return decode_decimal(encode(await table.call_async(method, named or list(params))))

        super().__init__(call)
        self._names = sorted(table.methods)

    def __dir__(self) -> list[str]:
        return self._names


class Node:
    """A full node in this program; ``async with`` starts and stops it.

    ``options`` are those of the command line with underscores (``btcnode start --help``). Without ``datadir`` it works
    in a temporary directory that is gone afterwards. On regtest it listens for nobody and picks a free RPC port unless
    told otherwise.
    """

    def __init__(self, *, network: str = "regtest", datadir: Path | str | None = None, **options: Any) -> None:
        """Raises ConfigError for options that do not fit."""
        if network == "regtest":
            options = {"listen": False, "dnsseed": False, "rpcport": 0, "par": 1, **options}
        self._temporary = tempfile.TemporaryDirectory(prefix="btcnode-") if datadir is None else None
        directory = Path(self._temporary.name if self._temporary is not None else cast(str, datadir))
        self.settings = from_keywords({"network": network, "datadir": directory, **options}).settings
        self._stack = AsyncExitStack()
        self._node: RunningNode | None = None
        self._hub: EventHub | None = None
        self._rpc: LocalRpc | None = None

    async def start(self) -> None:
        """Bring the node up; raises BtcnodeError with one line that says why it cannot."""
        hold_standard_numbers()
        node = Life(self.settings)
        async with AsyncExitStack() as stack:
            if self._temporary is not None:
                stack.push_async_callback(asyncio.to_thread, self._temporary.cleanup)
            self._node = running = await stack.enter_async_context(node.life())
            machinery = running.assembled.machinery
            self._hub = hub = EventHub(machinery.driver.chainstate.tree)
            stack.callback(hub.close)
            machinery.driver.listen(hub.on_chain)
            machinery.transactions.pool.listen(hub.on_transaction, hub.on_removal)
            machinery.reactor.watch(hub.on_input)
            self._rpc = LocalRpc(node.launch.table)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Take the node down, everything flushed; iterators over its events end. Raises what made the node fail."""
        node, self._node = self._node, None
        await self._stack.aclose()
        if node is not None and (error := node.assembled.opened.launch.failure.error) is not None:
            raise error

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _running(self) -> RunningNode:
        if self._node is None:
            raise BtcnodeError("the node is not running: use it in `async with`")
        return self._node

    @property
    def rpc(self) -> LocalRpc:
        """The RPC methods; raises BtcnodeError when the node is not running."""
        self._running()
        return cast(LocalRpc, self._rpc)

    @overload
    def events(self) -> EventStream[Event]: ...
    @overload
    def events(self, kind: type[A], /) -> EventStream[A]: ...
    @overload
    def events(self, kind: type[A], other: type[B], /) -> EventStream[A | B]: ...
    @overload
    def events(self, kind: type[A], other: type[B], third: type[C], /) -> EventStream[A | B | C]: ...
    @overload
    def events(self, *kinds: type[Event]) -> EventStream[Event]: ...
    def events(self, *kinds: type[Any]) -> EventStream[Any]:
        """What happens from now on: events of these kinds, all of them without any.

        Raises BtcnodeError when the node is not running.
        """
        self._running()
        return cast(EventHub, self._hub).subscribe(kinds or get_args(Event))

    @property
    def rpc_address(self) -> tuple[str, int]:
        """Where it answers JSON-RPC over HTTP too; raises BtcnodeError with ``server=False``."""
        addresses = self._running().rpc_addresses
        if not addresses:
            raise BtcnodeError("the node has no RPC server")
        return addresses[0]
