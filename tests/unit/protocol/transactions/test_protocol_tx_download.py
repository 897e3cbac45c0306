"""From inv to mempool: requests, orphans, packages, rejects."""

from __future__ import annotations

import pytest

from btcnode.mempool.rejection import TxResult
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import MAX_ORPHAN_RESOLUTIONS
from btcnode.protocol.transactions import orphanage, tx_download, tx_intake
from btcnode.settings.permissions import Permission
from btcnode.testing.small_pool import COIN_VALUE, INVALID_SCRIPT, SmallPool, coin, output, spend
from btcnode.wire.constants import MSG_TX, MSG_WITNESS_FLAG, MSG_WITNESS_TX, MSG_WTX
from btcnode.wire.messages import GetData, Inv, InvItem, NotFound, TxMessage
from tests.lib.protocol_bench import Bench

OUTBOUND = ConnectionKind.OUTBOUND_FULL


def relay_config(**options: object) -> ProtocolConfig:
    return ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True, **options)  # type: ignore[arg-type]


@pytest.fixture
def pool() -> SmallPool:
    return SmallPool()


@pytest.fixture
def node(params: NetworkParams, blocks: list[bytes], pool: SmallPool) -> Bench:
    """A synchronised node that takes transactions."""
    bench = Bench(params, config=relay_config(), transactions=pool)
    bench.load(blocks)
    return bench


def outbound(node: Bench) -> int:
    return node.peer(OUTBOUND, services=1033, wtxid_relay=True)


def inv(*txs: Tx) -> Inv:
    return Inv(tuple(InvItem(MSG_WTX, tx.wtxid) for tx in txs))


def asked(node: Bench, peer: int) -> list[bytes]:
    return [i.hash for m in node.sent(GetData, peer) for i in m.items if i.kind in (MSG_TX, MSG_WTX, MSG_WITNESS_TX)]


def simple(n: int, fee: int = 1000) -> Tx:
    return spend([coin(n)], COIN_VALUE, fee, witness=b"w")


def send(node: Bench, pool: SmallPool, peer: int, *txs: Tx) -> list[fx.Effect]:
    effects = []
    for tx in txs:
        node.receive(peer, TxMessage(tx.raw))
        effects += node.judge(pool)
    node.effects = effects
    return effects


def in_pool(pool: SmallPool, tx: Tx) -> bool:
    return tx.txid in pool.entries


# -- requests ----------------------------------------------------------------------------------------------------


def test_outbound_peers_are_asked_at_once_and_inbound_ones_later(node: Bench) -> None:
    peer, late = outbound(node), node.peer(wtxid_relay=True)
    node.receive(peer, inv(simple(1)))
    assert asked(node, peer) == [simple(1).wtxid]
    node.receive(late, inv(simple(2)))
    assert not asked(node, late)
    node.wait(1.9, each=0.1)
    assert not asked(node, late)
    node.wait(0.3, each=0.1)
    assert asked(node, late) == [simple(2).wtxid]


def test_txid_announcements_wait_for_wtxid_peers(node: Bench) -> None:
    outbound(node)
    old = node.peer(OUTBOUND, services=1033)
    tx = simple(1)
    node.receive(old, Inv((InvItem(MSG_TX, tx.txid),)))
    assert not asked(node, old)
    node.wait(2.2, each=0.1)
    assert node.sent(GetData, old) == [GetData((InvItem(MSG_WITNESS_TX, tx.txid),))]


def test_invs_of_the_other_kind_are_ignored(node: Bench) -> None:
    peer = outbound(node)
    node.receive(peer, Inv((InvItem(MSG_TX, simple(1).txid),)))
    node.wait(5)
    assert not asked(node, peer)


def test_an_inv_of_a_transaction_with_witness_is_one_by_txid(node: Bench) -> None:
    """bitcoind takes it from any peer; the same flag on another kind means nothing."""
    for peer in (outbound(node), node.peer(OUTBOUND, services=1033)):
        tx = simple(peer)
        unknown = InvItem(MSG_WITNESS_FLAG | MSG_WTX, simple(100 + peer).wtxid)
        node.receive(peer, Inv((InvItem(MSG_WITNESS_TX, tx.txid), unknown)))
        node.wait(2.2, each=0.1)
        assert node.sent(GetData, peer) == [GetData((InvItem(MSG_WITNESS_TX, tx.txid),))]


