"""A real node for unit tests: opened and assembled as always, without sockets for peers and without a tick.

Its loop runs on a thread of its own. Peers are connected over pairs of sockets, from any address that a test likes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from btcnode.net.connection import Connection, Door
from btcnode.node.assembling import AssembledNode, assemble
from btcnode.node.launch import Launch
from btcnode.node.opening import OpenedNode, open_node
from btcnode.rpc.table import MethodTable
from btcnode.services.parts import NodeParts
from btcnode.settings.settings import Settings
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.transport import V1Transport
from tests.lib.peer import ScriptedPeer
from tests.lib.settings import settings_of

START = 1_700_000_000  # the node's clock stands here
TIMEOUT = 60  # seconds

T = TypeVar("T")


def regtest_config(datadir: Path, **options: Any) -> Settings:
    """Options of a small node on regtest whose clock stands at ``START``."""
    settings = settings_of(
        network="regtest", datadir=datadir, **{"rpcport": 0, "par": 1, "listen": False, "mocktime": START, **options}
    )
    settings.net_dir.mkdir(parents=True, exist_ok=True)
    return settings


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function there, and return what it returns."""

        async def work() -> T:
            return function()

        return self.do(work())

    def close(self) -> None:
        """Stop the loop."""
        self.do(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(TIMEOUT)
        self.loop.close()


class NodeLab:
    """One such node, answering RPC; ``close`` takes it down as any node goes down."""

    launch: Launch
    opened: OpenedNode
    assembled: AssembledNode

    def __init__(self, settings: Settings, *, opens_hints: bool = False) -> None:
        """``opens_hints``: a SwiftSync goes on before the chain does, as in a node, and not when a test begins it."""
        self.settings = settings
        self._opens_hints = opens_hints
        self.thread = LoopThread()
        self._stack = AsyncExitStack()
        self._closed = False
        self._peers: list[ScriptedPeer] = []
        self._log_levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
        try:
            self.thread.do(self._open())
        except BaseException:
            self.close()
            raise

    async def _open(self) -> None:
        self.launch = Launch.of(self.settings, check_results=True)
        self.opened = await open_node(self.launch, self._stack)
        self.assembled = assemble(self.opened, self._stack)
        self._stack.push_async_exit(self.opened.rpc_closing.pop_all())
        self._stack.callback(self.parts.chain.stop_waiting)
        if self._opens_hints and self.parts.swiftsync is not None:
            await self.parts.swiftsync.open()
        await self.assembled.machinery.driver.settled()
        self.parts.indexes.start()
        await self.parts.mempool_file.load()
        self.table.open(self.parts)

    @property
    def parts(self) -> NodeParts:
        """What RPC handlers get."""
        return self.assembled.parts

    @property
    def table(self) -> MethodTable:
        """The RPC methods; every result is held against its declaration."""
        return self.launch.table

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the node's loop."""
        return self.thread.do(work)

    def tick(self) -> None:
        """Let the protocol look at its clocks."""
        self.thread.call(self.assembled.machinery.reactor.feed_tick)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds; from another thread than the loop's."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.01)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called on the node's loop."""
        self.thread.loop.call_soon_threadsafe(function, *args)

    @property
    def now(self) -> int:
        """What the node's clock says."""
        return self.launch.clock.now()

    def warm_up(self, status: str | None) -> None:
        """Be busy with something as before the node was ready, or ready again (None)."""
        self.launch.control.status = status

    def plant_coin(self, outpoint: bytes, coin: bytes) -> None:
        """Have a packed coin in the UTXO set that no block has made."""
        state = self.opened.state
        self.do(self.parts.chain.driver.in_chain_thread(lambda: state.coins.apply_disconnect({outpoint: coin}, ())))
        self.thread.call(lambda: state.read_view.drop_changes(oldest_only=False))

    def add_peer(
        self, address: str, *, services: int = NODE_NETWORK | NODE_WITNESS, user_agent: bytes = b"/scripted/"
    ) -> ScriptedPeer:
        """A peer that has connected from ``host:port``, the handshake done."""
        host, _, port = address.rpartition(":")
        ours, theirs = socket.socketpair()
        reactor = self.assembled.machinery.reactor

        def accept() -> Connection:
            wire = V1Transport(reactor.magic)
            remote, local = NetAddress.from_host(host, int(port)), NetAddress.from_host("127.0.0.1", 18444)
            door = Door("127.0.0.1", 18444)
            return Connection(reactor.traffic, reactor._new_peer_id(), wire, door, remote=remote, local=local)

        self.thread.do(self.thread.loop.connect_accepted_socket(accept, ours))
        peer = ScriptedPeer(theirs, self.launch.params, TIMEOUT)
        self._peers.append(peer)
        peer.handshake(services=services, user_agent=user_agent)
        return peer

    def close(self) -> None:
        """Take the node down; raises what made it fail. May be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            self.thread.do(self._stack.aclose())
        finally:
            for peer in self._peers:
                peer.close()
            self.thread.close()
            for name, level in self._log_levels.items():
                logging.getLogger(name).setLevel(level)
        if self.launch.failure.error is not None:
            raise self.launch.failure.error
