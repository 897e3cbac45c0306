"""What transaction relay has died of elsewhere; the names carry the identifiers."""

from __future__ import annotations

import tracemalloc

import pytest

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import (
    MAX_ORPHANAGE_SCORE,
    MAX_TX_ANNOUNCEMENTS,
    MAX_TX_INVENTORY,
    RESERVED_ORPHAN_WEIGHT_PER_PEER,
)
from btcnode.protocol.transactions.orphanage import Orphanage
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, output, spend
from btcnode.wire.constants import MSG_WTX
from btcnode.wire.messages import GetData, Inv, InvItem, TxMessage
from tests.lib.protocol_bench import Bench

OUTBOUND = ConnectionKind.OUTBOUND_FULL


@pytest.fixture(scope="module")
def regtest() -> NetworkParams:
    return params_for("regtest")


@pytest.fixture
def pool() -> SmallPool:
    return SmallPool()


@pytest.fixture
def node(regtest: NetworkParams, pool: SmallPool) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    bench = Bench(regtest, config=config, transactions=pool)
    bench.load(mine_chain(regtest, 5, UNIX_START - 60))
    return bench


def handed(node: Bench) -> list[Tx]:
    return [tx for effect in node.all(fx.ProcessTransactions) for tx in effect.txs]


def family(count: int, *, inputs: int = 1) -> tuple[Tx, list[Tx]]:
    """A parent, and orphans that each spend one of its outputs and others that nobody knows."""
    parent = spend([coin(1)], COIN_VALUE, 50_000, outputs=count)
    children = []
    for n in range(count):
        unknown = [b"\x07" + (n * 1000 + i).to_bytes(31, "little") + bytes(4) for i in range(inputs - 1)]
        children.append(spend([output(parent, n), *unknown], 1000, 10))
    return parent, children


def test_orphans_of_one_parent_are_judged_one_by_one_cve_2024_52914(node: Bench, pool: SmallPool) -> None:
    """A parent with many outputs, all spent by orphans that stay orphans: no step judges more than one of them."""
    parent, children = family(200, inputs=9)
    attacker, honest = (node.peer(wtxid_relay=True) for _ in range(2))
    for child in children:
        node.receive(attacker, TxMessage(child.raw))
        node.judge(pool)
    assert len(node.protocol.orphans()) == 200
    judged = pool.judged
    node.receive(attacker, TxMessage(parent.raw))
    waiting = node.all(fx.ProcessTransactions)
    steps = 0
    while waiting:
        assert len(waiting) == 1
        node.step(pool.judge(waiting[0]))
        waiting = node.all(fx.ProcessTransactions)
        steps += 1
        if steps == 10:
            node.receive(honest, TxMessage(spend([coin(2)], COIN_VALUE, 1000).raw))
            assert len(handed(node)) == 1  # at once, beside the attacker's
            node.judge(pool)
            assert len(pool.entries) == 2
    assert steps == 1 + 200
    assert pool.judged - judged == 1 + 200 + 1


def test_each_orphan_is_looked_at_once_for_each_parent_cve_2012_3789(node: Bench, pool: SmallPool) -> None:
    """Orphans with many parents: work is orphans times parents that came (and paid), never more."""
    parents = [spend([coin(n)], COIN_VALUE, 20_000, outputs=50) for n in range(1, 9)]
    orphans = [spend([*(output(p, n) for p in parents), b"\x07" * 36], 1000, 10) for n in range(50)]
    attacker = node.peer(wtxid_relay=True)
    for tx in [*orphans, *parents]:
        node.receive(attacker, TxMessage(tx.raw))
        node.judge(pool)
    assert pool.judged == 50 + 8 + 50 * 8
    assert len(node.protocol.orphans()) == 50


def test_a_flood_of_orphans_is_bounded_cve_2012_3789(node: Bench, pool: SmallPool) -> None:
    """Many peers, orphans with as many inputs as pay best: score and weight stay within the limits."""
    peers = [node.peer(wtxid_relay=True) for _ in range(8)]
    victim = node.peer(wtxid_relay=True)
    parent = spend([coin(1)], COIN_VALUE, 1000)
    child = spend([output(parent)], COIN_VALUE - 1000, 1000)
    node.receive(victim, TxMessage(child.raw))
    node.judge(pool)
    orphanage = node.protocol._intake.download.orphanage
    for n in range(2400):
        unknown = [b"\x07" + (n * 1000 + i).to_bytes(31, "little") + bytes(4) for i in range(49)]
        node.receive(peers[n % 8], TxMessage(spend(unknown, 1000, 10).raw))
        node.judge(pool)
        assert orphanage.score <= MAX_ORPHANAGE_SCORE
        assert orphanage.weight <= 9 * RESERVED_ORPHAN_WEIGHT_PER_PEER
    tracker = node.protocol._intake.download.tracker
    assert all(tracker.count(peer) <= 5000 for peer in peers)
    assert child.wtxid in orphanage
    node.receive(victim, TxMessage(parent.raw))
    node.judge(pool)
    assert child.txid in pool.entries


def test_memory_of_a_full_orphanage_cve_2012_3789() -> None:
    """As many inputs as the score allows, from as few peers as possible."""
    tracemalloc.start()
    try:
        orphanage = Orphanage()
        for n in range(400):
            unknown = [b"\x07" + (n * 1000 + i).to_bytes(31, "little") + bytes(4) for i in range(99)]
            orphanage.add(spend(unknown, 1000, 10), n % 20)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(orphanage) == 300
    assert used < 30_000_000