def test_overloaded_peers_wait_and_full_ones_are_not_listened_to(node: Bench) -> None:
    peer, trusted = outbound(node), node.peer(OUTBOUND, services=1033, permissions=Permission.RELAY, wtxid_relay=True)
    hashes = [n.to_bytes(32, "little") for n in range(1, 6001)]
    node.receive(peer, Inv(tuple(InvItem(MSG_WTX, h) for h in hashes[:100])))
    assert len(asked(node, peer)) == 100
    node.receive(peer, Inv((InvItem(MSG_WTX, hashes[100]),)))
    assert not asked(node, peer)
    node.wait(2.2, each=0.1)
    assert asked(node, peer) == [hashes[100]]
    node.receive(peer, Inv(tuple(InvItem(MSG_WTX, h) for h in hashes)))
    tracker = node.protocol._intake.download.tracker
    assert tracker.count(peer) == 5000
    node.receive(trusted, Inv(tuple(InvItem(MSG_WTX, h) for h in hashes)))
    assert tracker.count(trusted) == 6000


def test_many_peers_share_the_memory_for_announcements(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tx_download, "MAX_TX_ANNOUNCEMENTS", 1000)
    peers = [node.peer(wtxid_relay=True) for _ in range(10)]
    for peer in peers:
        items = tuple(InvItem(MSG_WTX, (peer * 10_000 + n).to_bytes(32, "little")) for n in range(900))
        node.receive(peer, Inv(items))
    counts = [node.protocol._intake.download.tracker.count(peer) for peer in peers]
    assert counts == [900, *[100] * 9]


def test_announcements_above_the_rate_are_not_looked_at(node: Bench, pool: SmallPool) -> None:
    """A flood of hashes that we have costs a bounded number of look-ups."""
    tx = simple(1)
    pool.add(tx)
    peer = node.peer(wtxid_relay=True)
    pool.lookups = 0
    for _ in range(2):
        node.receive(peer, Inv((InvItem(MSG_WTX, tx.wtxid),) * 50_000))
    assert pool.lookups <= 10_000
    node.wait(1)
    node.receive(peer, Inv((InvItem(MSG_WTX, simple(2).wtxid),)))
    assert node.protocol._intake.download.tracker.count(peer) == 1


def test_a_flood_of_announcements_ends_the_connection_through_the_score(node: Bench) -> None:
    peer = node.peer(wtxid_relay=True)
    for _ in range(20):
        node.receive(peer, Inv((InvItem(MSG_WTX, b"\x01" * 32),) * 50_000))
    node.wait(1)
    assert node.disconnected(peer) is not None


def test_notfound_and_time_out_move_the_request_on(node: Bench) -> None:
    """CVE-2024-52913: the first announcer withholds; another peer is asked within the deadline."""
    tx = simple(1)
    first, second, third = outbound(node), outbound(node), node.peer(wtxid_relay=True)
    node.receive(first, inv(tx))
    node.receive(second, inv(tx))
    node.receive(third, inv(tx))
    assert not asked(node, second)
    node.receive(first, NotFound((InvItem(MSG_WTX, tx.wtxid),)))
    node.wait(0.2, each=0.1)
    assert asked(node, second) == [tx.wtxid]
    node.wait(59, each=0.5)
    assert not asked(node, third)
    node.wait(2, each=0.5)
    assert asked(node, third) == [tx.wtxid]
    node.receive(first, inv(tx))
    node.wait(30, each=0.5)
    assert not asked(node, first)


def test_what_is_in_validation_is_not_asked_for_twice(node: Bench, pool: SmallPool) -> None:
    tx = simple(1)
    first, second = outbound(node), outbound(node)
    node.receive(first, inv(tx))
    node.receive(first, TxMessage(tx.raw))
    handed = node.all(fx.ProcessTransactions)
    assert [e.txs[0].wtxid for e in handed] == [tx.wtxid]
    node.receive(second, inv(tx))
    node.receive(second, TxMessage(tx.raw))
    assert not node.all(fx.ProcessTransactions)
    node.wait(3)
    assert not asked(node, second)
    node.step(pool.judge(handed[0]))
    assert in_pool(pool, tx)
    node.wait(90)
    assert not asked(node, second)
    assert len(node.protocol._intake.download.tracker) == 0
    assert node.state(first).last_tx_unix > 0


