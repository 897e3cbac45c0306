"""Compact blocks in: high-bandwidth peers, reconstruction, what is asked of whom, and what follows from faults."""

from __future__ import annotations

from random import Random

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.header import header_hash
from btcnode.primitives.steps import at_once
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.blocks import partial_block
from btcnode.protocol.blocks.partial_block import PartialBlock, ShortIdCollision
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.serving.compact_serving import compact_payload
from btcnode.testing.simulator import UNIX_START
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, spend
from btcnode.wire.constants import MSG_CMPCT_BLOCK, MSG_WITNESS_BLOCK
from btcnode.wire.messages import (
    BlockMessage,
    BlockTxn,
    CmpctBlock,
    GetBlockTxn,
    GetData,
    GetHeaders,
    Headers,
    InvItem,
    SendCmpct,
    SendHeaders,
    TxMessage,
)
from btcnode.wire.messages.compact import PrefilledTx
from btcnode.wire.short_ids import matching, packed_short_ids
from tests.lib.protocol_bench import Bench
from tests.lib.short_ids import short_id

TXS = [spend([coin(n)], COIN_VALUE, 2000, witness=b"w%d" % n) for n in range(8)]


class Lab:
    """A node near today with a pool; ``block`` is the next one, ``compact`` its compact form."""

    def __init__(
        self,
        params: NetworkParams,
        blocks: list[bytes],
        *,
        tx_relay: bool = True,
        block_relay: str = "auto",
        extra: int = 100,
    ) -> None:
        self.pool = SmallPool()
        config = ProtocolConfig(
            dns_seed=False, no_automatic=True, tx_relay=tx_relay, block_relay=block_relay, extra_transactions=extra
        )
        self.bench = Bench(params, config=config, transactions=self.pool)
        self.bench.load(blocks)
        self.block = self.bench.chain.mine(UNIX_START - 10, txs=TXS)
        self.compact = compact_of(self.block)
        self.hash = header_hash(self.block[:80])

    def peer(self, kind: ConnectionKind = ConnectionKind.INBOUND, *, high: bool = False) -> int:
        """A peer that speaks compact blocks."""
        peer = self.bench.peer(kind)
        self.bench.receive(peer, SendCmpct(high))
        return peer

    def know(self, *txs: Tx) -> None:
        """These are in the mempool."""
        for tx in txs:
            self.pool.add(tx, 2000)

    def tip(self) -> bytes:
        """Hash of the active tip."""
        return self.bench.chain.tip_hash


def by_wtxid(txs: list[Tx]) -> dict[bytes, bytes]:
    return {tx.wtxid: tx.raw for tx in txs}


def compact_of(raw: bytes, nonce: int = 7) -> CmpctBlock:
    return CmpctBlock.decode(compact_payload(parse_block(raw), nonce))


@pytest.fixture
def lab(params: NetworkParams, blocks: list[bytes]) -> Lab:
    return Lab(params, blocks)


def full(block_hash: bytes) -> GetData:
    return GetData((InvItem(MSG_WITNESS_BLOCK, block_hash),))


# -- short ids -------------------------------------------------------------------------------------------------------


def test_sip_hash_as_in_its_paper() -> None:
    key, message = bytes(range(16)), bytes(range(15))
    assert short_id(key, message) == 0xA129CA6149BE45E5 & 0xFFFFFFFFFFFF
    assert packed_short_ids(key, [message]) == (0xA129CA6149BE45E5).to_bytes(8, "little")[:6]


def test_matching_finds_what_is_wanted() -> None:
    rng = Random(3)
    key = rng.randbytes(16)
    wtxids = [rng.randbytes(32) for _ in range(100)]
    places = {short_id(key, wtxids[60]): 7, short_id(key, wtxids[5]): 8, 1: 9}
    assert matching(key, wtxids, places) == [(8, wtxids[5]), (7, wtxids[60])]


# -- reconstruction --------------------------------------------------------------------------------------------------


