"""The ZeroMQ side: sockets, and the one thread that sends.

``publish`` only puts an event into a queue. The thread makes the messages and sends them; a subscriber that does not
keep up loses messages at its high-water mark and sees that by their numbers, and so does everybody when the thread
itself does not keep up.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from ipaddress import IPv6Address
from struct import Struct

import zmq

from btcnode.notify.topics import TOPICS, Endpoint, Event, count, messages

MAX_QUEUED_BYTES = 64_000_000  # of transactions and blocks that wait for the thread
MAX_QUEUED_EVENTS = 100_000  # x 200 bytes beside those

log = logging.getLogger("btcnode.zmq")

_u32 = Struct("<I").pack


def is_ipv6(address: str) -> bool:
    """Whether it is ``tcp://[v6]:port``."""
    host, _, _ = address.removeprefix("tcp://").rpartition(":")
    if not address.startswith("tcp://"):
        return False
    try:
        IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class _Feed:
    """One endpoint with its own numbers; belongs to the sending thread."""

    __slots__ = ("endpoint", "sequence", "socket", "topic")

    def __init__(self, endpoint: Endpoint, socket: zmq.Socket[bytes]) -> None:
        self.endpoint = endpoint
        self.topic = endpoint.topic.encode()
        self.socket = socket
        self.sequence = 0

    def send(self, body: bytes) -> None:
        self.socket.send_multipart((self.topic, body, _u32(self.sequence)), zmq.NOBLOCK)
        self.skip(1)

    def skip(self, messages: int) -> None:
        self.sequence = (self.sequence + messages) & 0xFFFFFFFF


class Publisher:
    """Publishes events at a number of endpoints, from a thread of its own."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        """Bind every address; raises ``zmq.ZMQError`` when one of them cannot be bound (then none is)."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._feeds: list[_Feed] = []
        try:
            for endpoint in endpoints:
                self._feeds.append(_Feed(endpoint, self._socket(endpoint)))
        except zmq.ZMQError:
            self._close_sockets()
            raise
        # what waits: events, and between them how many messages of each topic there was no room for
        self._queue: deque[Event | Counter[str]] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="zmq", daemon=True)
        self._thread.start()

    def _socket(self, endpoint: Endpoint) -> zmq.Socket[bytes]:
        """The socket bound to the address; topics with one address share it, and the first one's high-water mark."""
        address = endpoint.address
        known = self._sockets.get(address)
        if known is not None:
            return known
        socket = self._context.socket(zmq.PUB)
        try:
            socket.setsockopt(zmq.SNDHWM, endpoint.hwm)
            socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
            socket.setsockopt(zmq.IPV6, int(is_ipv6(address)))
            socket.setsockopt(zmq.LINGER, 0)
            socket.bind(address)
        except zmq.ZMQError:
            socket.close()
            raise
        self._sockets[address] = socket
        log.debug("publishing at %s, at most %d messages wait for a subscriber", address, endpoint.hwm)
        return socket

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those that work."""
        return [feed.endpoint for feed in self._feeds]

    def publish(self, event: Event) -> None:
        """Have an event sent; returns at once."""
        size: int = event.size
        with self._wake:
            queue = self._queue
            if not queue or (self._queued_bytes + size <= MAX_QUEUED_BYTES and len(queue) < MAX_QUEUED_EVENTS):
                queue.append(event)
                self._queued_bytes += size
                self._wake.notify()
                return
            last = queue[-1]
            if not isinstance(last, Counter):
                log.warning("ZMQ: more happens than can be sent, subscribers will miss something")
                last = Counter()
                queue.append(last)
            last.update({topic: count(topic, event) for topic in TOPICS})

    def close(self) -> None:
        """Send what waits, as far as the sockets take it, and close them."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for socket in self._sockets.values():
            socket.close()
        self._context.term()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                event = self._queue.popleft()
                if not isinstance(event, Counter):
                    self._queued_bytes -= event.size
            if isinstance(event, Counter):
                for feed in self._feeds:
                    feed.skip(event[feed.endpoint.topic])
            else:
                self._send(event)

    def _send(self, event: Event) -> None:
        for topic, body in messages(event, {feed.endpoint.topic for feed in self._feeds}):
            for feed in [feed for feed in self._feeds if feed.endpoint.topic == topic]:
                try:
                    feed.send(body)
                except zmq.ZMQError as error:
                    log.error("ZMQ: %s at %s is given up: %s", topic, feed.endpoint.address, error)
                    self._feeds = [other for other in self._feeds if other is not feed]