def test_what_a_peer_leaves_behind_is_given_up(node: Bench, pool: SmallPool) -> None:
    first, second = outbound(node), outbound(node)
    alone, both = simple(1), simple(2)
    handed = []
    for tx in (alone, both):
        node.receive(first, TxMessage(tx.raw))
        handed += node.all(fx.ProcessTransactions)
    node.receive(second, TxMessage(both.raw))
    node.receive(second, inv(alone))
    effects = node.step(ev.PeerDisconnected(first))
    assert fx.WithdrawTransactions((handed[0].number,)) in effects
    unjudged = (ev.TxOutcome(alone.txid, alone.wtxid, TxResult.UNKNOWN),)
    node.step(ev.TransactionsProcessed(first, handed[0].number, unjudged))
    node.wait(3)
    assert asked(node, second) == [alone.wtxid]  # as if it had never come
    assert node.state(second).txs_in_validation == 1
    effects = node.step(ev.PeerDisconnected(second))  # the other one had become its own
    assert fx.WithdrawTransactions((handed[1].number,)) in effects
    node.step(pool.judge(handed[1]))
    intake = node.protocol._intake
    assert not intake._open and not intake._busy and not intake._heirs and not intake._bytes


def test_nothing_is_taken_in_initial_download(params: NetworkParams, pool: SmallPool) -> None:
    bench = Bench(params, config=relay_config(), transactions=pool)
    peer = outbound(bench)
    bench.receive(peer, inv(simple(1)))
    bench.receive(peer, TxMessage(simple(1).raw))
    bench.wait(5)
    assert not asked(bench, peer)
    assert not bench.all(fx.ProcessTransactions)
    assert bench.disconnected(peer) is None


def test_malformed_and_enormous_transactions(node: Bench, pool: SmallPool) -> None:
    peer = outbound(node)
    node.receive(peer, TxMessage(b"\xff" * 60))
    assert not node.all(fx.ProcessTransactions)
    huge = spend([coin(n) for n in range(1, 9900)], COIN_VALUE, 1000)
    assert len(huge.raw) > 400_000
    node.receive(peer, TxMessage(huge.raw))
    assert not node.all(fx.ProcessTransactions)
    node.receive(peer, inv(huge))
    node.wait(3)
    assert not asked(node, peer)
    send(node, pool, peer, simple(1))
    assert in_pool(pool, simple(1))


# -- rejects -------------------------------------------------------------------------------------------------------


def test_rejects_are_not_fetched_again_until_the_tip_changes(node: Bench, pool: SmallPool, blocks: list[bytes]) -> None:
    bad = spend([coin(1)], COIN_VALUE, 1000, script_sig=INVALID_SCRIPT)
    peer, other = outbound(node), outbound(node)
    send(node, pool, peer, bad)
    assert pool.judged == 1
    node.receive(other, inv(bad))
    node.wait(3)
    assert not asked(node, other)
    send(node, pool, other, bad)
    assert pool.judged == 1
    assert node.disconnected(peer) is None  # Core 31 punishes nobody for an invalid transaction
    assert node.protocol.spare_transactions() == {bad.wtxid: bad.raw}
    node.load([node.chain.mine(1_700_000_030)])
    node.receive(other, inv(bad))
    assert asked(node, other) == [bad.wtxid]


@pytest.mark.parametrize(
    ("result", "by_wtxid", "by_txid"),
    [
        (TxResult.CONSENSUS, True, False),
        (TxResult.INPUTS_NOT_STANDARD, True, True),
        (TxResult.WITNESS_STRIPPED, False, False),
        (TxResult.RECONSIDERABLE, True, False),
        (TxResult.UNKNOWN, False, False),
    ],
)
def test_what_is_remembered_of_a_reject(node: Bench, result: TxResult, by_wtxid: bool, by_txid: bool) -> None:
    tx = simple(1)
    peer = outbound(node)
    node.receive(peer, TxMessage(tx.raw))
    (effect,) = node.all(fx.ProcessTransactions)
    node.step(ev.TransactionsProcessed(peer, effect.number, (ev.TxOutcome(tx.txid, tx.wtxid, result, "x"),)))
    node.step(ev.TransactionsProcessed(peer, effect.number, ()))  # an answer too many
    download = node.protocol._intake.download
    assert download.already_have(tx.wtxid, True, reconsiderable=True) == by_wtxid
    assert download.already_have(tx.txid, False, reconsiderable=True) == by_txid
    assert not node.protocol._intake._open
    assert not node.protocol._intake._busy


