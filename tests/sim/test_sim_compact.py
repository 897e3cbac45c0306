"""Compact blocks in networks of whole protocols with small mempools."""

from __future__ import annotations

import itertools
from collections import Counter

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.tx import Tx
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import TransactionAdded
from btcnode.testing.simulator import Conditions, Content, SimNode, Simulator, sim_address
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, spend


class CountingNode(SimNode):
    """Counts the messages that it sends."""

    counts: Counter[str]

    def _send(self, peer_id: int, command: str, content: Content) -> None:
        self.counts[command] += 1
        super()._send(peer_id, command, content)


def make_node(sim: Simulator, number: int, params: NetworkParams, chain: list[bytes]) -> CountingNode:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    node = CountingNode(sim, sim_address(number), params, config=config, pool=SmallPool())
    node.counts = Counter()
    node.load(chain)
    return node


def line_of(sim: Simulator, params: NetworkParams, chain: list[bytes], count: int) -> list[CountingNode]:
    nodes = [make_node(sim, n, params, chain) for n in range(count)]
    for left, right in itertools.pairwise(nodes):
        sim.connect(left, right.address, kind=ConnectionKind.OUTBOUND_FULL)
    sim.run(5)
    return nodes


def sent(nodes: list[CountingNode]) -> Counter[str]:
    """How often each message was sent since the last look."""
    total: Counter[str] = Counter()
    for node in nodes:
        total += node.counts
        node.counts.clear()
    return total


def submit(node: SimNode, tx: Tx) -> None:
    pool = node.pool
    assert isinstance(pool, SmallPool)
    pool.add(tx, 2000)
    node.feed(TransactionAdded(tx.txid, tx.wtxid))


def mine(sim: Simulator, node: SimNode, txs: list[Tx]) -> None:
    last = node.chain.tree.time(node.chain.active.tip)
    node.submit(node.chain.mine(max(int(sim.unix), last + 1), txs=txs))


def test_a_line_of_nodes_learns_high_bandwidth_mode(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(5, Conditions())
    nodes = line_of(sim, params, chain, 5)
    txs = [spend([coin(n)], COIN_VALUE, 2000, witness=b"w") for n in range(20)]
    for tx in txs[:15]:
        submit(nodes[0], tx)
    assert sim.run(120, lambda: all(len(list(node.pool.in_order())) == 15 for node in nodes if node.pool is not None))
    height = nodes[0].height
    mine(sim, nodes[0], [])
    assert sim.run(30, lambda: all(node.height == height + 1 for node in nodes))
    for before, node in itertools.pairwise(nodes):
        assert any(info["bip152_hb_to"] for info in node.peers())
        assert any(info["bip152_hb_from"] for info in before.peers())
    sent(nodes)
    mine(sim, nodes[0], txs[:15])  # all in the pools: no requests at all
    assert sim.run(30, lambda: all(node.height == height + 2 for node in nodes))
    counts = sent(nodes)
    assert counts["cmpctblock"] == 4
    assert not any(counts[name] for name in ("getdata", "getblocktxn", "block"))
    sent(nodes)
    mine(sim, nodes[0], txs[15:])  # in no other pool: one round trip on each link
    assert sim.run(30, lambda: all(node.height == height + 3 for node in nodes))
    counts = sent(nodes)
    assert counts["getblocktxn"] == counts["blocktxn"] == 4
    assert not any(counts[name] for name in ("getdata", "block"))
