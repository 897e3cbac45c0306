"""A simulated node of a network: the real protocol core over what all share, measured, and restarted by churn."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol.addresses.addrman import AddressBook
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.events import TransactionAdded
from btcnode.simulate.internet import Internet, Line
from btcnode.simulate.ledger import Ledger, SharedChain, SharedPool
from btcnode.simulate.outcome import Spreads
from btcnode.simulate.scenario import Scenario
from btcnode.testing.simulator import SimNode, sim_address
from btcnode.wire.constants import NODE_XTHIN

MEMORY_SHIFT = 6  # filters of 4 KiB for each peer instead of 256: what remains is 780 transactions back at least


class World:
    """What the nodes of a simulation share."""

    def __init__(self, scenario: Scenario, params: NetworkParams, seed: int) -> None:
        self.scenario = scenario
        self.params = params
        self.rng = Random(f"world {seed}")
        self.internet = Internet(scenario, seed)
        self.ledger = Ledger(params, Random(f"ledger {seed}"))
        self.blocks = Spreads()
        self.transactions = Spreads()
        self.closed: list[str] = []  # why nodes closed connections
        self.discouraged = 0
        self.running = 0  # nodes that are not stopped


class NetworkNode(SimNode):
    """One of the network's nodes. After ``stop`` its ``successor`` goes on with its chain, mempool and addresses."""

    def __init__(self, world: World, number: int, line: Line, last: NetworkNode | None = None) -> None:
        self.world = world
        self.number = number
        self.line = line
        scenario = world.scenario
        self.shared_chain: SharedChain = last.shared_chain if last is not None else SharedChain(world.ledger)
        self.shared_pool: SharedPool = (
            last.shared_pool if last is not None else SharedPool(world.ledger, self.shared_chain)
        )
        self.book: AddressBook = last.book if last is not None else AddressBook(Random(world.rng.getrandbits(64)))
        config = last.config if last is not None else _config(scenario, listens=self._listens(world))
        world.internet.place(self, line)
        super().__init__(
            world.internet,
            sim_address(number),
            world.params,
            config=config,
            validation_delay=scenario.validation.block,
            tick=scenario.network.tick,
            pool=self.shared_pool,
            tx_delay=scenario.validation.transaction,
            chain=self.shared_chain,
            book=self.book,
        )

    def _listens(self, world: World) -> bool:
        return Random(f"listens {world.scenario.seed} {self.number}").random() < world.scenario.network.listening

    def successor(self) -> NetworkNode:
        """The node after a restart; this one has been stopped."""
        return type(self)(self.world, self.number, self.line, self)

    def stop(self) -> None:
        """End, and free the line."""
        super().stop()
        self.world.internet.remove(self)

    def _effect_executors(self) -> dict[type, Callable[[Any], None]]:
        return super()._effect_executors() | {fx.Log: _forget_line}

    def _disconnect(self, effect: fx.Disconnect) -> None:
        self.world.closed.append(effect.reason)
        self.world.discouraged += effect.discourage
        super()._disconnect(effect)
        self.disconnects.clear()

    def validation_time(self, raw: bytes) -> float:
        """By the number of transactions."""
        count, _ = read_compact_size(raw, HEADER_SIZE)
        times = self.world.scenario.validation
        return times.block + count * times.block_transaction

    def _process_block(self, effect: fx.ProcessBlock) -> None:
        super()._process_block(effect)
        self.processed.clear()

    def activate(self) -> None:
        """As the base class, and note what the node has now."""
        before = self.chain.active.tip
        super().activate()
        tip = self.chain.active.tip
        if tip != before:
            fork = self.chain.tree.height(before)
            for height in range(min(fork, self.height), self.height + 1):
                name = self.chain.tree.hash(self.chain.active.at(height))
                self.world.blocks.reach(name, self.number, self.sim.now)
            self.tip_changed()

    def tip_changed(self) -> None:
        """The node's chain ends elsewhere."""

    def _judge(self, effect: fx.ProcessTransactions) -> None:
        super()._judge(effect)
        for tx in effect.txs:
            if tx.txid in self.shared_pool.entries:
                self.world.transactions.reach(tx.txid, self.number, self.sim.now)

    def send_transaction(self, tx: Tx) -> None:
        """The node's user makes a transaction."""
        self.shared_pool.add(tx, 1000 + len(tx.raw))
        self.world.transactions.reach(tx.txid, self.number, self.sim.now)
        self.feed(TransactionAdded(tx.txid, tx.wtxid))

    @property
    def tip_hash(self) -> bytes:
        """Hash of the active tip."""
        return self.chain.tip_hash


def _forget_line(_: fx.Log) -> None:
    """Nobody reads the logs of hundreds of nodes."""


def _config(scenario: Scenario, *, listens: bool) -> ProtocolConfig:
    network = scenario.network
    return ProtocolConfig(
        services=OWN_SERVICES | (NODE_XTHIN if network.block_relay == "xthin" else 0),
        tx_relay=True,
        listen=listens,
        dns_seed=False,
        max_connections=network.max_connections,
        max_outbound_full=network.outbound,
        max_block_relay=network.block_relay_only,
        block_relay=network.block_relay,
        memory_shift=MEMORY_SHIFT,
    )
