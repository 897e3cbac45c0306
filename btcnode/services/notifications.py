"""Notifications in the node: the options' endpoints, and what happens in chain and mempool on its way there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from btcnode.notify.order import EventOrder
from btcnode.notify.topics import TOPICS, Endpoint, zmq_address

if TYPE_CHECKING:
    from btcnode.notify.publisher import Publisher
    from btcnode.protocol.chain_view import ChainView
    from btcnode.services.clock import Clock
    from btcnode.services.transactions import Transactions
    from btcnode.settings.groups.notifications import NotificationSettings
    from btcnode.settings.settings import Settings

log = logging.getLogger("btcnode.zmq")


def endpoints_of(settings: NotificationSettings) -> list[Endpoint]:
    """The endpoints of the options, in the order in which one event is told to them."""
    return [
        Endpoint(topic, zmq_address(address), high_water)
        for topic in TOPICS
        for addresses, high_water in (settings.published(topic),)
        for address in addresses
    ]


def open_publisher(settings: Settings) -> Publisher | None:
    """Listen at the endpoints of the options; None without any, or (said in the log) where one cannot be used."""
    endpoints = endpoints_of(settings.notifications)
    if not endpoints:
        return None
    import zmq  # a node without such options does without it

    from btcnode.notify.publisher import Publisher

    try:
        return Publisher(endpoints)
    except zmq.ZMQError as error:  # the node goes on without, as Core's does
        log.error("ZMQ: no notifications, an address cannot be used: %s", error)
        return None


class Notifications:
    """Publishes what happens in chain and mempool; nothing without a publisher."""

    def __init__(self, publisher: Publisher | None, transactions: Transactions, view: ChainView, clock: Clock) -> None:
        self._publisher = publisher
        if publisher is None:
            return
        order = EventOrder(
            transactions.pool,
            view.tree.chainwork,
            lambda: view.is_initial_block_download(clock.now()),
            publisher.publish,
        )
        transactions.observe(order)

    def endpoints(self) -> Sequence[Endpoint]:
        """What is published where."""
        return [] if self._publisher is None else self._publisher.endpoints