def test_partial_block_takes_pool_and_extra(lab: Lab) -> None:
    lab.know(*TXS[:5])
    partial = PartialBlock(lab.compact)
    at_once(partial.collect(lab.compact, lab.pool.by_wtxid(), by_wtxid(TXS[5:7])))
    assert (partial.from_pool, partial.from_extra, partial.missing()) == (5, 2, (8,))
    assert partial.known == (), "too few to be of use"
    assert partial.fill([TXS[7].raw]) == lab.block
    assert partial.spent


def test_partial_block_in_random_pools(lab: Lab) -> None:
    """Whatever is known where: what is not missing is right, and filling gives the block."""
    rng = Random(5)
    raws = [parse_block(lab.block).tx_raw(i) for i in range(9)]
    for _ in range(50):
        pool = SmallPool()
        for tx in rng.sample(TXS, rng.randrange(9)):
            pool.add(tx, 2000)
        partial = PartialBlock(lab.compact)
        at_once(partial.collect(lab.compact, pool.by_wtxid(), by_wtxid(rng.sample(TXS, rng.randrange(9)))))
        assert partial.fill([raws[i] for i in partial.missing()]) == lab.block


def test_what_the_pool_had_is_told_by_place(lab: Lab) -> None:
    lab.know(*TXS[:4], *TXS[5:])
    partial = PartialBlock(lab.compact)
    at_once(partial.collect(lab.compact, lab.pool.by_wtxid(), by_wtxid(TXS[4:5])))
    places = {entry.wtxid: n for n, entry in enumerate(partial.known) if entry is not None}
    assert places == {tx.wtxid: n for n, tx in enumerate(TXS, 1) if n != 5}
    assert partial.fill(()) == lab.block


