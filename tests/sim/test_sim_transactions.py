"""Transactions in networks of whole protocols, each with a small mempool."""

from __future__ import annotations

from itertools import pairwise

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.tx import Tx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.testing.simulator import Adversary, Conditions, End, SimNode, Simulator, sim_address
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, output, spend
from btcnode.wire.codec import Message
from btcnode.wire.constants import MSG_TX, MSG_WTX
from btcnode.wire.messages import GetData, Inv, InvItem, TxMessage, WtxidRelay


def tx_node(sim: Simulator, number: int, params: NetworkParams, chain: list[bytes], **options: object) -> SimNode:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=bool(options.pop("tx_relay", True)))
    pool = SmallPool(feerate=int(options.pop("feerate", 1000)))  # type: ignore[call-overload]
    node = SimNode(sim, sim_address(number), params, config=config, pool=pool, **options)  # type: ignore[arg-type]
    node.load(chain)
    return node


def pool_of(node: SimNode) -> SmallPool:
    assert isinstance(node.pool, SmallPool)
    return node.pool


def submit(node: SimNode, tx: Tx, value_in: int = COIN_VALUE) -> None:
    """The user's sendrawtransaction."""
    pool_of(node).add(tx, value_in - sum(int.from_bytes(txout[:8], "little") for txout in tx.txouts))
    pool_of(node).add_unbroadcast(tx.txid)
    node.feed(ev.TransactionAdded(tx.txid, tx.wtxid))


def network(sim: Simulator, params: NetworkParams, chain: list[bytes], count: int) -> list[SimNode]:
    """A ring with chords."""
    nodes = [tx_node(sim, n, params, chain) for n in range(count)]
    for n in range(count):
        for step in (1, 3):
            sim.connect(nodes[n], nodes[(n + step) % count].address, kind=ConnectionKind.OUTBOUND_FULL)
    sim.run(5)
    return nodes


def simple(n: int, fee: int = 2000) -> Tx:
    return spend([coin(n)], COIN_VALUE, fee, witness=b"w")


