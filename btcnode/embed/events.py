"""What happens in an embedded node, as values that a program can wait for.

An event tells of something that can be asked for when it arrives: the tip that it names is active, the transaction in
the mempool, the peer in the list of peers.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from typing import Generic, TypeVar, cast

from btcnode.chain.events import BlockConnected, BlockDisconnected, ChainEvent, SnapshotActivated
from btcnode.chain.header_tree import HeaderTree
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.primitives.hashes import to_display
from btcnode.protocol.events import ChainSettled, PeerConnected, PeerDisconnected
from btcnode.protocol.inputs import Input
from btcnode.record import record

MAX_WAITING = 10_000  # events that one iterator may be behind: 10,000 x 200 B
MAX_SWITCHING = 1_000  # blocks that a chain under way to more work holds back: 1,000 x 200 B


@record
class NewTip:
    """A block was connected: at ``height`` the active chain has ``block_hash`` (display order).

    Of a UTXO set that was loaded only its last block is told, not those on the way to it.
    """

    height: int
    block_hash: str


@record
class Reorganisation:
    """Blocks were left: their hashes, newest first (display order). The chain up to ``fork_height`` stayed.

    The new tip is active already; a ``NewTip`` for each block above ``fork_height`` follows, none when nothing
    replaced the blocks.
    """

    fork_height: int
    disconnected: tuple[str, ...]


@record
class NewTransaction:
    """A transaction came into the mempool; hashes in display order, the fee in satoshi."""

    txid: str
    wtxid: str
    fee: int
    vsize: int


@record
class PeerCame:
    """A connection stands; ``address`` is ``host:port``. Of one that is refused at once nothing is told."""

    peer_id: int
    address: str
    inbound: bool


@record
class PeerLeft:
    """A connection is gone; ``reason`` is for people."""

    peer_id: int
    reason: str


Event = NewTip | Reorganisation | NewTransaction | PeerCame | PeerLeft
E = TypeVar("E", bound=Event)


class EventStream(AsyncIterator[E], Generic[E]):
    """An asynchronous iterator over events; it ends when the node stops, after the last of them.

    Leaving ``async for`` and coming back goes on with the next event. ``missed`` counts those that were dropped because
    10,000 newer ones were waiting.
    """

    def __init__(self, kinds: tuple[type[Event], ...]) -> None:
        self._kinds = kinds
        self._waiting: deque[E] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self.missed = 0

    def __aiter__(self) -> EventStream[E]:
        return self

    async def __anext__(self) -> E:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                else:
                    self._wake_one()  # the event that this one was woken for is another's now
                raise
        return self._waiting.popleft()

    def offer(self, event: Event) -> None:
        """Take an event in if it is of the kinds asked for."""
        if self._closed or not isinstance(event, self._kinds):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.missed += 1
        self._waiting.append(cast(E, event))
        self._wake_one()

    def close(self) -> None:
        """Nothing more comes; what waits is still given."""
        self._closed = True
        while self._waiters:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class EventHub:
    """Turns what the node's rooms report into events, and hands each to whoever asked for its kind.

    While blocks have been left and the chain is still under way, tips are held back: what is told is the switch from
    one chain to the other, and nothing where it came back to where it was.
    """

    def __init__(self, tree: HeaderTree, peer_ids: Callable[[], Collection[int]]) -> None:
        """``peer_ids`` gives the numbers of the peers that the node has."""
        self._tree = tree
        self._peer_ids = peer_ids
        self._peers = set(peer_ids())  # those that are told of
        self._streams: weakref.WeakSet[EventStream[Event]] = weakref.WeakSet()
        self._left: list[int] = []  # of the chain that is being left, newest first
        self._joined: list[int] = []  # what replaces it, oldest first
        # what this turn of the loop has brought, told when it has stayed: transactions by txid, peers by number
        self._transactions: dict[bytes, NewTransaction] = {}
        self._newcomers: dict[int, PeerCame] = {}
        self._due = False
        self._closed = False

    def subscribe(self, kinds: tuple[type[Event], ...]) -> EventStream[Event]:
        """Events of these kinds from now on."""
        stream: EventStream[Event] = EventStream(kinds)
        if self._closed:
            stream.close()
        else:
            self._streams.add(stream)
        return stream

    def close(self) -> None:
        """The node stops: iterators end, after what has happened."""
        self._switched()
        self._tell_arrivals()
        self._closed = True
        for stream in list(self._streams):
            stream.close()

    def _publish(self, event: Event) -> None:
        for stream in list(self._streams):
            stream.offer(event)

    # -- chain -----------------------------------------------------------------------------------------------------

    def on_chain(self, events: list[ChainEvent]) -> None:
        """A batch of the chain driver's."""
        for event in events:
            if isinstance(event, BlockDisconnected):
                if self._joined:
                    self._joined.pop()
                else:
                    self._left.append(event.index)
            elif isinstance(event, BlockConnected):
                self._on_connected(event)
            elif isinstance(event, SnapshotActivated):
                self._publish(self._tip(event.index))

    def _on_connected(self, event: BlockConnected) -> None:
        if not self._left:
            self._publish(self._tip(event.index))
        elif not self._joined and self._left[-1] == event.index:
            self._left.pop()  # the other chain broke a rule: back on the old one
        else:
            self._joined.append(event.index)
            work = self._tree.chainwork
            if len(self._joined) >= MAX_SWITCHING and work(event.index) > work(self._left[0]):
                self._switched()

    def _tip(self, index: int) -> NewTip:
        return NewTip(self._tree.height(index), to_display(self._tree.hash(index)))

    def _switched(self) -> None:
        """Tell of the chain that was left, and of the one that is active now."""
        left, self._left = self._left, []
        joined, self._joined = self._joined, []
        if left:
            hashes = tuple(to_display(self._tree.hash(index)) for index in left)
            self._publish(Reorganisation(self._tree.height(left[-1]) - 1, hashes))
        for index in joined:
            self._publish(self._tip(index))
        self._expect()

    # -- mempool and peers -----------------------------------------------------------------------------------------

    def on_transaction(self, entry: MempoolEntry) -> None:
        """The mempool has taken a transaction in."""
        txid, wtxid = to_display(entry.txid), to_display(entry.wtxid)
        self._transactions[entry.txid] = NewTransaction(txid, wtxid, entry.fee, entry.vsize)
        self._expect()

    def on_removal(self, entry: MempoolEntry, reason: RemovalReason) -> None:
        """The mempool has let a transaction go; one that a block has confirmed at once is told before that block."""
        event = self._transactions.pop(entry.txid, None)
        if event is not None and reason is RemovalReason.BLOCK and not self._left:
            self._publish(event)

    def on_input(self, event: Input) -> None:
        """An input that the protocol is about to take."""
        if isinstance(event, PeerConnected):
            self._newcomers[event.peer_id] = PeerCame(event.peer_id, str(event.address), event.inbound)
            self._expect()
        elif isinstance(event, PeerDisconnected):
            self._newcomers.pop(event.peer_id, None)
            if event.peer_id in self._peers:
                self._peers.remove(event.peer_id)
                self._publish(PeerLeft(event.peer_id, event.reason))
        elif isinstance(event, ChainSettled):
            self._switched()

    def _expect(self) -> None:
        """See at the end of this turn of the loop what has stayed."""
        if not self._due and (self._transactions or self._newcomers):
            self._due = True
            asyncio.get_running_loop().call_soon(self._tell_arrivals)

    def _tell_arrivals(self) -> None:
        self._due = False
        newcomers, self._newcomers = self._newcomers, {}
        if newcomers:
            admitted = set(self._peer_ids())
            for peer_id, came in newcomers.items():
                if peer_id in admitted:
                    self._peers.add(peer_id)
                    self._publish(came)
        if not self._left:  # what a reorganisation brings back is told after it
            transactions, self._transactions = self._transactions, {}
            for event in transactions.values():
                self._publish(event)
