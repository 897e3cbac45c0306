"""Notifications over ZeroMQ."""

from __future__ import annotations

from typing import Any

from btcnode.rpc.spec import arr, number, obj, rpc, string
from btcnode.services.parts import NodeParts


@rpc(
    "zmq",
    "The active ZeroMQ notifications.",
    returns=arr(
        "",
        "",
        obj(
            "",
            "",
            string("type", "Type of notification"),
            string("address", "Address of the publisher"),
            number("hwm", "Most outgoing messages that wait for a subscriber"),
        ),
    ),
)
def getzmqnotifications(node: NodeParts) -> list[dict[str, Any]]:
    """See the declaration."""
    return [
        {"type": f"pub{endpoint.topic}", "address": endpoint.address, "hwm": endpoint.hwm}
        for endpoint in node.notifications.endpoints()
    ]