def run_network(params: NetworkParams, chain: list[bytes], seed: int) -> tuple[Simulator, list[SimNode], list[Tx]]:
    sim = Simulator(seed, Conditions(loss=0.02))
    nodes = network(sim, params, chain, 8)
    txs: list[Tx] = []
    for n in range(150):
        parents = [tx for tx in txs if not any(output(tx) in other.prevouts for other in txs)]
        if n % 3 == 0 and parents:
            tx = spend([output(parents[-1])], COIN_VALUE // 2, 2000, witness=b"w")
        else:
            tx = simple(n)
        txs.append(tx)
        pool = pool_of(nodes[n % 8])
        node = nodes[n % 8]
        if all(pool._value(prevout, {}) is not None for prevout in tx.prevouts):
            submit(node, tx)
        else:
            submit(next(o for o in nodes if pool_of(o)._value(tx.prevouts[0], {}) is not None), tx)
        sim.run(0.3)
    return sim, nodes, txs


@pytest.mark.slow
def test_every_node_gets_every_transaction_and_a_run_repeats_exactly(params: NetworkParams, chain: list[bytes]) -> None:
    sim, nodes, txs = run_network(params, chain, 21)
    wanted = {tx.txid for tx in txs}
    assert sim.run(240, lambda: all(set(pool_of(node).entries) == wanted for node in nodes)), [
        len(pool_of(node).entries) for node in nodes
    ]
    sim.run(960)
    for node in nodes:
        assert not node.disconnects
        assert not pool_of(node).unbroadcast()
        assert not node.protocol.orphans()
        intake = node.protocol._intake
        assert not intake._open
        assert len(intake.download.tracker) == 0
        assert pool_of(node).judged <= len(txs) + 40  # hardly anything is judged twice
    again, repeated, _ = run_network(params, chain, 21)
    again.run(240, lambda: all(set(pool_of(node).entries) == wanted for node in repeated))
    again.run(960)
    assert again.digest == sim.digest


def test_a_cheap_parent_travels_with_its_child(params: NetworkParams, chain: list[bytes]) -> None:
    """Opportunistic packages: the parent is below everybody's fee filter and reaches all nodes nevertheless."""
    sim = Simulator(22)
    nodes = [tx_node(sim, n, params, chain) for n in range(4)]
    for left, right in pairwise(nodes):
        sim.connect(left, right.address, kind=ConnectionKind.OUTBOUND_FULL)
    sim.run(30)
    parent = spend([coin(1)], COIN_VALUE, 0, witness=b"p")
    child = spend([output(parent)], COIN_VALUE, 9000, witness=b"c")
    submit(nodes[0], parent)
    submit(nodes[0], child)
    assert sim.run(300, lambda: all(len(pool_of(node).entries) == 2 for node in nodes)), [
        len(pool_of(node).entries) for node in nodes
    ]


def test_block_relay_and_blocks_only_nodes_see_no_transactions(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(23)
    source = tx_node(sim, 1, params, chain)
    blocks_only = tx_node(sim, 2, params, chain, tx_relay=False)
    by_block_relay = tx_node(sim, 3, params, chain)
    sim.connect(blocks_only, source.address, kind=ConnectionKind.OUTBOUND_FULL)
    sim.connect(by_block_relay, source.address, kind=ConnectionKind.BLOCK_RELAY)
    sim.run(5)
    for n in range(20):
        submit(source, simple(n))
    submit(blocks_only, simple(100))
    sim.run(120)
    assert list(pool_of(blocks_only).entries) == [simple(100).txid]
    assert not pool_of(by_block_relay).entries
    assert simple(100).txid in pool_of(source).entries  # own transactions go out nevertheless
    assert not source.disconnects
    assert not blocks_only.disconnects


class TxPeer(Adversary):
    """Announces transactions by wtxid; ``serves`` tells whether it gives them."""

    def __init__(self, sim: Simulator, number: int, txs: list[Tx], *, serves: bool = True) -> None:
        super().__init__(sim, sim_address(number))
        self.txs: dict[bytes, Tx] = {tx.wtxid: tx for tx in txs}
        self.txs |= {tx.txid: tx for tx in txs}
        self.serves = serves
        self.asked: list[bytes] = []

    def _send_version(self, end: End) -> None:
        super()._send_version(end)
        self.send(end, WtxidRelay())

    def on_message(self, end: End, message: Message) -> None:
        if isinstance(message, GetData):
            for item in message.items:
                if item.kind in (MSG_WTX, MSG_TX, MSG_TX | 1 << 30):
                    self.asked.append(item.hash)
                    if self.serves and item.hash in self.txs:
                        self.send(end, TxMessage(self.txs[item.hash].raw))


@pytest.mark.parametrize("attackers", [1, 4])
def test_first_announcers_withhold(params: NetworkParams, chain: list[bytes], attackers: int) -> None:
    """CVE-2024-52913: inbound attackers announce first and deliver nothing; an outbound peer is asked at once."""
    sim = Simulator(24)
    node = tx_node(sim, 1, params, chain)
    tx = simple(1)
    bad = [TxPeer(sim, 100 + n, [tx], serves=False) for n in range(attackers)]
    honest = TxPeer(sim, 50, [tx])
    for peer in bad:
        sim.connect(peer, node.address)
    sim.connect(node, honest.address, kind=ConnectionKind.OUTBOUND_FULL)
    sim.run(5)
    for peer in bad:
        peer.send_all(Inv((InvItem(MSG_WTX, tx.wtxid),)))
    sim.run(1)
    honest.send_all(Inv((InvItem(MSG_WTX, tx.wtxid),)))
    assert sim.run(2, lambda: tx.txid in pool_of(node).entries)


def test_inbound_only_and_most_of_them_withhold(params: NetworkParams, chain: list[bytes]) -> None:
    """CVE-2024-52913: each silent peer costs a minute at most and is not asked twice."""
    sim = Simulator(25)
    node = tx_node(sim, 1, params, chain)
    tx = simple(1)
    bad = [TxPeer(sim, 100 + n, [tx], serves=False) for n in range(5)]
    honest = TxPeer(sim, 50, [tx])
    for peer in [*bad, honest]:
        sim.connect(peer, node.address)
    sim.run(5)
    for _ in range(30):
        for peer in bad:
            peer.send_all(Inv((InvItem(MSG_WTX, tx.wtxid),)))
    honest.send_all(Inv((InvItem(MSG_WTX, tx.wtxid),)))
    assert sim.run(5 * 60 + 10, lambda: tx.txid in pool_of(node).entries)
    assert all(len(peer.asked) <= 1 for peer in bad)


def test_a_flood_of_bad_transactions_does_not_stop_good_ones(params: NetworkParams, chain: list[bytes]) -> None:
    """Judging takes 5 ms here and a flooder sends 3,000 at once: its own are read more slowly, others are not."""
    sim = Simulator(26)
    node = tx_node(sim, 1, params, chain, tx_delay=0.005)
    flooder = TxPeer(sim, 100, [])
    honest = TxPeer(sim, 50, [simple(n) for n in range(1, 20)])
    for peer in (flooder, honest):
        sim.connect(peer, node.address)
    sim.run(5)
    for n in range(3000):
        flooder.send_all(TxMessage(spend([coin(5000 + n)], COIN_VALUE, 0).raw))
    sim.run(0.5)
    most = 0
    honest.send_all(Inv(tuple(InvItem(MSG_WTX, simple(n).wtxid) for n in range(1, 20))))
    for _ in range(200):
        sim.run(0.1)
        most = max(most, len(node.protocol._intake._open))
    assert most <= 1000 + 20
    assert len(pool_of(node).entries) == 19
    sim.run(20)
    assert pool_of(node).judged == 3019