@pytest.mark.parametrize("parents_known", [False, True])
def test_announcing_a_wide_orphan_again_and_again_costs_once(node: Bench, pool: SmallPool, parents_known: bool) -> None:
    """An orphan with two thousand parents, announced ten thousand times by who sent it and by others."""
    parents = [spend([coin(n)], COIN_VALUE, 1000) for n in range(1, 2001)]
    if parents_known:
        for tx in parents:
            pool.add(tx)
    wide = spend([output(tx, 7) for tx in parents], 1000, 10)
    peers = [node.peer(wtxid_relay=True) for _ in range(3)]
    node.receive(peers[0], TxMessage(wide.raw))
    node.judge(pool)
    assert len(node.protocol.orphans()) == 1
    pool.lookups = 0
    for _ in range(3):
        for peer in peers:
            node.receive(peer, Inv((InvItem(MSG_WTX, wide.wtxid),) * 3000))
    assert pool.lookups <= 2 * 2000
    assert node.protocol.orphans()[0].announcers == tuple(peers)
    node.wait(5)
    for _ in range(20):  # as much as memory allows is asked for, then it is not even looked at
        wide = spend([*wide.prevouts[:-1], b"\x09" * 36], COIN_VALUE, len(pool.entries) + pool.judged)
        node.receive(peers[1], TxMessage(wide.raw))
        node.judge(pool)
    assert node.protocol._intake.download.tracker.count(peers[1]) <= 5000


def test_the_same_transaction_ten_thousand_times(node: Bench, pool: SmallPool) -> None:
    bad = spend([coin(1)], COIN_VALUE, 0)
    peers = [node.peer(wtxid_relay=True) for _ in range(4)]
    for n in range(10_000):
        node.receive(peers[n % 4], TxMessage(bad.raw))
        if node.effects:
            node.judge(pool)
    assert pool.judged == 1


def test_inv_flood_is_bounded(node: Bench) -> None:
    """Forty peers announce ten thousand unknown transactions each."""
    tracker = node.protocol._intake.download.tracker
    peers = [node.peer(wtxid_relay=True) for _ in range(40)]
    for peer in peers:
        node.receive(peer, Inv(tuple(InvItem(MSG_WTX, (peer << 32 | n).to_bytes(32, "big")) for n in range(10_000))))
        assert tracker.count(peer) <= 5000
        assert node.disconnected(peer) is None
    share = MAX_TX_ANNOUNCEMENTS // 40
    assert MAX_TX_ANNOUNCEMENTS <= len(tracker) <= MAX_TX_ANNOUNCEMENTS + 40 * share
    for peer in peers:
        node.step(ev.PeerDisconnected(peer))
    assert len(tracker) == 0


def test_memory_of_announcements(node: Bench) -> None:
    peer = node.peer(wtxid_relay=True)
    inv = Inv(tuple(InvItem(MSG_WTX, n.to_bytes(32, "big")) for n in range(1, 5001)))
    tracemalloc.start()
    try:
        node.receive(peer, inv)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert node.protocol._intake.download.tracker.count(peer) == 5000
    assert used < 5000 * 500


def test_spy_that_never_reads_its_announcements(node: Bench, pool: SmallPool) -> None:
    """Its queue is bounded, and announcing costs others nothing."""
    spy = node.peer(wtxid_relay=True)
    node.step(ev.SendBufferState(spy, True))
    for n in range(1, MAX_TX_INVENTORY + 2001):
        node.protocol._relay.announce(pool.add(spend([coin(n)], COIN_VALUE, 1000 + n % 777), 1000 + n % 777))
    state = node.state(spy).tx
    assert state is not None
    assert len(state.queue) == MAX_TX_INVENTORY
    node.wait(120, each=1)
    assert not node.sent(Inv, spy)


def test_fifty_thousand_requests_of_who_never_reads_cve_2024_52915_cve_2018_17145(node: Bench, pool: SmallPool) -> None:
    tx = spend([coin(1)], COIN_VALUE, 1000, padding=5000)
    pool.add(tx)
    peer = node.peer(wtxid_relay=True)
    node.wait(60)
    node.turns_at_once = False
    sent = 0
    for _ in range(3):
        node.receive(peer, GetData((InvItem(MSG_WTX, tx.wtxid),) * 17_000))
        sent += len(node.all(fx.SendRaw))
        node.step(ev.SendBufferState(peer, True))
        node.step(ev.PeerTurn(peer))
        sent += len(node.all(fx.SendRaw))
        sent += sum(isinstance(effect, fx.SendRaw) for effect in node.wait(30))
    assert sent <= 1000


def test_first_announcer_withholds_cve_2024_52913(node: Bench) -> None:
    """A hundred inbound peers announce first and never answer; the outbound peer is asked without delay."""
    tx = spend([coin(1)], COIN_VALUE, 1000)
    for _ in range(100):
        node.receive(node.peer(wtxid_relay=True), Inv((InvItem(MSG_WTX, tx.wtxid),)))
    honest = node.peer(OUTBOUND, services=1033, wtxid_relay=True)
    node.receive(honest, Inv((InvItem(MSG_WTX, tx.wtxid),)))
    assert node.sent(GetData, honest) == [GetData((InvItem(MSG_WTX, tx.wtxid),))]
