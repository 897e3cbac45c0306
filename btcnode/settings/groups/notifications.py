"""Options of what the node tells others: ZeroMQ, the user's commands at events, figures for Prometheus."""

from __future__ import annotations

from typing import Any

from btcnode.record import record
from btcnode.settings.addresses import parse_address, parse_zmq
from btcnode.settings.declaration import option
from btcnode.settings.kinds import Number, Parsed, Several, Text


def _published(topic: str, what: str) -> Any:
    text = f"Publish {what} at this ZeroMQ address."
    return option(f"zmqpub{topic}", text, Several(Parsed(parse_zmq, "ADDRESS")))


def _high_water(topic: str) -> Any:
    text = f"Most {topic} messages that wait for one subscriber (0: no limit)."
    return option(f"zmqpub{topic}hwm", text, Number(0), "1000")


@record(kw_only=True)
class NotificationSettings:
    """Commands are for the user's shell; empty ones do nothing."""

    zmqpubhashblock: tuple[str, ...] = _published("hashblock", "hashes of new tips")
    zmqpubhashblockhwm: int = _high_water("hashblock")
    zmqpubhashtx: tuple[str, ...] = _published("hashtx", "ids of transactions")
    zmqpubhashtxhwm: int = _high_water("hashtx")
    zmqpubrawblock: tuple[str, ...] = _published("rawblock", "new tips")
    zmqpubrawblockhwm: int = _high_water("rawblock")
    zmqpubrawtx: tuple[str, ...] = _published("rawtx", "transactions")
    zmqpubrawtxhwm: int = _high_water("rawtx")
    zmqpubsequence: tuple[str, ...] = _published("sequence", "the order of blocks and mempool changes")
    zmqpubsequencehwm: int = _high_water("sequence")
    alertnotify: str = option(
        "alertnotify",
        "Run this command when unknown rules become active or an invalid chain has much more work (%s: the text).",
        Text(),
        "",
        metavar="CMD",
        of_process=True,
    )
    blocknotify: str = option(
        "blocknotify",
        "Run this command when the best block changes (%s: its hash).",
        Text(),
        "",
        metavar="CMD",
        of_process=True,
    )
    startupnotify: str = option(
        "startupnotify", "Run this command when the node is up.", Text(), "", metavar="CMD", of_process=True
    )
    shutdownnotify: tuple[str, ...] = option(
        "shutdownnotify",
        "Run this command when the node is asked to stop, and wait for it.",
        Several(Text()),
        metavar="CMD",
        of_process=True,
    )
    metrics_port: int | None = option(
        "metrics-port",
        "Serve figures for Prometheus at this port (0: any free one).",
        Number(0, 65535),
        metavar="PORT",
        common=True,
    )
    metrics_bind: str = option("metrics-bind", "Address for that.", Parsed(parse_address, "ADDRESS"), "127.0.0.1")

    def published(self, topic: str) -> tuple[tuple[str, ...], int]:
        """Addresses at which a topic is published, and how many of its messages may wait for one subscriber."""
        addresses: tuple[str, ...] = getattr(self, f"zmqpub{topic}")
        high_water: int = getattr(self, f"zmqpub{topic}hwm")
        return addresses, high_water