def test_two_transactions_with_the_same_short_id_leave_the_gap(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from btcnode.protocol.blocks import partial_block

    other = spend([coin(99)], COIN_VALUE, 2000, witness=b"x")
    lab.know(*TXS, other)

    def renamed(wtxid: bytes) -> bytes:
        return TXS[3].wtxid if wtxid == other.wtxid else wtxid

    def matching_renamed(key: bytes, wtxids: list[bytes], places: dict[int, int]) -> list[tuple[int, bytes]]:
        return [(places[named], w) for w in wtxids if (named := short_id(key, renamed(w))) in places]

    monkeypatch.setattr(partial_block, "matching", matching_renamed)
    partial = PartialBlock(lab.compact)
    at_once(partial.collect(lab.compact, lab.pool.by_wtxid(), {}))
    assert partial.missing() == (4,)
    assert [n for n, entry in enumerate(partial.known) if entry is None] == [0, 4]


def test_equal_short_ids_are_a_collision(lab: Lab) -> None:
    ids = lab.compact.short_ids
    message = CmpctBlock(lab.compact.header, 7, (ids[0], *ids[:-1]), lab.compact.prefilled)
    with pytest.raises(ShortIdCollision):
        at_once(PartialBlock(message).collect(message, {}, {}))


# -- announcements to us ---------------------------------------------------------------------------------------------


def test_all_in_the_pool_is_no_round_trip(lab: Lab) -> None:
    lab.know(*TXS)
    peer = lab.peer()
    lab.bench.receive(peer, lab.compact)
    (process,) = lab.bench.all(fx.ProcessBlock)
    assert process.raw == lab.block
    assert process.requested
    assert not lab.bench.sent(GetBlockTxn)
    assert not lab.bench.sent(GetData)
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash


@pytest.mark.parametrize("gone", [False, True])
def test_nobody_is_asked_for_a_block_that_is_being_put_together(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    """It takes several turns with a large mempool, in which others announce the block, too."""
    monkeypatch.setattr(partial_block, "STEP", 2)
    lab.know(*TXS)
    peer, other, bench = lab.peer(), lab.peer(), lab.bench
    bench.turns_at_once = False
    bench.receive(peer, lab.compact)
    assert [e.peer_id for e in bench.all(fx.AskForTurn)] == [peer]
    bench.receive(other, Headers((lab.block[:80],)))
    assert not bench.sent(GetData)
    for _ in range(3):
        bench.step(ev.PeerTurn(other))
        assert not bench.sent(GetData)
    bench.wait(1)
    assert not bench.sent(GetData)
    if gone:
        bench.step(ev.PeerDisconnected(peer, "gone"))
        assert bench.sent(GetData, other) == [full(lab.hash)]
        return
    bench.turns_at_once = True
    bench.step(ev.PeerTurn(peer))
    (process,) = bench.all(fx.ProcessBlock)
    assert process.raw == lab.block


def test_missing_is_one_round_trip(lab: Lab) -> None:
    lab.know(*TXS[:6])
    peer = lab.peer()
    lab.bench.receive(peer, lab.compact)
    assert lab.bench.sent(GetBlockTxn) == [GetBlockTxn(lab.hash, (7, 8))]
    assert not lab.bench.all(fx.ProcessBlock)
    lab.bench.receive(peer, lab.compact)  # again: it is being received already
    assert not lab.bench.sent(GetBlockTxn)
    lab.bench.receive(peer, BlockTxn(lab.hash, (TXS[6].raw, TXS[7].raw)))
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash
    assert lab.bench.state(peer).blocks.partial == {}
    assert not lab.bench.protocol.block_queue()[0]


def test_headers_of_one_block_are_answered_by_a_request_for_the_compact_form(lab: Lab) -> None:
    peer = lab.peer()
    lab.know(*TXS)
    lab.bench.receive(peer, Headers((lab.block[:80],)))
    assert lab.bench.sent(GetData) == [GetData((InvItem(MSG_CMPCT_BLOCK, lab.hash),))]
    lab.bench.receive(peer, lab.compact)
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash


@pytest.mark.parametrize(("tx_relay", "block_relay"), [(False, "auto"), (True, "plain")])
def test_not_in_blocks_only_mode_and_not_when_whole_blocks_are_wanted(
    params: NetworkParams, blocks: list[bytes], tx_relay: bool, block_relay: str
) -> None:
    lab = Lab(params, blocks, tx_relay=tx_relay, block_relay=block_relay)
    peer = lab.peer()
    lab.bench.receive(peer, Headers((lab.block[:80],)))
    assert lab.bench.sent(GetData) == [full(lab.hash)]
    lab.bench.receive(peer, BlockMessage(lab.block))
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash
    assert not lab.bench.sent(SendCmpct)


def test_unknown_parent_asks_for_headers(lab: Lab) -> None:
    peer = lab.peer()
    child = lab.bench.chain.mine(UNIX_START - 5)
    orphan = compact_of(child[:4] + bytes(32) + child[36:])
    lab.bench.now += 1000
    lab.bench.receive(peer, orphan)
    assert lab.bench.sent(GetHeaders)
    assert not lab.bench.disconnected(peer)


# -- faults ----------------------------------------------------------------------------------------------------------


def test_collision_within_the_message_asks_for_the_whole_block(lab: Lab) -> None:
    peer = lab.peer()
    ids = lab.compact.short_ids
    lab.bench.receive(peer, CmpctBlock(lab.compact.header, 7, (ids[0], *ids[:-1]), lab.compact.prefilled))
    assert lab.bench.sent(GetData) == [full(lab.hash)]
    assert not lab.bench.disconnected(peer)
    lab.bench.receive(peer, BlockMessage(lab.block))
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash


def test_wrong_reconstruction_asks_for_the_whole_block(lab: Lab) -> None:
    lab.know(*TXS[:7])
    peer = lab.peer()
    lab.bench.receive(peer, lab.compact)
    lab.bench.receive(peer, BlockTxn(lab.hash, (TXS[0].raw,)))
    lab.bench.finish_blocks()
    assert lab.bench.sent(GetData) == [full(lab.hash)]
    assert not lab.bench.disconnected(peer)
    lab.bench.receive(peer, lab.compact)  # not a second time
    assert not lab.bench.all(fx.ProcessBlock)
    assert not lab.bench.sent(GetBlockTxn)
    lab.bench.receive(peer, BlockMessage(lab.block))
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash


def test_cve_2024_35202_transactions_after_a_failed_reconstruction_are_a_fault(lab: Lab) -> None:
    lab.know(*TXS[:7])
    peer = lab.peer()
    lab.bench.receive(peer, lab.compact)
    lab.bench.receive(peer, BlockTxn(lab.hash, (TXS[0].raw,)))
    lab.bench.finish_blocks()
    lab.bench.receive(peer, BlockTxn(lab.hash, (TXS[7].raw,)))
    assert lab.bench.disconnected(peer)


@pytest.mark.parametrize("count", [0, 2])
def test_wrong_number_of_transactions_is_a_fault(lab: Lab, count: int) -> None:
    lab.know(*TXS[:7])
    peer = lab.peer()
    lab.bench.receive(peer, lab.compact)
    lab.bench.receive(peer, BlockTxn(lab.hash, (TXS[7].raw,) * count))
    gone = lab.bench.disconnected(peer)
    assert gone is not None
    assert gone.discourage
    assert not lab.bench.protocol.block_queue()[0]


def test_transactions_that_nobody_asked_for_are_ignored(lab: Lab) -> None:
    peer = lab.peer()
    for block_hash in (lab.hash, bytes(32)):
        lab.bench.receive(peer, BlockTxn(block_hash, (TXS[7].raw,)))
        assert not lab.bench.disconnected(peer)
        assert not lab.bench.all(fx.ProcessBlock)


@pytest.mark.parametrize(
    "message",
    [
        lambda c: CmpctBlock(c.header, 7, (), ()),
        lambda c: CmpctBlock(c.header, 7, c.short_ids, (PrefilledTx(9, TXS[0].raw),)),
    ],
)
def test_what_describes_no_block_is_a_fault(lab: Lab, message: object) -> None:
    peer = lab.peer()
    lab.bench.receive(peer, message(lab.compact))  # type: ignore[operator]
    gone = lab.bench.disconnected(peer)
    assert gone is not None
    assert gone.discourage


def test_index_beyond_the_end_is_a_fault_as_bytes(lab: Lab) -> None:
    peer = lab.peer()
    lab.bench.step(ev.MalformedMessage(peer, ev.Malformation.LIMIT, "cmpctblock", "beyond the end"))
    assert lab.bench.disconnected(peer)


def test_invalid_block_is_not_held_against_who_passed_it_on(lab: Lab) -> None:
    lab.know(*TXS)
    peer = lab.peer()
    lab.bench.chain.invalid[lab.hash] = "bad-txns-inputs-missingorspent"
    lab.bench.receive(peer, lab.compact)
    lab.bench.finish_blocks()
    assert not lab.bench.disconnected(peer)
    lab.bench.receive(peer, lab.compact)
    assert not lab.bench.disconnected(peer)
    assert lab.tip() != lab.hash


def test_header_without_work_is_a_fault(lab: Lab) -> None:
    peer = lab.peer()
    header = lab.compact.header
    while int.from_bytes(header_hash(header), "little") >> 255 == 0:
        header = header[:76] + (int.from_bytes(header[76:], "little") + 1 & 0xFFFFFFFF).to_bytes(4, "little")
    lab.bench.receive(peer, CmpctBlock(header, 7, lab.compact.short_ids, lab.compact.prefilled))
    assert lab.bench.disconnected(peer)


# -- several peers ---------------------------------------------------------------------------------------------------


def test_up_to_three_peers_one_of_them_outbound(lab: Lab) -> None:
    inbound = [lab.peer() for _ in range(4)]
    outbound = lab.peer(ConnectionKind.OUTBOUND_FULL)
    for peer in (*inbound, outbound):
        lab.bench.state(peer).high_bandwidth_to = True
    asked = []
    for peer in inbound:
        lab.bench.receive(peer, lab.compact)
        asked += [peer] * len(lab.bench.sent(GetBlockTxn))
    assert asked == inbound[:2]  # the third slot is kept
    lab.bench.receive(outbound, lab.compact)
    assert lab.bench.sent(GetBlockTxn, outbound)
    assert lab.bench.protocol._download.requests.asked_of(lab.bench.chain.tree.find(lab.hash)) == [
        *inbound[:2],
        outbound,
    ]
    lab.bench.receive(outbound, BlockTxn(lab.hash, tuple(tx.raw for tx in TXS)))
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash
    assert not lab.bench.protocol.block_queue()[0]
    lab.bench.receive(inbound[0], BlockTxn(lab.hash, tuple(tx.raw for tx in TXS)))  # too late, no fault
    assert not lab.bench.disconnected(inbound[0])


def test_second_peer_only_if_it_announces_in_high_bandwidth_mode(lab: Lab) -> None:
    first, second = lab.peer(), lab.peer()
    lab.bench.receive(first, lab.compact)
    lab.bench.receive(second, lab.compact)
    assert not lab.bench.sent(GetBlockTxn)
    lab.know(*TXS)  # but what needs no round trip is welcome
    third = lab.peer()
    lab.bench.receive(third, lab.compact)
    lab.bench.finish_blocks()
    assert lab.tip() == lab.hash
    assert not lab.bench.protocol.block_queue()[0]


def test_the_next_peer_is_first_when_the_first_is_gone(lab: Lab) -> None:
    first, second = lab.peer(), lab.peer()
    lab.bench.state(second).high_bandwidth_to = True
    lab.bench.receive(first, lab.compact)
    lab.bench.receive(second, lab.compact)
    index = lab.bench.chain.tree.find(lab.hash)
    lab.bench.step(ev.PeerDisconnected(first))
    assert lab.bench.protocol._download.requests.asked_of(index) == [second]
    lab.bench.step(ev.PeerDisconnected(second))
    assert lab.bench.protocol._download.requests.asked_of(index) == []


# -- high-bandwidth peers --------------------------------------------------------------------------------------------


def deliver(lab: Lab, peer: int) -> None:
    """The peer brings the next block."""
    raw = lab.bench.chain.mine(lab.bench.chain.tree.time(lab.bench.chain.active.tip) + 1)
    lab.bench.receive(peer, compact_of(raw))
    lab.bench.finish_blocks()
    assert lab.tip() == header_hash(raw[:80])


def chosen(lab: Lab) -> list[int]:
    return [p for p in lab.bench.protocol.peer_ids() if lab.bench.state(p).high_bandwidth_to]


def test_the_last_three_that_brought_a_block(lab: Lab) -> None:
    peers = [lab.peer(ConnectionKind.OUTBOUND_FULL) for _ in range(4)]
    for peer in peers[:3]:
        deliver(lab, peer)
        assert lab.bench.sent(SendCmpct, peer) == [SendCmpct(True)]
    deliver(lab, peers[0])  # moves back to the end
    assert not lab.bench.sent(SendCmpct)
    deliver(lab, peers[3])
    assert lab.bench.sent(SendCmpct, peers[1]) == [SendCmpct(False)]
    assert lab.bench.sent(SendCmpct, peers[3]) == [SendCmpct(True)]
    assert chosen(lab) == [peers[0], peers[2], peers[3]]
    info = lab.bench.protocol.peer_info(peers[3])
    assert info is not None
    assert info["bip152_hb_to"] is True


def test_inbound_peers_do_not_replace_the_last_outbound_one(lab: Lab) -> None:
    outbound = lab.peer(ConnectionKind.OUTBOUND_FULL)
    inbound = [lab.peer() for _ in range(5)]
    for peer in (outbound, *inbound):
        deliver(lab, peer)
    assert chosen(lab) == [outbound, *inbound[-2:]]


# -- announcements by us ---------------------------------------------------------------------------------------------


def caught_up(lab: Lab, peer: int) -> None:
    """The peer asks for headers: it has all that we have."""
    lab.bench.receive(peer, GetHeaders((lab.tip(),)))


def raw_sent(lab: Lab, command: str, peer: int) -> list[bytes]:
    return [e.payload for e in lab.bench.all(fx.SendRaw) if e.command == command and e.peer_id == peer]


def test_new_block_goes_on_before_it_is_connected(lab: Lab) -> None:
    source, high, low = lab.peer(), lab.peer(high=True), lab.peer()
    for peer in (high, low):
        caught_up(lab, peer)
    lab.bench.receive(low, SendHeaders())
    index, _ = lab.bench.chain.tree.add(lab.block[:80], UNIX_START)
    lab.bench.chain.store(index, lab.block)
    lab.bench.step(ev.BlockAccepted(index, parse_block(lab.block)))
    (payload,) = raw_sent(lab, "cmpctblock", high)
    message = CmpctBlock.decode(payload)
    partial = PartialBlock(message)
    at_once(partial.collect(message, {}, by_wtxid(TXS)))
    assert partial.fill(()) == lab.block
    assert not raw_sent(lab, "cmpctblock", low)
    assert not raw_sent(lab, "cmpctblock", source)
    # its transactions are served at once, the block itself when it is valid
    lab.bench.receive(high, GetBlockTxn(lab.hash, (1, 8)))
    assert lab.bench.given(BlockTxn) == [BlockTxn(lab.hash, (TXS[0].raw, TXS[7].raw))]
    lab.bench.receive(high, full(lab.hash))
    assert not lab.bench.all(fx.ReadBlock)
    connected = lab.bench.chain.activate().connected
    lab.bench.step(ev.TipChanged(index, tuple(connected)))
    assert lab.bench.all(fx.ReadBlock) == [fx.ReadBlock(high, index)]
    assert lab.bench.sent(Headers, low)
    assert not raw_sent(lab, "cmpctblock", high)


def test_parts_of_a_block_that_is_about_to_be_stored_are_told(lab: Lab) -> None:
    """It was passed on before that, and who has it asks at once for what is missing."""
    high = lab.peer(high=True)
    caught_up(lab, high)
    index, _ = lab.bench.chain.tree.add(lab.block[:80], UNIX_START)
    lab.bench.receive(high, GetBlockTxn(lab.hash, (1,)))
    assert not lab.bench.given(BlockTxn)
    lab.bench.step(ev.BlockAccepted(index, parse_block(lab.block)))
    assert raw_sent(lab, "cmpctblock", high)
    lab.bench.receive(high, GetBlockTxn(lab.hash, (1,)))
    assert lab.bench.given(BlockTxn) == [BlockTxn(lab.hash, (TXS[0].raw,))]
    lab.bench.receive(high, full(lab.hash))
    assert not lab.bench.all(fx.ReadBlock)  # it is answered when the block is there and valid
    lab.bench.chain.store(index, lab.block)
    lab.bench.step(ev.TipChanged(index, tuple(lab.bench.chain.activate().connected)))
    assert lab.bench.all(fx.ReadBlock) == [fx.ReadBlock(high, index)]


def test_single_block_that_was_not_announced_goes_out_compact(lab: Lab) -> None:
    high = lab.peer(high=True)
    caught_up(lab, high)
    lab.bench.load([lab.block])
    (read,) = lab.bench.all(fx.ReadBlock)
    lab.bench.step(ev.BlockRead(high, read.index, lab.block))
    assert len(raw_sent(lab, "cmpctblock", high)) == 1


def test_announcements_that_wait_for_the_disk_never_become_whole_blocks(lab: Lab) -> None:
    """Many blocks in a moment, as in a reorganisation: nobody asked for a whole one."""
    high = lab.peer(high=True)
    caught_up(lab, high)
    raws: dict[bytes, bytes] = {}
    pending: list[fx.ReadBlock] = []
    for n in range(12):
        raw = lab.bench.chain.mine(UNIX_START - 5 + n)
        raws[header_hash(raw[:80])] = raw
        lab.bench.load([raw])
        pending += lab.bench.all(fx.ReadBlock)
    sent = 0
    for read in pending:  # grows
        lab.bench.step(ev.BlockRead(high, read.index, raws[lab.bench.chain.tree.hash(read.index)]))
        assert not raw_sent(lab, "block", high)
        sent += len(raw_sent(lab, "cmpctblock", high))
        pending += lab.bench.all(fx.ReadBlock)
    assert sent


# -- serving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "command"), [(0, "cmpctblock"), (5, "cmpctblock"), (6, "block")])
def test_compact_form_of_recent_blocks_only(lab: Lab, blocks: list[bytes], depth: int, command: str) -> None:
    peer = lab.peer()
    raw = blocks[-1 - depth]
    lab.bench.receive(peer, GetData((InvItem(MSG_CMPCT_BLOCK, header_hash(raw[:80])),)))
    (read,) = lab.bench.all(fx.ReadBlock)
    lab.bench.step(ev.BlockRead(peer, read.index, raw))
    assert len(raw_sent(lab, command, peer)) == 1
    lab.bench.receive(peer, GetData((InvItem(MSG_CMPCT_BLOCK, header_hash(raw[:80])),)))
    assert len(lab.bench.all(fx.ReadBlock)) == (command == "block")  # the compact form is kept


@pytest.mark.parametrize(("depth", "single"), [(0, True), (10, True), (11, False)])
def test_transactions_of_recent_blocks_only(lab: Lab, blocks: list[bytes], depth: int, single: bool) -> None:
    peer = lab.peer()
    raw = blocks[-1 - depth]
    lab.bench.receive(peer, GetBlockTxn(header_hash(raw[:80]), (0,)))
    (read,) = lab.bench.all(fx.ReadBlock)
    lab.bench.step(ev.BlockRead(peer, read.index, raw))
    assert len(lab.bench.given(BlockTxn)) == single
    assert len(raw_sent(lab, "block", peer)) == (not single)


def test_request_beyond_the_end_is_a_fault(lab: Lab, blocks: list[bytes]) -> None:
    peer = lab.peer()
    lab.bench.receive(peer, GetBlockTxn(header_hash(blocks[-1][:80]), (0, 1)))
    (read,) = lab.bench.all(fx.ReadBlock)
    lab.bench.step(ev.BlockRead(peer, read.index, blocks[-1]))
    assert lab.bench.disconnected(peer)


def test_request_for_an_unknown_block_is_ignored(lab: Lab) -> None:
    peer = lab.peer()
    lab.bench.receive(peer, GetBlockTxn(bytes(32), (0,)))
    assert not lab.bench.disconnected(peer)
    assert not lab.bench.given(BlockTxn)


def test_many_requests_at_once_are_bounded(lab: Lab, blocks: list[bytes]) -> None:
    peer = lab.peer()
    for raw in blocks[-10:]:
        lab.bench.receive(peer, GetBlockTxn(header_hash(raw[:80]), (0,)))
    serve = lab.bench.state(peer).serve
    assert len(serve.parts) + len(serve.queue) == 9
    assert len(serve.parts) <= 2


def test_orphans_fill_gaps(params: NetworkParams, blocks: list[bytes]) -> None:
    """A parent that only the miner had does not cost the child a way, too."""
    lab = Lab(params, blocks, extra=0)
    parent = spend([coin(90)], COIN_VALUE, 1000)
    child = spend([parent.txid + bytes(4)], COIN_VALUE - 1000, 1000)
    sender = lab.peer()
    lab.bench.receive(sender, TxMessage(child.raw))
    lab.bench.judge(lab.pool)
    assert lab.bench.protocol.spare_transactions() == {child.wtxid: child.raw}
    raw = lab.bench.chain.mine(UNIX_START - 10, txs=[parent, child])
    lab.bench.receive(lab.peer(high=True), compact_of(raw))
    assert [m.indexes for m in lab.bench.sent(GetBlockTxn)] == [(1,)]
