"""What happens in an embedded node, as values that a program can wait for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from btcnode.chain.events import BlockConnected, BlockDisconnected, ChainEvent
from btcnode.chain.header_tree import HeaderTree
from btcnode.mempool.entry import MempoolEntry
from btcnode.primitives.hashes import to_display
from btcnode.protocol.events import PeerConnected, PeerDisconnected
from btcnode.protocol.inputs import Input

MAX_WAITING = 10_000  # events that one iterator may be behind: 10,000 x 200 B


@dataclass(frozen=True, slots=True)
class NewTip:
    """A block was connected; ``block_hash`` in display order."""

    height: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class Reorganisation:
    """Blocks were left for others: their hashes, newest first. What replaces them, above ``fork_height``, follows."""

    fork_height: int
    disconnected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewTransaction:
    """A transaction came into the mempool; hashes in display order, the fee in satoshi."""

    txid: str
    wtxid: str
    fee: int
    vsize: int


@dataclass(frozen=True, slots=True)
class PeerCame:
    """A connection stands."""

    peer_id: int
    address: str
    inbound: bool


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A connection is gone."""

    peer_id: int
    reason: str


Event = NewTip | Reorganisation | NewTransaction | PeerCame | PeerLeft


class _Subscription:
    def __init__(self, kinds: tuple[type[Event], ...]) -> None:
        self.kinds = kinds
        self.waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self.arrived = asyncio.Event()


class EventHub:
    """Turns what the node's rooms report into events, and hands each to whoever asked for its kind."""

    def __init__(self, tree: HeaderTree) -> None:
        self._tree = tree
        self._subscriptions: dict[_Subscription, None] = {}
        self._left: list[str] = []
        self._closed = False

    def subscribe(self, *kinds: type[Event]) -> AsyncIterator[Event]:
        """Events of these kinds (all without any) from now on; who falls behind by 10,000 misses the oldest."""
        subscription = _Subscription(kinds)
        self._subscriptions[subscription] = None
        return self._iterate(subscription)

    async def _iterate(self, subscription: _Subscription) -> AsyncIterator[Event]:
        try:
            while True:
                while subscription.waiting:
                    yield subscription.waiting.popleft()
                if self._closed:
                    return
                subscription.arrived.clear()
                await subscription.arrived.wait()
        finally:
            self._subscriptions.pop(subscription, None)

    def close(self) -> None:
        """The node has stopped: iterators end."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.arrived.set()

    def _publish(self, event: Event) -> None:
        for subscription in self._subscriptions:
            if not subscription.kinds or isinstance(event, subscription.kinds):
                subscription.waiting.append(event)
                subscription.arrived.set()

    def on_chain(self, events: list[ChainEvent]) -> None:
        """A batch of the chain driver's."""
        for event in events:
            if isinstance(event, BlockDisconnected):
                self._left.append(to_display(self._tree.hash(event.index)))
            elif isinstance(event, BlockConnected):
                if self._left:
                    self._publish(Reorganisation(event.height - 1, tuple(self._left)))
                    self._left.clear()
                self._publish(NewTip(event.height, to_display(self._tree.hash(event.index))))

    def on_transaction(self, entry: MempoolEntry) -> None:
        """The mempool has taken a transaction in."""
        self._publish(NewTransaction(to_display(entry.txid), to_display(entry.wtxid), entry.fee, entry.vsize))

    def on_input(self, event: Input) -> None:
        """An input of the protocol."""
        if isinstance(event, PeerConnected):
            self._publish(PeerCame(event.peer_id, str(event.address), event.inbound))
        elif isinstance(event, PeerDisconnected):
            self._publish(PeerLeft(event.peer_id, event.reason))
