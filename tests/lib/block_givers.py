"""Peers of a simulation that bring blocks: at once, slowly, not at all, changed, now and then."""

from __future__ import annotations

from functools import partial

from btcnode.primitives.header import header_hash
from btcnode.testing.simulator import Adversary, End, Simulator, sim_address
from btcnode.wire.codec import Message
from btcnode.wire.constants import MSG_BLOCK, MSG_TYPE_MASK, MSG_WITNESS_BLOCK
from btcnode.wire.messages import BlockMessage, GetData, GetHeaders, Headers, InvItem, NotFound


class Good(Adversary):
    """Serves a chain at once."""

    def __init__(self, sim: Simulator, number: int, chain: list[bytes], genesis: bytes) -> None:
        super().__init__(sim, sim_address(number))
        self.chain = chain
        self.heights = {genesis: 0} | {header_hash(raw[:80]): i + 1 for i, raw in enumerate(chain)}
        self.asked: list[tuple[float, int]] = []  # time and height

    def on_message(self, end: End, message: Message) -> None:
        if isinstance(message, GetHeaders):
            fork = max((self.heights.get(h, 0) for h in message.locator), default=0)
            self.send(end, Headers(tuple(raw[:80] for raw in self.chain[fork : fork + 2000])))
        elif isinstance(message, GetData):
            for item in message.items:
                if item.kind & MSG_TYPE_MASK == MSG_BLOCK and item.hash in self.heights:
                    height = self.heights[item.hash]
                    self.asked.append((self.sim.now, height))
                    self.serve_block(end, self.chain[height - 1])

    def serve_block(self, end: End, raw: bytes) -> None:
        self.send(end, BlockMessage(raw))


class Slow(Good):
    """Half a second for each block."""

    free = 0.0

    def serve_block(self, end: End, raw: bytes) -> None:
        self.free = max(self.free, self.sim.now) + 0.5
        self.sim.at(self.free - self.sim.now, lambda: self.send(end, BlockMessage(raw)))


class Stalling(Good):
    """Never sends a block."""

    def serve_block(self, end: End, raw: bytes) -> None:
        """Nothing."""


class Lying(Good):
    """Changes the transactions of every block."""

    def serve_block(self, end: End, raw: bytes) -> None:
        self.send(end, BlockMessage(raw[:-1] + bytes([raw[-1] ^ 1])))


class Fleeting(Good):
    """Closes the connection at random."""

    def serve_block(self, end: End, raw: bytes) -> None:
        if self.sim.rng.random() < 0.02:
            self.sim.close(end)
        else:
            self.send(end, BlockMessage(raw))


class Denying(Good):
    """Has headers, no blocks."""

    def serve_block(self, end: End, raw: bytes) -> None:
        self.send(end, NotFound((InvItem(MSG_WITNESS_BLOCK, header_hash(raw[:80])),)))


class Paced(Good):
    """Brings a block in each ``pace`` seconds, and each one ``delay`` later; leaves at one in ``patience`` requests."""

    pace, delay, patience, free = 1.0, 0.0, 0, 0.0

    def serve_block(self, end: End, raw: bytes) -> None:
        if self.patience and not self.sim.rng.randrange(self.patience):
            self.sim.close(end)
            return
        self.free = max(self.free, self.sim.now) + self.pace
        self.sim.at(self.free - self.sim.now + self.delay, partial(self.send, end, BlockMessage(raw)))


class Turning(Paced):
    """Brings blocks for ``honest`` seconds of each connection, then none."""

    honest = 60.0

    def __init__(self, sim: Simulator, number: int, chain: list[bytes], genesis: bytes) -> None:
        super().__init__(sim, number, chain, genesis)
        self.since: dict[int, float] = {}

    def on_established(self, end: End) -> None:
        self.since[end.id] = self.sim.now

    def serve_block(self, end: End, raw: bytes) -> None:
        if self.sim.now - self.since[end.id] < self.honest:
            super().serve_block(end, raw)
