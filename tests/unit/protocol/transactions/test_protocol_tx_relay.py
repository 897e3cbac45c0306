"""Announcing and serving transactions: turns, order, fee filters, own transactions."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import TX_INVENTORY_REST, TX_KNOWN_BITS_LOG2, TX_KNOWN_HASHES, TX_KNOWN_PER_GENERATION
from btcnode.protocol.serving.bloom import BloomHasher, RollingBloom
from btcnode.protocol.serving.pieces import PIECE
from btcnode.protocol.transactions import tx_relay
from btcnode.protocol.transactions.fee_filter import FeeFilterRounder
from btcnode.protocol.transactions.pool_snapshots import AT_ONCE, LIFE, MOST, PoolSnapshot, PoolSnapshots
from btcnode.settings.permissions import Permission
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, output, spend
from btcnode.wire.constants import MSG_TX, MSG_WTX
from btcnode.wire.messages import FeeFilter, GetData, Inv, InvItem, Mempool, NotFound, TxMessage
from tests.lib.protocol_bench import Bench

OUTBOUND = ConnectionKind.OUTBOUND_FULL


@pytest.fixture
def pool() -> SmallPool:
    return SmallPool()


@pytest.fixture
def node(params: NetworkParams, blocks: list[bytes], pool: SmallPool) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    bench = Bench(params, config=config, transactions=pool)
    bench.load(blocks)
    return bench


def simple(n: int, fee: int = 1000) -> Tx:
    return spend([coin(n)], COIN_VALUE, fee, witness=b"w")


def add(node: Bench, pool: SmallPool, *txs: Tx, unbroadcast: bool = False) -> None:
    for tx in txs:
        value_in = sum(pool._value(prevout, {}) or 0 for prevout in tx.prevouts)
        pool.add(tx, value_in - sum(int.from_bytes(txout[:8], "little") for txout in tx.txouts))
        if unbroadcast:
            pool.add_unbroadcast(tx.txid)
        node.step(ev.TransactionAdded(tx.txid, tx.wtxid))


def told(node: Bench, peer: int) -> list[bytes]:
    return [item.hash for message in node.sent(Inv, peer) for item in message.items if item.kind in (MSG_TX, MSG_WTX)]


# -- turns ---------------------------------------------------------------------------------------------------------


def test_each_peer_is_told_in_its_own_way_and_once(node: Bench, pool: SmallPool) -> None:
    new, old = node.peer(OUTBOUND, services=1033, wtxid_relay=True), node.peer(OUTBOUND, services=1033)
    silent = node.peer(OUTBOUND, services=1033, relay=False)
    block_relay = node.peer(ConnectionKind.BLOCK_RELAY, services=1033)
    tx = simple(1)
    add(node, pool, tx)
    assert not node.sent(Inv)  # never at once
    node.wait(60, each=0.1)
    assert node.sent(Inv, new) == [Inv((InvItem(MSG_WTX, tx.wtxid),))]
    assert node.sent(Inv, old) == [Inv((InvItem(MSG_TX, tx.txid),))]
    assert not node.sent(Inv, silent)
    assert not node.sent(Inv, block_relay)
    add(node, pool, simple(1))
    node.wait(60)
    assert not node.sent(Inv)


def test_a_new_peer_waits_as_everybody_does(node: Bench, pool: SmallPool) -> None:
    """Also for what comes before the first tick: the first turn of a connection is when it begins."""
    peers = [node.peer(wtxid_relay=True), node.peer(OUTBOUND, services=1033, wtxid_relay=True)]
    tx = simple(1)
    add(node, pool, tx)
    node.wait(0.1, each=0.1)
    assert [told(node, peer) for peer in peers] == [[], []]
    for peer in peers:
        info = node.protocol.peer_info(peer)
        assert info is not None and info["last_inv_sequence"] == 1
    node.wait(60)
    assert [told(node, peer) for peer in peers] == [[tx.wtxid], [tx.wtxid]]


def test_who_has_it_is_not_told(node: Bench, pool: SmallPool) -> None:
    peers = [node.peer(wtxid_relay=True) for _ in range(3)]
    tx = simple(1)
    node.receive(peers[0], Inv((InvItem(MSG_WTX, tx.wtxid),)))
    node.receive(peers[1], TxMessage(tx.raw))
    node.judge(pool)
    assert tx.txid in pool.entries
    node.wait(60)
    assert [told(node, peer) for peer in peers] == [[], [], [tx.wtxid]]


def test_inbound_peers_share_one_timer_and_outbound_ones_have_their_own(node: Bench, pool: SmallPool) -> None:
    inbound = [node.peer(wtxid_relay=True) for _ in range(4)]
    outbound = [node.peer(OUTBOUND, services=1033, wtxid_relay=True) for _ in range(4)]
    times: dict[int, list[float]] = {}
    for n in range(1, 600):
        add(node, pool, simple(n))
        node.wait(1, each=0.1)
        for peer in inbound + outbound:
            if told(node, peer):
                times.setdefault(peer, []).append(node.now)
    assert len({tuple(times[peer]) for peer in inbound}) == 1
    assert len({tuple(times[peer]) for peer in outbound}) == 4
    assert 80 < len(times[inbound[0]]) < 160  # about every five seconds
    assert all(180 < len(times[peer]) < 300 for peer in outbound)  # every two; several turns a second count once


def test_noban_peers_do_not_wait(node: Bench, pool: SmallPool) -> None:
    peer = node.peer(permissions=Permission.NOBAN, wtxid_relay=True)
    add(node, pool, simple(1))
    node.wait(0.1, each=0.1)
    assert told(node, peer) == [simple(1).wtxid]


def test_who_does_not_read_is_told_nothing(node: Bench, pool: SmallPool) -> None:
    peer = node.peer(wtxid_relay=True)
    node.step(ev.SendBufferState(peer, True))
    add(node, pool, simple(1))
    node.wait(60)
    assert not told(node, peer)
    node.step(ev.SendBufferState(peer, False))
    node.wait(60)
    assert told(node, peer) == [simple(1).wtxid]


# -- order and amount ----------------------------------------------------------------------------------------------


def one_turn(node: Bench, peer: int) -> list[bytes]:
    """What the peer is told the next time it is told anything."""
    for _ in range(2000):
        node.wait(0.1, each=0.1)
        if told(node, peer):
            return told(node, peer)
    return []


def test_best_feerate_first_but_parents_before_children(node: Bench, pool: SmallPool) -> None:
    peer = node.peer(wtxid_relay=True)
    parent = simple(1, 200)
    child = spend([output(parent)], COIN_VALUE - 200, 9000)
    grandchild = spend([output(child)], COIN_VALUE - 9200, 100)
    rest = [simple(n, 100 * n) for n in range(2, 40)]
    mixed = [parent, child, grandchild, *rest]
    node.state(peer).next_fee_filter = 1e12
    add(node, pool, *mixed)
    order = one_turn(node, peer)
    assert order[:2] == [parent.wtxid, child.wtxid]
    assert order[2:-1] == [tx.wtxid for tx in rest[::-1]]
    assert order[-1] == grandchild.wtxid


def test_old_parents_are_left_to_the_peer(node: Bench, pool: SmallPool) -> None:
    parent = simple(1)
    add(node, pool, parent)
    peer = node.peer(wtxid_relay=True)
    child = spend([output(parent)], COIN_VALUE - 1000, 9000)
    add(node, pool, child)
    assert one_turn(node, peer) == [child.wtxid]
    node.receive(peer, GetData((InvItem(MSG_TX, parent.txid),)))
    assert [e.payload for e in node.all(fx.SendRaw)] == [parent.stripped()]


def test_portions_grow_with_the_queue(node: Bench, pool: SmallPool) -> None:
    peer = node.peer(wtxid_relay=True)
    add(node, pool, *(simple(n) for n in range(1, 3501)))
    assert len(one_turn(node, peer)) == 70 + 3 * 5
    assert len(one_turn(node, peer)) == 70 + 3 * 5
    for n in range(10):
        assert len(one_turn(node, peer)) >= 70, n


def test_a_spy_with_a_huge_queue_costs_no_more_than_others(node: Bench, pool: SmallPool) -> None:
    """Announcement queues that only grow (CVE-2023-33297): a turn looks at what it sends, never at the queue."""
    spy = node.peer(wtxid_relay=True)
    node.step(ev.SendBufferState(spy, True))
    for n in range(1, 20_001):
        pool.add(simple(n), 1000)
    for entry in list(pool.entries.values()):
        node.protocol._relay.announce(entry)
    state = node.state(spy).tx
    assert state is not None
    assert len(state.queue) == 20_000
    node.step(ev.SendBufferState(spy, False))
    pool.lookups = 0
    turn = one_turn(node, spy)
    assert len(turn) == 70 + 20 * 5
    assert pool.lookups == len(turn)
    for txid in list(pool.entries):
        pool.remove(txid)
    pool.lookups = 0
    node.wait(120, each=0.1)
    assert pool.lookups < 120 / 0.1 * 2000
    assert not state.queue  # what has left the mempool is dropped, 2000 at a time


def test_a_full_queue_keeps_the_better_ones(node: Bench, pool: SmallPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tx_relay, "MAX_TX_INVENTORY", 100)
    peer = node.peer(wtxid_relay=True)
    node.step(ev.SendBufferState(peer, True))
    rng = Random(1)
    fees = list(range(1000, 1400))
    rng.shuffle(fees)
    txs = {fee: simple(n + 1, fee) for n, fee in enumerate(fees)}
    for fee in fees:
        add(node, pool, txs[fee])
    state = node.state(peer).tx
    assert state is not None
    assert len(state.queue) == 100
    queued = {wtxid for _, wtxid in state.queue}
    assert all(state.queue[(n - 1) // 2] <= state.queue[n] for n in range(1, 100))
    best = [txs[fee].wtxid for fee in sorted(fees)[-50:]]
    assert sum(wtxid in queued for wtxid in best) >= 45


# -- fee filters ---------------------------------------------------------------------------------------------------


def test_their_fee_filter_is_honoured(node: Bench, pool: SmallPool) -> None:
    peer = node.peer(wtxid_relay=True)
    tx = simple(1, 1000)
    exact = 1000 * 1000 // tx.vsize  # rounded down: the transaction pays just enough
    node.receive(peer, FeeFilter(exact + 1))
    add(node, pool, tx)
    node.wait(60)
    assert not told(node, peer)
    node.receive(peer, FeeFilter(exact))
    add(node, pool, simple(2, 1000))
    node.wait(60)
    assert told(node, peer) == [simple(2, 1000).wtxid]


def test_our_fee_filter_follows_the_mempool(node: Bench, pool: SmallPool) -> None:
    peer = node.peer(wtxid_relay=True)
    node.wait(1)
    assert node.sent(FeeFilter, peer)[0].feerate >= 1000  # never below the relay feerate
    pool.feerate = 50_000
    times = []
    for _ in range(700):
        node.wait(1)
        if messages := node.sent(FeeFilter, peer):
            times.append(node.now)
            assert abs(messages[0].feerate - 50_000) <= 5000
            break
    assert times
    assert times[0] - 1000 < 320  # within five minutes after so large a change


def test_filters_are_rounded_by_chance() -> None:
    rounder = FeeFilterRounder(Random(2))
    values = [rounder.round(1234) for _ in range(3000)]
    low, high = sorted(set(values))
    assert low < 1234 <= high
    assert 1.05 < high / low < 1.15
    assert 800 < values.count(high) < 1200  # a third
    assert rounder.round(21 * 10**14) == rounder.maximum == 9936506
    assert rounder.round(0) == 0


def test_no_filter_for_those_who_must_relay(node: Bench) -> None:
    forced = node.peer(permissions=Permission.RELAY | Permission.FORCE_RELAY)
    node.wait(700, each=10)
    assert not node.sent(FeeFilter, forced)


# -- mempool -------------------------------------------------------------------------------------------------------


def test_mempool_message(node: Bench, pool: SmallPool) -> None:
    txs = [simple(n, 100 * n) for n in range(5, 15)]
    for tx in txs:
        pool.add(tx, COIN_VALUE - int.from_bytes(tx.txouts[0][:8], "little"))
    peer = node.peer(permissions=Permission.MEMPOOL, wtxid_relay=True)
    node.receive(peer, FeeFilter(700 * 1000 // txs[0].vsize))
    node.receive(peer, Mempool())
    node.wait(120)
    assert told(node, peer) == [tx.wtxid for tx in txs[2:]]
    stranger = node.peer()
    node.receive(stranger, Mempool())
    assert node.disconnected(stranger) is not None
    friend = node.peer(permissions=Permission.NOBAN)
    node.receive(friend, Mempool())
    assert node.disconnected(friend) is None


def test_who_asks_for_the_mempool_shares_one_list_of_it(node: Bench, pool: SmallPool) -> None:
    for n in range(1, 301):
        pool.add(simple(n, 1000), 1000)
    node.turns_at_once = False
    peers = [node.peer(permissions=Permission.MEMPOOL | Permission.NOBAN) for _ in range(30)]
    for peer in peers:
        node.receive(peer, Mempool())
    for effect in node.wait(0.1, each=0.1):
        if isinstance(effect, fx.AskForTurn):
            node.step(ev.PeerTurn(effect.peer_id))
            assert len(node.sent(Inv, effect.peer_id)) <= 1
    lists = {id(state.answer) for peer in peers if (state := node.state(peer).tx) is not None and state.answer}
    assert len(lists) == 1
    assert len(node.protocol._relay._snapshots) == 1


def test_answers_to_mempool_take_turns(node: Bench, pool: SmallPool) -> None:
    """However large the mempool: a turn looks at some dozens of it."""
    for n in range(1, 1001):
        pool.add(simple(n, 1000), 1000)
    node.turns_at_once = False
    peer = node.peer(permissions=Permission.MEMPOOL | Permission.NOBAN, wtxid_relay=True)
    node.receive(peer, Mempool())
    node.wait(0.1, each=0.1)
    turns, told_of = 0, 0
    while any(isinstance(effect, fx.AskForTurn) for effect in node.effects):
        state = node.state(peer).tx
        assert state is not None
        before = state.answered
        node.step(ev.PeerTurn(peer))
        told_of += sum(len(message.items) for message in node.sent(Inv, peer))
        turns += 1
        assert state.answer is None or state.answered - before <= PIECE
    assert told_of == 1000
    assert turns >= 1000 // PIECE


def test_lists_of_the_mempool_are_few(pool: SmallPool) -> None:
    """New peers want new lists; four at most are read at a time, and who never reads on holds one for two minutes."""
    snapshots, now = PoolSnapshots(pool), 0.0
    for n in range(1, MOST + 1):
        pool.add(simple(n, 1000), 1000)
        first = snapshots.take(now, pool.sequence)
        assert first is not None
        assert hashes_in(first) == n
    pool.add(simple(99, 1000), 1000)
    assert snapshots.take(now + 1, pool.sequence) is None
    assert len(snapshots) == MOST
    old = snapshots.take(now + 1, 1)
    assert old is first  # good enough for who was there before
    newer = snapshots.take(now + LIFE, pool.sequence)
    assert newer is not None
    assert hashes_in(newer) == MOST + 1
    assert len(snapshots) == MOST


def hashes_in(snapshot: PoolSnapshot) -> int:
    return next(n for n in count() if not snapshot.at(n))


def test_a_list_of_the_mempool_is_made_as_it_is_read(pool: SmallPool) -> None:
    """All at once would take a tenth of a second for a hundred thousand; what goes meanwhile is still told of."""
    wtxids = [pool.add(simple(n, 1000), 1000).wtxid for n in range(2 * AT_ONCE + 5)]
    snapshot = PoolSnapshots(pool).take(0.0, 1)
    assert snapshot is not None and snapshot.at(0) == wtxids[0]
    assert len(snapshot.wtxids) == AT_ONCE * 32
    pool.entries.clear()
    assert [snapshot.at(n) for n in range(len(wtxids) + 1)] == [*wtxids, b""]
    snapshot.withdraw()
    assert snapshot.at(0) == b""


# -- own transactions ----------------------------------------------------------------------------------------------


def test_own_transactions_are_announced_until_somebody_asks(node: Bench, pool: SmallPool) -> None:
    tx = simple(1)
    add(node, pool, tx, unbroadcast=True)
    assert pool.unbroadcast() == [tx.txid]
    peer = node.peer(wtxid_relay=True)
    node.wait(599)
    assert not told(node, peer)  # it came later
    node.wait(901 - 599 + 60)
    assert told(node, peer) == [tx.wtxid]
    node.receive(peer, GetData((InvItem(MSG_WTX, tx.wtxid),)))
    assert [e.payload for e in node.all(fx.SendRaw)] == [tx.raw]
    assert not pool.unbroadcast()


def test_a_clock_set_ahead_announces_nothing_again(node: Bench, pool: SmallPool) -> None:
    """As in Core, where this alone runs on a clock that ``setmocktime`` does not move."""
    tx = simple(1)
    add(node, pool, tx, unbroadcast=True)
    peer = node.peer(wtxid_relay=True)
    for seconds in (0, *range(950, 1050, 10)):  # a peer is told a few seconds later
        node.step(ev.Tick(node.unix_start + seconds, held=True))
        assert not told(node, peer)


def test_own_transactions_that_are_gone_are_not_announced(node: Bench, pool: SmallPool) -> None:
    gone, here = simple(1), simple(2)
    add(node, pool, gone, here, unbroadcast=True)
    peer = node.peer(wtxid_relay=True)
    pool.remove(gone.txid)
    node.wait(901 + 60)
    assert told(node, peer) == [here.wtxid]


def test_forcerelay_announces_again(node: Bench, pool: SmallPool) -> None:
    tx = simple(1)
    pool.add(tx)
    peer = node.peer(wtxid_relay=True)
    gate = node.peer(permissions=Permission.RELAY | Permission.FORCE_RELAY, wtxid_relay=True)
    node.receive(gate, TxMessage(tx.raw))
    node.wait(60)
    assert told(node, peer) == [tx.wtxid]


def test_the_newest_blocks_transactions_are_served(node: Bench, blocks: list[bytes]) -> None:
    peer = node.peer()
    older, newest = parse_block(blocks[-2]), parse_block(blocks[-1])
    node.step(ev.TransactionsConfirmed(older))
    node.step(ev.TransactionsConfirmed(newest))
    wanted = (InvItem(MSG_TX, newest.txids[0]), InvItem(MSG_WTX, newest.wtxids[0]), InvItem(MSG_TX, older.txids[0]))
    node.receive(peer, GetData(wanted))
    assert [e.payload for e in node.all(fx.SendRaw)] == [newest.tx(0).stripped(), newest.tx_raw(0)]
    assert node.sent(NotFound) == [NotFound(wanted[2:])]


def test_the_newest_blocks_transactions_are_served_unparsed(
    node: Bench, params: NetworkParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One can have a million witness elements: to make objects of these takes a tenth of a second each time."""
    heavy = Tx(2, [bytes(36)], [b""], [0], [bytes(8) + b"\0"], [[b""] * 1000])
    block = parse_block(bytes(80) + b"\x01" + heavy.raw)
    node.step(ev.TransactionsConfirmed(block))
    monkeypatch.setattr(ParsedBlock, "tx", None)
    peer = node.peer()
    node.receive(peer, GetData((InvItem(MSG_WTX, heavy.wtxid), InvItem(MSG_TX, heavy.txid))))
    assert [e.payload for e in node.all(fx.SendRaw)] == [heavy.raw, heavy.stripped()]


