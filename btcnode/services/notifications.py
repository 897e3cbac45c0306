"""Notifications in the node: the options' endpoints, and what happens in chain and mempool on its way there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from btcnode.config import NodeConfig
from btcnode.notify.order import EventOrder
from btcnode.notify.topics import TOPICS, Endpoint, zmq_address
from btcnode.protocol.chain_view import ChainView
from btcnode.services.clock import Clock
from btcnode.services.transactions import Transactions

if TYPE_CHECKING:
    from btcnode.notify.publisher import Publisher

log = logging.getLogger("btcnode.zmq")


def endpoints_of(config: NodeConfig) -> list[Endpoint]:
    """The endpoints of the options, in the order in which one event is told to them."""
    return [
        Endpoint(topic, zmq_address(address), getattr(config, f"zmqpub{topic}hwm"))
        for topic in TOPICS
        for address in getattr(config, f"zmqpub{topic}")
    ]


class Notifications:
    """Publishes what happens where the options say so; without such options nothing is loaded or listened to."""

    def __init__(self, config: NodeConfig, transactions: Transactions, view: ChainView, clock: Clock) -> None:
        self._publisher: Publisher | None = None
        endpoints = endpoints_of(config)
        if not endpoints:
            return
        import zmq

        from btcnode.notify.publisher import Publisher

        try:
            self._publisher = Publisher(endpoints)
        except zmq.ZMQError as error:  # the node goes on without, as Core's does
            log.error("ZMQ: no notifications, an address cannot be used: %s", error)
            return
        order = EventOrder(
            transactions.pool,
            view.tree.chainwork,
            lambda: view.is_initial_block_download(clock.now()),
            self._publisher.publish,
        )
        transactions.observe(order)

    def endpoints(self) -> Sequence[Endpoint]:
        """What is published where."""
        return [] if self._publisher is None else self._publisher.endpoints

    def close(self) -> None:
        """Send what waits and close the sockets."""
        if self._publisher is not None:
            self._publisher.close()
