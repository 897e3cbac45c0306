"""What nodes publish over ZeroMQ, compared: blocks, transactions and the mempool's sequence, in one order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256

import zmq

from .nodes import Node
from .text import Tree, request

QUIET_MS = 100  # after which nothing more is expected, where both have told the same
JOIN_S = 20.0


class Ear:
    """A subscriber of everything that one node publishes."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self.socket = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.connect(address)
        self.heard: list[str] = []

    def listen(self, quiet_ms: int) -> None:
        """Take what has come, until nothing comes for so long."""
        while self.socket.poll(quiet_ms):
            topic, body, number = self.socket.recv_multipart()
            name, text = topic.decode(), body.hex()
            if name == "sequence":
                text = f"{body[:32].hex()} {body[32:33].decode()} {body[33:].hex()}"
            elif name.startswith("raw"):
                text = f"{len(body)} bytes {sha256(body).hexdigest()}"
            self.heard.append(f"{name} {text} number {int.from_bytes(number, 'little')}")


class Hearing:
    """Subscribers of nodes that publish. Mines blocks, the same everywhere, until each has heard the newest."""

    def __init__(self, nodes: Sequence[Node], address: str) -> None:
        """``address`` is where the blocks are mined to; raises TimeoutError."""
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.ears = [Ear(self.context, node.zmq_address) for node in nodes]
        deadline = time.monotonic() + JOIN_S
        newest: Tree = ["(none yet)"]
        while not all(any(newest[0] in text for text in ear.heard) for ear in self.ears):
            if time.monotonic() > deadline:
                self.close()
                raise TimeoutError("nothing is published")
            for node in nodes:
                newest = node.result(request("generatetoaddress", [1, address]))
            for ear in self.ears:
                ear.listen(QUIET_MS)
        for ear in self.ears:
            ear.heard.clear()

    def since(self, seconds: float) -> list[list[str]]:
        """What each node has told since the last time; waits up to so long while they do not agree."""
        deadline = time.monotonic() + seconds
        while True:
            for ear in self.ears:
                ear.listen(QUIET_MS)
            if self.ears[0].heard == self.ears[-1].heard or time.monotonic() > deadline:
                break
        told = [ear.heard for ear in self.ears]
        for ear in self.ears:
            ear.heard = []
        return told

    def close(self) -> None:
        """Hear no more."""
        self.context.destroy(linger=0)