def test_known_filters_remember_fifty_thousand() -> None:
    hasher = BloomHasher(b"key", TX_KNOWN_BITS_LOG2, TX_KNOWN_HASHES)
    known = RollingBloom(b"", TX_KNOWN_PER_GENERATION, hasher=hasher)
    rng = Random(5)
    items = [rng.randbytes(32) for _ in range(60_000)]
    for item in items:
        known.add(item)
    assert all(item in known for item in items[-50_000:])
    assert sum(rng.randbytes(32) in known for _ in range(20_000)) == 0


def test_a_new_peer_may_ask_at_once_for_what_was_there(node: Bench, pool: SmallPool) -> None:
    add(node, pool, simple(1))
    peer = node.peer(wtxid_relay=True)
    node.wait(0.1, each=0.1)
    info = node.protocol.peer_info(peer)
    assert info is not None
    assert info["last_inv_sequence"] == pool.sequence > 1
    node.receive(peer, GetData((InvItem(MSG_WTX, simple(1).wtxid),)))
    assert not node.sent(NotFound, peer)


def test_who_is_told_of_nothing_may_ask_for_what_is_there_for_long(node: Bench, pool: SmallPool) -> None:
    """Its timer rests, so that it costs nothing; what came a moment ago is not given away all the same."""
    peer = node.peer(wtxid_relay=True)
    node.wait(60)
    tx = simple(1)
    node.receive(peer, Inv((InvItem(MSG_WTX, tx.wtxid),)))  # so that it need not be told
    node.protocol._intake.download.tracker.forget(tx.wtxid)
    add(node, pool, tx)
    request = GetData((InvItem(MSG_WTX, tx.wtxid),))
    node.wait(TX_INVENTORY_REST - 2)
    node.receive(peer, request)
    assert node.sent(NotFound, peer)
    node.wait(5)
    node.receive(peer, request)
    assert [e.payload for e in node.all(fx.SendRaw)] == [tx.raw]


def test_what_one_turn_has_no_room_for_goes_out_in_later_ones(node: Bench, pool: SmallPool) -> None:
    """A family of more transactions than a turn tells: the first entry of the queue takes its ancestors along."""
    peer = node.peer(wtxid_relay=True)
    node.wait(60)
    chain = [simple(1)]
    while len(chain) < 60:
        chain.append(spend([output(chain[-1])], COIN_VALUE - 1000 * len(chain), 1000))
    others = [simple(n) for n in range(100, 160)]
    add(node, pool, *chain, *others)
    node.wait(120)
    assert sorted(told(node, peer)) == sorted(tx.wtxid for tx in chain + others)


def test_an_empty_filter_takes_no_memory() -> None:
    """A node has two of half a megabyte, which it may never need, and one for each peer."""
    filter_ = RollingBloom(b"key", 100)
    for _ in range(2):
        assert filter_.is_empty and b"thing" not in filter_
        assert len(filter_._young) == len(filter_._old) == 0
        filter_.add(b"thing")
        assert b"thing" in filter_ and not filter_.is_empty
        assert len(filter_._young) == len(filter_._old) == filter_.hasher.generation_bytes
        filter_.clear()
        filter_.clear()
