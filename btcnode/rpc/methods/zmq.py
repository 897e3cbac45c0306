"""Notifications over ZeroMQ."""

from __future__ import annotations

from typing import Annotated, TypedDict

from btcnode.rpc.declare import rpc
from btcnode.services.parts import NodeParts


class Notification(TypedDict):
    """A publisher of notifications."""

    type: Annotated[str, "Type of notification"]
    address: Annotated[str, "Address of the publisher"]
    hwm: Annotated[int, "Most outgoing messages that wait for a subscriber"]


@rpc("zmq")
def getzmqnotifications(node: NodeParts) -> list[Notification]:
    """The active ZeroMQ notifications."""
    return [
        {"type": f"pub{endpoint.topic}", "address": endpoint.address, "hwm": endpoint.hwm}
        for endpoint in node.notifications.endpoints()
    ]
