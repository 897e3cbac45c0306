"""Carrying a scenario out: the network is made, warms up, and is watched while things happen to it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from btcnode.networks.parameters import params_for
from btcnode.simulate.internet import Cut
from btcnode.simulate.large_pages import take_large_pages
from btcnode.simulate.ledger import FILL_BLOCKS, MadeBlock
from btcnode.simulate.node import NetworkNode, World
from btcnode.simulate.outcome import Outcome, reasons
from btcnode.simulate.regions import REGIONS
from btcnode.simulate.scenario import PartitionTable, Scenario
from btcnode.simulate.strategies import FIRST_HOST, SELFISH, SERVICES, Host, SelfishNode, selfish_theory
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.messages import AddrEntry

FIRST_BLOCKS = 5
STEPS = 100  # of the progress that is shown
LARGE_PAGES_AT = (1, 2, 4, 10, 20, 40, 70)  # steps after which memory has grown much, or was replaced
SAMPLE = 10.0  # seconds between two looks at eclipsed nodes
COLLECT = (100_000, 50, 100)  # the garbage collector's thresholds: millions of objects live as long as the run

Progress = Callable[[float, str], None]
"""Is called with the share of the run that is done, and what is being done."""


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Cycles are looked for seldom: most objects stay until the end."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


class Simulation:
    """One run of a scenario. The same scenario and seed give the same digest, in any process."""

    def __init__(self, scenario: Scenario, seed: int | None = None) -> None:
        self.scenario = scenario
        seed = scenario.seed if seed is None else seed
        self.world = World(scenario, params_for("regtest"), seed)
        self._rng = Random(f"events {seed}")
        self.nodes: list[NetworkNode] = []
        self._hosts: list[Host] = []
        self._victims: list[int] = []
        self._eclipsed = 0.0
        self._races: dict[bytes, float] = {}  # a selfish miner's block -> share of honest miners that build on it
        self._make_nodes()
        self._tell_addresses()

    def _make_nodes(self) -> None:
        world, scenario = self.world, self.scenario
        first = mine_chain(world.params, FIRST_BLOCKS, UNIX_START - 60)
        world.ledger.keep_first(first)
        for number in range(scenario.network.nodes):
            selfish = scenario.selfish.hash_rate > 0 and number == scenario.network.nodes - 1
            kind = SelfishNode if selfish else NetworkNode
            node = kind(world, number, world.internet.draw_line(number))
            node.load(first)
            self.nodes.append(node)
        world.running = len(self.nodes)

    def _tell_addresses(self) -> None:
        """Every address book has some of the others."""
        listening = [node for node in self.nodes if node.config.listen]
        for node in self.nodes:
            others = [other for other in listening if other is not node]
            wanted = self.scenario.network.known_addresses
            if isinstance(node, SelfishNode):
                wanted = max(wanted, self.scenario.selfish.connections)
            for other in self._rng.sample(others, min(wanted, len(others))):
                node.book.add([AddrEntry(UNIX_START, SERVICES, other.address)], other.address, UNIX_START)

    # -- the run -------------------------------------------------------------------------------------------------

    def run(self, progress: Progress = lambda share, text: None) -> Outcome:
        """Simulate all of it."""
        scenario, net = self.scenario, self.world.internet
        with _seldom_collected():
            gc.freeze()
            net.at(scenario.time.warm_up, self._begin)
            for step in range(1, STEPS + 1):
                net.run(scenario.end * step / STEPS - net.now)
                if step in LARGE_PAGES_AT:
                    take_large_pages()
                doing = "warming up" if net.now < scenario.time.warm_up else f"height {max(self._heights(), default=0)}"
                progress(step / STEPS, doing)
            return self._outcome()

    def _heights(self) -> list[int]:
        return [node.height for node in self.nodes]

    def _begin(self) -> None:
        """What is measured begins."""
        scenario, net = self.scenario, self.world.internet
        net.bytes_sent.clear()
        net.messages_sent.clear()
        self.world.closed.clear()
        self._fill_pools()
        net.at(self._until_block(), self._find_block)
        if scenario.transactions.rate:
            net.at(self._until_transaction(), self._make_transaction)
        for partition in scenario.partition:
            net.at(partition.at, self._cut, partition)
        for node in self.nodes[scenario.network.miners :][: round(scenario.churn.share * len(self.nodes))]:
            net.at(self._rng.expovariate(1 / scenario.churn.up), self._leave, node.number)
        if scenario.eclipse.victims:
            self._begin_eclipse()
        self._connect_selfish()

    # -- blocks and transactions ---------------------------------------------------------------------------------

    def _until_block(self) -> float:
        blocks = self.scenario.blocks
        return blocks.interval if blocks.arrivals == "regular" else self._rng.expovariate(1 / blocks.interval)

    def _until_transaction(self) -> float:
        return self._rng.expovariate(self.scenario.transactions.rate)

    def _make_transaction(self) -> None:
        table = self.scenario.transactions
        node = self._rng.choice(self.nodes)
        if not node.stopped:
            tx = self.world.ledger.make_tx(table.size, table.chained)
            self.world.transactions.publish(tx.txid, self.world.internet.now, self.world.running)
            node.send_transaction(tx)
        self.world.internet.at(self._until_transaction(), self._make_transaction)

    def _find_block(self) -> None:
        """Somebody finds a block: the selfish miner by its share, else one of the honest."""
        world = self.world
        selfish = self._rng.random() < self.scenario.selfish.hash_rate
        miners = self.scenario.network.miners
        number = len(self.nodes) - 1 if selfish else self._rng.randrange(miners) if miners else -1
        if not selfish:
            self._look_at_race()
        if number >= 0 and not (node := self.nodes[number]).stopped:
            if isinstance(node, SelfishNode):
                node.found(self._make_block(node, *node.mining_on(), SELFISH))
            else:
                made = self._make_block(node, node.tip_hash, node.height, number)
                world.blocks.publish(made.block.hash, world.internet.now, world.running)
                node.submit(made.block.raw)
            self._fill_pools()
        world.internet.at(self._until_block(), self._find_block)

    def _look_at_race(self) -> None:
        """An honest block ends a race: which of the two blocks do the honest miners build on?"""
        node, honest = self.nodes[-1], self.nodes[: self.scenario.network.miners]
        if isinstance(node, SelfishNode) and node.racing is not None and node.racing not in self._races:
            tips = [other.tip_hash for other in honest if other is not node]
            self._races[node.racing] = tips.count(node.racing) / len(tips) if tips else 0.0

    def _make_block(self, node: NetworkNode, prev: bytes, height: int, miner: int) -> MadeBlock:
        ledger, most = self.world.ledger, self.scenario.blocks.transactions
        before: dict[bytes, None] = {}  # what blocks have that the node's core does not know
        at = prev
        chain = node.chain
        while (made := ledger.blocks.get(at)) is not None:
            if chain.active.contains(chain.tree.find(made.block.hash)):
                break
            before |= dict.fromkeys(made.block.txids)
            at = made.prev
        pool = node.shared_pool
        txs = [e.tx for e in pool.in_order() if e.txid not in ledger.fill and e.txid not in before][:most]
        for entry in ledger.fill.values():
            if len(txs) >= most:
                break
            if entry.txid not in before and pool.confirmed_tx(entry.txid) is None:
                txs.append(entry.tx)
        net = self.world.internet
        return ledger.make_block(prev, height + 1, net.now, int(net.unix), miner, txs)

    def _fill_pools(self) -> None:
        """Make up what the next block has beside the transactions that were relayed."""
        blocks, ledger, rng = self.scenario.blocks, self.world.ledger, self._rng
        ledger.forget_fill(FILL_BLOCKS * blocks.transactions)
        known = blocks.known
        made = ledger.make_fill(blocks.transactions, blocks.size)
        for node in self.nodes:
            for entry in made:
                if known >= 1 or rng.random() < known:
                    node.shared_pool.put(entry)

    # -- what happens to the network -----------------------------------------------------------------------------

    def _cut(self, partition: PartitionTable) -> None:
        net, number = self.world.internet, range(len(self.nodes))
        if partition.region:
            region = REGIONS.index(partition.region)
            inside = frozenset(node.number for node in self.nodes if node.line.region == region)
        else:
            inside = frozenset(self._rng.sample(number, round(partition.share * len(self.nodes))))
        net.cuts.append(Cut(net.now, net.now + partition.lasts, inside))

    def _leave(self, number: int) -> None:
        self.nodes[number].stop()
        self.world.running -= 1
        self.world.internet.at(self._rng.expovariate(1 / self.scenario.churn.down), self._return, number)

    def _return(self, number: int) -> None:
        self._restart(number)
        self.world.running += 1
        self.world.internet.at(self._rng.expovariate(1 / self.scenario.churn.up), self._leave, number)

    def _restart(self, number: int) -> None:
        self.nodes[number] = self.nodes[number].successor()

    def _connect_selfish(self) -> None:
        """The selfish miner has connections to many nodes, which is what its races are won by."""
        node = self.nodes[-1]
        if isinstance(node, SelfishNode):
            others = self.nodes[:-1]
            for other in self._rng.sample(others, min(self.scenario.selfish.connections, len(others))):
                self.world.internet.connect(node, other.address)

    def _begin_eclipse(self) -> None:
        table, world = self.scenario.eclipse, self.world
        addresses = [sim_address(FIRST_HOST + number) for number in range(table.hosts)]
        self._hosts = [Host(world, number, addresses) for number in range(table.hosts)]
        self._victims = list(range(len(self.nodes) - table.victims, len(self.nodes)))
        unix = int(world.internet.unix)
        for number in self._victims:
            node = self.nodes[number]
            for n, address in enumerate(self._rng.sample(addresses, min(table.addresses, len(addresses)))):
                node.book.add([AddrEntry(unix, SERVICES, address)], address, unix)
                if n < table.tried * table.addresses:
                    node.book.good(address, unix)
            if not node.stopped:
                node.stop()
                self._restart(number)
            for host in self._rng.sample(self._hosts, table.inbound):
                host.keep_connected(node.address)
        world.internet.at(SAMPLE, self._look_at_victims)

    def _foreign(self, number: int) -> tuple[int, int]:
        """Of a node's connections: how many are the attacker's, and how many there are."""
        ends = [end for end in self.nodes[number].ends.values() if end.other is not None]
        return sum(isinstance(end.other.owner, Host) for end in ends if end.other is not None), len(ends)

    def _look_at_victims(self) -> None:
        for number in self._victims:
            bad, total = self._foreign(number)
            self._eclipsed += SAMPLE * (total > 0 and bad == total) / len(self._victims)
        self.world.internet.at(SAMPLE, self._look_at_victims)

    # -- what came of it -----------------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        world, net, scenario = self.world, self.world.internet, self.scenario
        tips = Counter(node.tip_hash for node in self.nodes)
        best = max(tips, key=lambda tip: (tips[tip], world.ledger.blocks[tip].height, tip))
        chain: dict[bytes, int] = {}
        at = best
        while at in world.ledger.blocks:
            chain[at] = world.ledger.blocks[at].miner
            at = world.ledger.blocks[at].prev
        made = {name: block for name, block in world.ledger.blocks.items() if block.time > 0}
        active = [name for name in made if name in chain]
        return Outcome(
            form=scenario.network.block_relay,
            nodes=len(self.nodes),
            seconds=scenario.time.duration,
            digest=net.digest,
            blocks=world.blocks,
            transactions=world.transactions,
            found=len(made),
            stale=len(made) - len(active),
            height=world.ledger.blocks[best].height,
            tips=len(tips),
            bytes_sent=net.bytes_sent,
            messages_sent=net.messages_sent,
            disconnects=reasons(world.closed),
            discouraged=world.discouraged,
            connections=sum(len(node.ends) for node in self.nodes) / len(self.nodes),
            selfish=self._selfish_result(made, active) if scenario.selfish.hash_rate else None,
            eclipse=self._eclipse_result(world.ledger.blocks[best].height) if self._victims else None,
        )

    def _selfish_result(self, made: dict[bytes, MadeBlock], active: list[bytes]) -> dict[str, float]:
        own = sum(made[name].miner == SELFISH for name in active)
        gamma = sum(self._races.values()) / len(self._races) if self._races else 0.0
        return {
            "hash_rate": self.scenario.selfish.hash_rate,
            "revenue": own / len(active) if active else 0.0,
            "races": float(len(self._races)),
            "gamma": gamma,
            "theory": selfish_theory(self.scenario.selfish.hash_rate, gamma),
            "found": float(sum(block.miner == SELFISH for block in made.values())),
            "in_chain": float(own),
        }

    def _eclipse_result(self, height: int) -> dict[str, float]:
        states = [self._foreign(number) for number in self._victims]
        behind = [height - self.nodes[number].height for number in self._victims]
        return {
            "eclipsed": sum(total > 0 and bad == total for bad, total in states) / len(states),
            "hostile_share": sum(bad / total for bad, total in states if total) / len(states),
            "time_eclipsed": self._eclipsed / self.scenario.time.duration,
            "blocks_behind": sum(behind) / len(behind),
        }


def simulate(scenario: Scenario, seed: int | None = None, progress: Progress = lambda share, text: None) -> Outcome:
    """Carry a scenario out; ``seed`` instead of the scenario's own."""
    return Simulation(scenario, seed).run(progress)
