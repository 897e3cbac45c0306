"""Nodes that synchronise from each other on a virtual network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol.config import ProtocolConfig
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START, Conditions, SimNode, Simulator, sim_address
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress


def joined(*targets: SimNode | NetAddress) -> ProtocolConfig:
    texts = tuple(str(t.address if isinstance(t, SimNode) else t) for t in targets)
    return ProtocolConfig(dns_seed=False, connect=texts)


def alone() -> ProtocolConfig:
    return ProtocolConfig(dns_seed=False, no_automatic=True)


def test_one_node_syncs_from_three(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(1)
    servers = [SimNode(sim, sim_address(i), params, config=alone()) for i in range(3)]
    for server in servers:
        server.load(chain)
    node = SimNode(sim, sim_address(9), params, config=joined(*servers))
    assert sim.run(120, lambda: node.height == 2500)
    assert node.chain.tip_hash == servers[0].chain.tip_hash
    assert len(node.processed) == 2500  # no block came twice
    shares = [sum(1 for peer, _ in node.processed if peer == info["id"]) for info in node.peers()]
    assert min(shares) > 500  # all took part
    assert not node.disconnects


def test_a_chain_of_nodes_follows_the_miner(params: NetworkParams) -> None:
    sim = Simulator(2, Conditions(loss=0.05))
    nodes: list[SimNode] = []
    for i in range(6):
        nodes.append(SimNode(sim, sim_address(i), params, config=joined(nodes[-1]) if nodes else alone()))
    for _ in range(50):
        nodes[0].mine()
        sim.run(30)
    assert sim.run(120, lambda: all(n.height == 50 for n in nodes))
    for node in nodes[1:]:
        assert len(node.processed) == 50


def test_longer_fork_wins_everywhere(params: NetworkParams) -> None:
    sim = Simulator(3)
    first = SimNode(sim, sim_address(0), params, config=alone())
    others = [SimNode(sim, sim_address(i), params, config=joined(first)) for i in (1, 2)]
    first.load(mine_chain(params, 300, UNIX_START - 600))
    assert sim.run(120, lambda: all(n.height == 300 for n in others))
    longer = SimNode(sim, sim_address(3), params, config=joined(others[0]))
    longer.load(mine_chain(params, 310, UNIX_START - 300, extra=b"\x09"))
    everybody = [first, longer, *others]
    assert sim.run(300, lambda: all(n.height == 310 for n in everybody))
    assert len({n.chain.tip_hash for n in everybody}) == 1


@pytest.mark.slow
def test_a_network_finds_itself_through_gossip(params: NetworkParams) -> None:
    """Sixteen nodes know two addresses each; later blocks reach all of them."""
    sim = Simulator(4)
    nodes = [
        SimNode(sim, sim_address(i), params, config=ProtocolConfig(dns_seed=False, max_outbound_full=4), tick=1.0)
        for i in range(16)
    ]
    for i, node in enumerate(nodes):
        known = [AddrEntry(UNIX_START, 1033, nodes[j].address) for j in ((i + 1) % 16, (i + 7) % 16)]
        node.protocol.address_book.add(known, node.address, UNIX_START)
    nodes[0].mine()
    sim.run(600)
    for _ in range(5):
        nodes[0].mine()
        sim.run(60)
    assert [n.height for n in nodes] == [6] * 16
    for node in nodes:
        outbound = [p for p in node.peers() if not p["inbound"]]
        assert 2 <= len(outbound) <= 8
    assert sum(len(n.protocol.address_book) for n in nodes) > 16 * 4


def test_restarting_peers_do_not_stop_the_sync(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(5)
    servers = [SimNode(sim, sim_address(i), params, config=alone()) for i in range(3)]
    for server in servers:
        server.load(chain)
    node = SimNode(sim, sim_address(9), params, config=joined(*servers))

    def cut() -> None:
        ends = list(node.ends.values())
        if ends:
            sim.close(ends[sim.rng.randrange(len(ends))])
        sim.at(2.0, cut)

    sim.at(1.0, cut)
    assert sim.run(600, lambda: node.height == 2500)


def test_slow_validation_is_not_the_peers_fault(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(6)
    servers = [SimNode(sim, sim_address(i), params, config=alone()) for i in range(2)]
    for server in servers:
        server.load(chain)
    node = SimNode(sim, sim_address(9), params, config=joined(*servers), validation_delay=0.5)
    assert sim.run(1500, lambda: node.height == 2500)
    assert not node.disconnects


SCRIPT = """
from btcnode.networks.parameters import params_for
from btcnode.protocol.config import ProtocolConfig
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import *
from btcnode.wire.messages import AddrEntry
params = params_for("regtest")
sim = Simulator(77, Conditions(loss=0.1))
config = ProtocolConfig(dns_seed=False, max_outbound_full=3)
nodes = [SimNode(sim, sim_address(i), params, config=config, tick=0.5) for i in range(10)]
for i, node in enumerate(nodes):
    known = [AddrEntry(UNIX_START, 1033, nodes[j % 10].address) for j in range(i + 1, i + 5)]
    node.protocol.address_book.add(known, node.address, UNIX_START)
nodes[0].load(mine_chain(params, 400, UNIX_START - 60))
nodes[5].load(mine_chain(params, 100, UNIX_START - 60, extra=b"\\x07"))
sim.run(400)
nodes[3].mine()
sim.run(100)
print(sim.digest, [n.height for n in nodes])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # three runs of half a minute each, on an idle core
def test_same_seed_same_run_whatever_the_hash_seed() -> None:
    outputs = []
    root = Path(__file__).resolve().parents[2]
    for hash_seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert "[401, 401" in outputs[0]
    assert outputs[0] == outputs[1] == outputs[2]