def test_confirmed_transactions_are_not_fetched(node: Bench, blocks: list[bytes]) -> None:
    peer = outbound(node)
    block = parse_block(blocks[-1])
    txid = block.txids[0]
    node.step(ev.TransactionsConfirmed(block))
    node.receive(peer, Inv((InvItem(MSG_WTX, txid),)))
    assert not asked(node, peer)
    node.step(ev.TransactionsUnconfirmed(block.hash))
    node.receive(peer, Inv((InvItem(MSG_WTX, txid),)))
    assert asked(node, peer) == [txid]


# -- orphans -------------------------------------------------------------------------------------------------------


def test_parents_of_an_orphan_are_fetched_and_both_accepted(node: Bench, pool: SmallPool) -> None:
    parent = simple(1)
    child = spend([output(parent)], COIN_VALUE - 1000, 1000, witness=b"c")
    peer = outbound(node)
    send(node, pool, peer, child)
    assert [o.tx.wtxid for o in node.protocol.orphans()] == [child.wtxid]
    node.wait(2.2, each=0.1)
    assert node.sent(GetData, peer) == [GetData((InvItem(MSG_WITNESS_TX, parent.txid),))]
    send(node, pool, peer, parent)
    assert in_pool(pool, parent)
    assert in_pool(pool, child)
    assert not node.protocol.orphans()


def test_every_announcer_of_an_orphan_is_asked_for_its_parents(node: Bench, pool: SmallPool) -> None:
    parent = simple(1)
    child = spend([output(parent)], COIN_VALUE - 1000, 1000)
    first, second, third = outbound(node), outbound(node), outbound(node)
    node.receive(first, inv(child))
    node.receive(second, inv(child))
    send(node, pool, first, child)
    node.receive(third, inv(child))
    assert [o.announcers for o in node.protocol.orphans()] == [(first, second, third)]
    node.wait(3, each=0.1)
    (asked_first,) = [p for p in (first, second, third) if asked(node, p)]
    node.step(ev.PeerDisconnected(asked_first))
    node.wait(1, each=0.1)
    assert len([p for p in (first, second, third) if p != asked_first and asked(node, p) == [parent.txid]]) == 1


def test_an_orphan_of_rejected_parents_is_rejected(node: Bench, pool: SmallPool) -> None:
    bad = spend([coin(1)], COIN_VALUE, 1000, script_sig=INVALID_SCRIPT)
    child = spend([output(bad)], COIN_VALUE - 1000, 1000)
    peer = outbound(node)
    send(node, pool, peer, bad, child)
    assert not node.protocol.orphans()
    node.receive(peer, inv(child))
    assert not asked(node, peer)


def test_a_parent_that_is_accepted_while_its_child_is_judged(node: Bench, pool: SmallPool) -> None:
    """The verdict on the child comes late: it is looked at again at once."""
    parent = simple(1)
    child = spend([output(parent)], COIN_VALUE - 1000, 1000)
    peer = outbound(node)
    node.receive(peer, TxMessage(child.raw))
    (effect,) = node.all(fx.ProcessTransactions)
    late = pool.judge(effect)
    assert late.results[0].result is TxResult.MISSING_INPUTS
    send(node, pool, peer, parent)
    assert not in_pool(pool, child)
    node.step(late)
    node.judge(pool)
    assert in_pool(pool, child)
    assert not node.protocol.orphans()


def test_a_chain_of_orphans_unrolls(node: Bench, pool: SmallPool) -> None:
    chain = [simple(1)]
    for n in range(20):
        chain.append(spend([output(chain[-1])], COIN_VALUE - 1000 * (n + 1), 1000))
    peers = [outbound(node), outbound(node)]
    for n, tx in enumerate(chain[:0:-1]):
        send(node, pool, peers[n % 2], tx)
    assert len(node.protocol.orphans()) == 20
    send(node, pool, peers[0], chain[0])
    assert all(in_pool(pool, tx) for tx in chain)


