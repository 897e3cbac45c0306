"""Those who do not play by the rules: a miner that keeps its blocks back, hosts that want to be all a node sees."""

from __future__ import annotations

from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.simulate.ledger import MadeBlock
from btcnode.simulate.node import NetworkNode, World
from btcnode.testing.simulator import UNIX_START, Adversary, End, sim_address
from btcnode.wire.codec import Message
from btcnode.wire.constants import NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_WITNESS
from btcnode.wire.messages import Addr, AddrEntry, GetAddr, GetData, GetHeaders, Headers, NotFound
from btcnode.wire.netaddr import NetAddress

SELFISH = -1  # its number as a miner
SERVICES = NODE_NETWORK | NODE_WITNESS | NODE_NETWORK_LIMITED
FIRST_HOST = 5_000  # number of the attacker's first address: behind those of all nodes
TOLD_ADDRESSES = 100
KNOCK_INTERVAL = 30.0  # seconds between two attempts to connect to a victim again


def selfish_theory(alpha: float, gamma: float) -> float:
    """The share of the chain that a selfish miner gets in the long run (Eyal and Sirer, 2013, equation 8).

    ``alpha``: its share of the hash rate, less than a half; ``gamma``: that of the honest hash rate which mines on its
    block in a race. With half of the hash rate it gets everything.
    """
    if alpha >= 0.5:
        return 1.0
    gained = alpha * (1 - alpha) ** 2 * (4 * alpha + gamma * (1 - 2 * alpha)) - alpha**3
    return gained / (1 - alpha * (1 + (2 - alpha) * alpha))


class SelfishNode(NetworkNode):
    """The miner of Eyal and Sirer, "Majority is not enough" (2013), with an honest protocol core.

    Blocks that it keeps back are unknown to its core, which therefore cannot tell of them. In a race it prefers its
    own block, whichever came first.
    """

    kept: tuple[MadeBlock, ...] = ()
    racing: bytes | None = None  # its own block of two that are equally high

    def mining_on(self) -> tuple[bytes, int]:
        """Hash and height of what the next block builds on."""
        if self.kept:
            return self.kept[-1].block.hash, self.kept[-1].height
        return self.tip_hash, self.height

    def found(self, made: MadeBlock) -> None:
        """It has found a block: kept, unless that ends a race."""
        self.kept = (*self.kept, made)
        if self.racing is not None and made.prev == self.racing:
            self._publish(1)
        self.racing = None

    def tip_changed(self) -> None:
        """Others have found a block, or its own are published."""
        if not self.kept:
            return
        lead = self.kept[-1].height - self.height
        if lead < 0:
            self.kept = ()
        elif lead == 0:
            self._publish(len(self.kept))
            self.racing = self.tip_hash
        elif lead == 1:
            self._publish(len(self.kept))
        else:
            self._publish(sum(made.height <= self.height for made in self.kept))

    def _publish(self, count: int) -> None:
        """Tell of the oldest ``count`` of the blocks that were kept back."""
        out, self.kept = self.kept[:count], self.kept[count:]
        kept, self.kept = self.kept, ()  # what follows changes the tip
        for made in out:
            self.world.blocks.publish(made.block.hash, self.sim.now, self.world.running)
            self.submit(made.block.raw)
            index = self.chain.tree.find(made.block.hash)
            self.chain.tree.prefer(index, self.chain.active.tip)
            self.activate()
        self.kept = kept


class Host(Adversary):
    """A host of an eclipse attacker: it answers, tells of its like, and passes nothing on."""

    def __init__(self, world: World, number: int, addresses: list[NetAddress]) -> None:
        super().__init__(world.internet, sim_address(FIRST_HOST + number), services=SERVICES)
        self._world = world
        self._addresses = addresses
        world.internet.place(self, world.internet.draw_line(FIRST_HOST + number))

    def keep_connected(self, target: NetAddress) -> None:
        """Take one of the target's places for those who connect to it, again and again."""
        if target not in {end.remote: None for end in self.ends.values()}:
            self.sim.connect(self, target, kind=ConnectionKind.INBOUND)
        self.sim.at(KNOCK_INTERVAL, self.keep_connected, target)

    def on_message(self, end: End, message: Message) -> None:
        """Empty answers, and addresses of its like."""
        self.messages.clear()
        if isinstance(message, GetAddr):
            told = self._world.rng.sample(self._addresses, min(TOLD_ADDRESSES, len(self._addresses)))
            entries = tuple(AddrEntry(UNIX_START + int(self.sim.now), SERVICES, address) for address in told)
            self.send(end, Addr(entries))
        elif isinstance(message, GetHeaders):
            self.send(end, Headers(()))
        elif isinstance(message, GetData):
            self.send(end, NotFound(tuple(message.items)))