def test_orphans_go_with_blocks_and_peers(node: Bench, pool: SmallPool, blocks: list[bytes]) -> None:
    block = parse_block(blocks[-1])
    conflict = spend([block.prevouts()[0], output(simple(1))], 1000, 10)
    peer, other = outbound(node), outbound(node)
    send(node, pool, peer, conflict, spend([output(simple(2))], 1000, 10))
    send(node, pool, other, spend([output(simple(3))], 1000, 10))
    assert len(node.protocol.orphans()) == 3
    node.step(ev.TransactionsConfirmed(block))
    assert len(node.protocol.orphans()) == 2
    node.step(ev.PeerDisconnected(peer))
    assert len(node.protocol.orphans()) == 1


def test_the_users_transaction_wakes_its_orphans(node: Bench, pool: SmallPool) -> None:
    parent = simple(1)
    child = spend([output(parent)], COIN_VALUE - 1000, 1000)
    send(node, pool, outbound(node), child)
    pool.add(parent)
    node.step(ev.TransactionAdded(parent.txid, parent.wtxid))
    node.judge(pool)
    assert in_pool(pool, child)


# -- packages ------------------------------------------------------------------------------------------------------


def cheap_family(n: int = 1) -> tuple[Tx, Tx]:
    parent = spend([coin(n)], COIN_VALUE, 0, witness=b"p")
    return parent, spend([output(parent)], COIN_VALUE, 5000, witness=b"c")


@pytest.mark.parametrize("child_first", [True, False])
def test_a_cheap_parent_and_its_child_as_a_package(node: Bench, pool: SmallPool, child_first: bool) -> None:
    parent, child = cheap_family()
    peer = outbound(node)
    if child_first:
        send(node, pool, peer, child, parent)
    else:
        send(node, pool, peer, parent, child)
        assert not in_pool(pool, parent)
        node.wait(2.2, each=0.1)
        assert asked(node, peer) == [parent.txid]  # by its child's leave
        send(node, pool, peer, parent)
    assert in_pool(pool, parent)
    assert in_pool(pool, child)
    assert not node.protocol.orphans()


def test_a_failed_package_is_not_tried_twice(node: Bench, pool: SmallPool) -> None:
    parent = spend([coin(1)], COIN_VALUE, 0)
    child = spend([output(parent)], COIN_VALUE, 1)
    peer = outbound(node)
    send(node, pool, peer, child, parent)
    judged = pool.judged
    send(node, pool, peer, parent, parent)
    assert pool.judged == judged
    assert not pool.entries


def test_children_of_other_peers_make_no_package(node: Bench, pool: SmallPool) -> None:
    """Else an attacker's children would be tried in place of the honest one."""
    parent, child = cheap_family()
    fake = spend([output(parent)], COIN_VALUE, 1)
    honest, attacker = outbound(node), outbound(node)
    send(node, pool, attacker, fake)
    send(node, pool, honest, child)
    send(node, pool, honest, parent)
    assert in_pool(pool, child)


def test_an_orphan_with_two_cheap_parents_is_hopeless(node: Bench, pool: SmallPool) -> None:
    first, second = spend([coin(1)], COIN_VALUE, 0), spend([coin(2)], COIN_VALUE, 0)
    child = spend([output(first), output(second)], 2 * COIN_VALUE, 9000)
    send(node, pool, outbound(node), first, second, child)
    assert not node.protocol.orphans()


def test_thousands_of_parents_are_not_asked_of_everybody(node: Bench, pool: SmallPool) -> None:
    """A hundred peers that announced an orphan with 2,400 parents made a quarter of a million requests of it."""
    strangers = [bytes([7]) + n.to_bytes(31, "little") + bytes(4) for n in range(2_400)]
    wide, narrow = spend(strangers, COIN_VALUE, 1000), spend(strangers[:30], COIN_VALUE, 1000)
    peers = [outbound(node) for _ in range(20)]
    tracker = node.protocol._intake.download.tracker
    for tx, askers in ((narrow, 20), (wide, 2)):
        for peer in peers:
            node.receive(peer, inv(tx))
        known = len(tracker) - sum(tx.wtxid in of.all for of in tracker._peers.values())
        send(node, pool, peers[0], tx)
        (orphan,) = [orphan for orphan in node.protocol.orphans() if orphan.wtxid == tx.wtxid]
        assert len(orphan.announcers) == askers
        assert orphan.announcers[0] == peers[0]
        assert len(tracker) - known <= MAX_ORPHAN_RESOLUTIONS


# -- orphans that take long to parse -------------------------------------------------------------------------------


class Parsing:
    """Counts what is parsed of the orphanage."""

    def __init__(self) -> None:
        self.count = 0

    def parse(self, raw: bytes) -> Tx:
        self.count += 1
        return Tx.parse(raw)


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch) -> Parsing:
    counted = Parsing()
    monkeypatch.setattr(orphanage, "Tx", counted)
    return counted


def test_orphans_that_others_announce_are_not_parsed(node: Bench, pool: SmallPool, parsing: Parsing) -> None:
    parent = simple(1)
    children = [spend([output(parent)], COIN_VALUE - 1000, fee, witness=b"c") for fee in range(1000, 1010)]
    send(node, pool, outbound(node), *children)
    other = outbound(node)
    node.receive(other, inv(*children))
    assert all(other in orphan.announcers for orphan in node.protocol.orphans())
    assert not parsing.count


def test_large_orphans_whose_parent_came_are_parsed_one_by_one(node: Bench, pool: SmallPool, parsing: Parsing) -> None:
    parent = spend([coin(1)], COIN_VALUE, 1000, outputs=10)
    children = [
        spend([output(parent, n)], COIN_VALUE // 10 - 1000, COIN_VALUE // 20, witness=bytes(tx_intake.ORPHANS_AT_ONCE))
        for n in range(10)
    ]
    for child in children:
        send(node, pool, outbound(node), child)
    node.receive(outbound(node), TxMessage(parent.raw))
    waiting = node.all(fx.ProcessTransactions)
    looked_at = 0
    while waiting:
        node.step(pool.judge(waiting.pop()))
        waiting += node.all(fx.ProcessTransactions)
        assert parsing.count - looked_at <= 1
        looked_at = parsing.count
    assert looked_at == 10
    assert not node.protocol.orphans()
    assert all(in_pool(pool, child) for child in children)


def test_children_that_were_refused_with_a_parent_are_not_parsed_again(
    node: Bench, pool: SmallPool, parsing: Parsing
) -> None:
    parent = spend([coin(1)], COIN_VALUE, 0)
    nowhere = b"\x09" * 32 + bytes(4)
    children = [spend([output(parent), nowhere], COIN_VALUE, fee) for fee in range(1, 11)]
    peer = outbound(node)
    send(node, pool, peer, *children)
    for _ in children:
        send(node, pool, peer, parent)
    assert parsing.count == 10
    send(node, pool, peer, parent)
    assert parsing.count == 10
    assert len(node.protocol.orphans()) == 10


# -- limits --------------------------------------------------------------------------------------------------------


def test_who_sends_faster_than_we_judge_is_not_read_from(node: Bench, pool: SmallPool) -> None:
    peer = outbound(node)
    held: list[fx.ProcessTransactions] = []
    stopped = 0
    for n in range(1, 1002):
        node.receive(peer, TxMessage(simple(n).raw))
        held += node.all(fx.ProcessTransactions)
        stopped += node.all(fx.SetReceiving) == [fx.SetReceiving(peer, False)]
        if stopped:
            break
    assert len(held) == 1000
    started = []
    for n, effect in enumerate(held):
        node.step(pool.judge(effect))
        if node.all(fx.SetReceiving) == [fx.SetReceiving(peer, True)]:
            started.append(n)
    assert started == [499]
    assert node.state(peer).txs_in_validation == node.state(peer).tx_bytes_in_validation == 0


def test_large_transactions_count_by_their_bytes(node: Bench) -> None:
    peer = outbound(node)
    count = 0
    while not node.all(fx.SetReceiving):
        node.receive(peer, TxMessage(spend([coin(count + 1)], COIN_VALUE, 9, padding=60_000).raw))
        count += 1
    assert count == 4_000_000 // 120_000 + 1


def test_memory_is_counted_as_objects_and_has_a_hard_end(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Witnesses of tiny elements take 16 times their bytes in Python."""
    tiny = Tx(2, [coin(1)], [b""], [0], [b"\x00" * 8 + b"\x01\x51"], [[b"ab"] * 100_000])
    assert 4_000_000 < tx_intake.memory_of(tiny) < 7_000_000
    monkeypatch.setattr(tx_intake, "MAX_TX_BYTES_IN_VALIDATION", 1_000_000)
    handed = 0
    for n in range(1, 51):
        peer = outbound(node)
        node.receive(peer, TxMessage(spend([coin(n)], COIN_VALUE, 9, padding=60_000).raw))
        handed += len(node.all(fx.ProcessTransactions))
    assert handed == 2 * 1_000_000 // 120_000 + 1
    assert len(node.protocol._intake._open) == handed


def test_all_peers_together_are_limited(node: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tx_intake, "MAX_TXS_IN_VALIDATION", 20)
    paused = []
    for n in range(1, 26):
        peer = outbound(node)
        node.receive(peer, TxMessage(simple(n).raw))
        paused += [e.peer_id for e in node.all(fx.SetReceiving)]
    assert len(paused) == 6


def test_verdicts_on_a_peer_that_left_still_count(node: Bench, pool: SmallPool) -> None:
    peer = outbound(node)
    node.receive(peer, TxMessage(simple(1).raw))
    (effect,) = node.all(fx.ProcessTransactions)
    orphan = spend([output(simple(3))], 1000, 10)
    node.receive(peer, TxMessage(orphan.raw))
    (second,) = node.all(fx.ProcessTransactions)
    node.step(ev.PeerDisconnected(peer))
    node.step(pool.judge(effect))
    node.step(pool.judge(second))
    assert in_pool(pool, simple(1))
    assert not node.protocol.orphans()  # nobody to ask for its parents


# -- unwanted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Inv((InvItem(MSG_WTX, b"\x01" * 32),)), TxMessage(simple(1).raw)])
def test_block_relay_peers_and_blocks_only_mode(params: NetworkParams, message: Inv | TxMessage) -> None:
    bench = Bench(params, config=relay_config())
    peer = bench.peer(ConnectionKind.BLOCK_RELAY, services=1033, wtxid_relay=True)
    bench.receive(peer, message)
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage
    blocks_only = Bench(params)
    peer = blocks_only.peer(wtxid_relay=True)
    blocks_only.receive(peer, message)
    assert blocks_only.disconnected(peer) is not None
    peer = blocks_only.peer(wtxid_relay=True, permissions=Permission.RELAY)
    blocks_only.receive(peer, message)
    assert blocks_only.disconnected(peer) is None


def test_who_has_nothing_in_validation_is_not_held_back_for_others(
    node: Bench, pool: SmallPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held back it would stay for ever: what lets a peer go on is a verdict on something of its own."""
    monkeypatch.setattr(tx_intake, "MAX_TXS_IN_VALIDATION", 5)
    known = simple(0)
    pool.add(known)
    busy, idle = node.peer(wtxid_relay=True), node.peer(wtxid_relay=True)
    for n in range(1, 6):
        node.receive(busy, TxMessage(simple(n).raw))
    assert node.all(fx.SetReceiving) == [fx.SetReceiving(busy, False)]
    invalid = simple(9).raw[:62]
    node.step(ev.TransactionsReceived(idle, ((known.raw, b""), (invalid, b""))))
    assert not node.all(fx.SetReceiving)
    node.receive(idle, TxMessage(known.raw))
    assert not node.all(fx.SetReceiving)
    node.receive(idle, TxMessage(simple(6).raw))
    assert node.all(fx.SetReceiving) == [fx.SetReceiving(idle, False)]


@pytest.mark.parametrize("by_wtxid", [True, False])
def test_what_we_asked_for_is_excused(node: Bench, by_wtxid: bool) -> None:
    """By the share of it among those that came together; nothing is where nothing was asked for."""
    peer = node.peer(OUTBOUND, services=1033, wtxid_relay=by_wtxid)
    wanted, more = simple(1), [simple(n) for n in (2, 3, 4)]

    def shares(*txs: Tx) -> list[float]:
        effects = node.protocol.step(node.now, ev.TransactionsReceived(peer, tuple((tx.raw, b"") for tx in txs)))
        return [effect.share for effect in effects if isinstance(effect, fx.Excuse)]

    item = InvItem(MSG_WTX, wanted.wtxid) if by_wtxid else InvItem(MSG_TX, wanted.txid)
    assert shares(simple(5)) == []
    node.receive(peer, Inv((item,)))
    node.wait(2.2, each=0.1)
    assert shares(simple(6)) == []
    assert shares(more[0], wanted, *more[1:]) == [0.25]
    assert shares(simple(7)) == []
