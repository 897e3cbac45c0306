from __future__ import annotations

import pytest

from btcnode.chain.block_status import HAVE_DATA
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol import limits
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import BlockRead, SendBufferState
from btcnode.protocol.limits import GETDATA_PAUSE, MAX_GETDATA_BYTES_PER_TURN, MAX_GETDATA_PER_TURN
from btcnode.settings.permissions import Permission
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, spend
from btcnode.wire.constants import (
    MSG_BLOCK,
    MSG_CMPCT_BLOCK,
    MSG_FILTERED_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_TX,
    MSG_WTX,
    NODE_NETWORK_LIMITED,
    NODE_WITNESS,
)
from btcnode.wire.messages import (
    FilterClear,
    GetBlocks,
    GetBlockTxn,
    GetCFCheckpt,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    InvItem,
    Mempool,
    NotFound,
    Ping,
    Pong,
    TxMessage,
)
from tests.lib.protocol_bench import Bench


def hash_of(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def answer(bench: Bench) -> None:
    """Read the block that the last effects ask for."""
    (read,) = bench.all(fx.ReadBlock)
    bench.step(BlockRead(read.peer_id, read.index, bench.chain.blocks[read.index]))


# -- headers -----------------------------------------------------------------------------------------------------


def test_headers_after_the_fork_point(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetHeaders((b"\x77" * 32, hash_of(blocks[9]), bench.params.genesis_hash)))
    (message,) = bench.sent(Headers)
    assert message.headers == tuple(raw[:80] for raw in blocks[10:])
    bench.receive(peer, GetHeaders((hash_of(blocks[9]),), hash_of(blocks[14])))
    (message,) = bench.sent(Headers)
    assert len(message.headers) == 5
    bench.receive(peer, GetHeaders((hash_of(blocks[-1]),)))
    assert bench.sent(Headers) == [Headers(())]


def test_at_most_two_thousand_headers(bench: Bench, old_blocks: list[bytes]) -> None:
    bench.load(old_blocks)
    peer = bench.peer()
    bench.receive(peer, GetHeaders((bench.params.genesis_hash,)))
    (message,) = bench.sent(Headers)
    assert len(message.headers) == 2000


def test_empty_locator_asks_for_one_header(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetHeaders((), hash_of(blocks[3])))
    (message,) = bench.sent(Headers)
    assert message.headers[0] == blocks[3][:80]
    bench.receive(peer, GetHeaders((), b"\x55" * 32))
    assert not bench.sent(Headers)


def test_no_headers_while_our_chain_has_too_little_work(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, minimum_chain_work=1000)
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetHeaders((params.genesis_hash,)))
    assert bench.sent(Headers) == [Headers(())]
    trusted = bench.peer(permissions=Permission.DOWNLOAD)
    bench.receive(trusted, GetHeaders((params.genesis_hash,)))
    assert len(bench.sent(Headers)[0].headers) == 60


@pytest.mark.parametrize("kind", [GetHeaders, GetBlocks])
def test_locator_beyond_the_limit(bench: Bench, kind: type[GetHeaders] | type[GetBlocks]) -> None:
    peer = bench.peer()
    bench.receive(peer, kind(tuple(bytes([i]) * 32 for i in range(102))))
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage


def test_stale_headers_are_shown_only_while_young_and_valid(params: NetworkParams) -> None:
    bench = Bench(params)
    old = mine_chain(params, 3, UNIX_START - 60 * 24 * 3600, extra=b"\x05")
    bench.load(old)
    young = mine_chain(params, 5, UNIX_START - 60)
    bench.load(young)  # reorganisation: the old blocks are stale, connected once
    peer = bench.peer()
    bench.receive(peer, GetHeaders((), hash_of(old[0])))
    assert not bench.sent(Headers)
    bench.receive(peer, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(old[0])),)))
    assert not bench.all(fx.ReadBlock)


# -- getblocks -----------------------------------------------------------------------------------------------------


def test_getblocks_and_its_continuation(bench: Bench, old_blocks: list[bytes]) -> None:
    bench.load(old_blocks)
    peer = bench.peer()
    bench.receive(peer, GetBlocks((bench.params.genesis_hash,)))
    (inv,) = bench.sent(Inv)
    assert [item.hash for item in inv.items] == [hash_of(raw) for raw in old_blocks[:500]]
    bench.receive(peer, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(old_blocks[499])),)))
    answer(bench)
    assert [e.command for e in bench.all(fx.SendRaw)] == ["block"]
    assert bench.sent(Inv) == [Inv((InvItem(MSG_BLOCK, hash_of(old_blocks[-1])),))]


def test_getblocks_floods_are_bounded(bench: Bench, old_blocks: list[bytes]) -> None:
    bench.load(old_blocks)
    peer = bench.peer()
    bench.state(peer).serve.inventory = [b"\x01" * 32] * 49_900
    bench.protocol._serving.on_getblocks(bench.state(peer), GetBlocks((bench.params.genesis_hash,)))
    assert len(bench.state(peer).serve.inventory) == 50_000


# -- getdata -------------------------------------------------------------------------------------------------------


def test_blocks_one_at_a_time_in_order(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetData(tuple(InvItem(MSG_WITNESS_BLOCK, hash_of(raw)) for raw in blocks[:3])))
    sent = []
    for _ in range(3):
        assert len(bench.all(fx.ReadBlock)) == 1
        answer(bench)
        sent += [e.payload for e in bench.all(fx.SendRaw)]
    assert sent == blocks[:3]
    assert not bench.all(fx.ReadBlock)


@pytest.mark.parametrize(("kind", "witness"), [(MSG_BLOCK, False), (MSG_WITNESS_BLOCK, True), (MSG_CMPCT_BLOCK, True)])
def test_witnesses_are_stripped_for_who_does_not_know_them(
    bench: Bench, blocks: list[bytes], kind: int, witness: bool
) -> None:
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetData((InvItem(kind, hash_of(blocks[0])),)))
    (read,) = bench.all(fx.ReadBlock)
    assert read.witness is witness


def test_parts_of_a_block_are_answered_by_the_whole(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetBlockTxn(hash_of(blocks[59]), (0,)))
    assert len(bench.all(fx.ReadBlock)) == 1


def test_of_transactions_only_it_is_told_that_they_are_not_here(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:3])
    peer = bench.peer()
    bench.receive(peer, Headers((blocks[3][:80],)))
    missing = InvItem(MSG_TX, b"\x0a" * 32)
    blocks_not_here = (InvItem(MSG_WITNESS_BLOCK, b"\x09" * 32), InvItem(MSG_BLOCK, hash_of(blocks[3])))
    bench.receive(peer, GetData((blocks_not_here[0], missing, blocks_not_here[1])))
    assert bench.sent(NotFound) == [NotFound((missing,))]
    bench.receive(peer, GetData(blocks_not_here))
    assert not bench.sent(NotFound)


def test_what_is_not_here_is_told_after_the_block_behind_it(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer()
    first, second = InvItem(MSG_TX, b"\x44" * 32), InvItem(MSG_WTX, b"\x45" * 32)
    items = (InvItem(MSG_BLOCK, b"\x33" * 32), first, InvItem(MSG_BLOCK, hash_of(blocks[59])), second)
    bench.receive(peer, GetData(items))
    bench.receive(peer, Ping(7))
    assert not bench.sent(NotFound)
    assert not bench.sent(Pong)
    bench.step(BlockRead(peer, 60, blocks[59]))
    sent = [e for e in bench.effects if isinstance(e, fx.Send | fx.SendRaw)]
    assert len(sent) == len([e for e in bench.effects if not isinstance(e, fx.Log)])
    told = [e.command if isinstance(e, fx.SendRaw) else e.message for e in sent]
    assert told == ["block", NotFound((first,)), NotFound((second,)), Pong(7)]


def test_transactions_that_are_not_here_are_told_in_one_message_for_each_run(bench: Bench) -> None:
    peer = bench.peer()
    items = tuple(InvItem(MSG_TX, bytes([number]) * 32) for number in range(5))
    unknown = InvItem(MSG_WITNESS_BLOCK, b"\x33" * 32)
    bench.receive(peer, GetData((*items[:3], unknown, *items[3:])))
    assert bench.sent(NotFound) == [NotFound(items[:3]), NotFound(items[3:])]


def test_unreadable_block_ends_the_connection_with_one_line(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(blocks[0])),)))
    bench.step(BlockRead(peer, 1, None))
    assert bench.disconnected(peer) is not None
    bench.step(BlockRead(peer, 1, None))  # an answer too many
    assert not bench.all(fx.Disconnect)


def test_transactions_by_txid_and_wtxid(params: NetworkParams) -> None:
    pool = SmallPool()
    tx = spend([coin(1)], COIN_VALUE, 1000, witness=b"w")
    bench = Bench(params, transactions=pool)
    peer = bench.peer()
    pool.add(tx)
    wanted = GetData((InvItem(MSG_WTX, tx.wtxid), InvItem(MSG_WITNESS_TX, tx.txid), InvItem(MSG_TX, tx.txid)))
    bench.receive(peer, wanted)
    assert bench.sent(NotFound) == [NotFound(wanted.items)]  # it was not told of anything yet
    bench.wait(60)
    bench.receive(peer, GetData((*wanted.items, InvItem(MSG_WTX, tx.txid))))
    assert [(e.command, e.payload) for e in bench.all(fx.SendRaw)] == [
        ("tx", tx.raw),
        ("tx", tx.raw),
        ("tx", tx.stripped()),
    ]
    assert bench.sent(NotFound) == [NotFound((InvItem(MSG_WTX, tx.txid),))]
    later = spend([coin(2)], COIN_VALUE, 1000)
    pool.add(later)
    bench.receive(peer, GetData((InvItem(MSG_WTX, later.wtxid),)))
    assert not bench.all(fx.SendRaw)


def test_peer_that_never_reads_costs_one_buffer(bench: Bench, blocks: list[bytes]) -> None:
    """CVE-2024-52915, CVE-2018-17145: 50,000 requests of a peer whose send buffer is full."""
    bench.load(blocks)
    peer = bench.peer()
    item = InvItem(MSG_WITNESS_BLOCK, hash_of(blocks[0]))
    bench.receive(peer, GetData((item,) * 50_000))
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, False)]
    assert len(bench.all(fx.ReadBlock)) == 1
    bench.step(SendBufferState(peer, True))
    bench.step(BlockRead(peer, 1, blocks[0]))
    assert len(bench.all(fx.SendRaw)) == 1
    assert not bench.all(fx.ReadBlock)
    bench.wait(10)
    assert not bench.all(fx.ReadBlock)
    bench.step(SendBufferState(peer, False))
    assert len(bench.all(fx.ReadBlock)) == 1
    bench.receive(peer, GetData((item,) * 50_000))
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage
    assert len(bench.state(peer).serve.queue) <= limits.MAX_GETDATA_QUEUE


def test_malformed_getdata_does_not_spin(bench: Bench) -> None:
    """CVE-2024-52920: unknown types are dropped, and the queue moves on."""
    peer = bench.peer()
    items = tuple(InvItem(kind, b"\x01" * 32) for kind in (0, 7, 99, MSG_FILTERED_BLOCK, 0xFFFFFFFF)) * 10
    bench.receive(peer, GetData((*items, InvItem(MSG_TX, b"\x02" * 32))))
    assert not bench.state(peer).serve.queue
    assert bench.sent(NotFound) == [NotFound((InvItem(MSG_TX, b"\x02" * 32),))]


def test_many_transactions_are_answered_in_turns(bench: Bench) -> None:
    peer = bench.peer()
    bench.turns_at_once = False
    bench.receive(peer, GetData(tuple(InvItem(MSG_TX, i.to_bytes(32, "little")) for i in range(2500))))
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, False)]
    left, told = len(bench.state(peer).serve.queue), 0
    assert left >= 2500 - MAX_GETDATA_PER_TURN
    while left:
        assert bench.all(fx.AskForTurn)
        bench.step(ev.PeerTurn(peer))
        now = len(bench.state(peer).serve.queue)
        assert 0 < left - now <= MAX_GETDATA_PER_TURN
        left = now
        told += sum(len(message.items) for message in bench.sent(NotFound))
        if bench.all(fx.SetReceiving):
            assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, True)]
            assert left <= GETDATA_PAUSE
    assert told == 2500
    assert not bench.all(fx.AskForTurn)


def test_a_turn_sends_a_bounded_number_of_bytes(params: NetworkParams, blocks: list[bytes]) -> None:
    """Requests of 36 bytes for large answers: whether the peer takes them is looked at before too much is queued."""
    pool = SmallPool()
    large = spend([coin(1)], COIN_VALUE, 100_000, witness=bytes(90_000))
    pool.add(large, 100_000)
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True), transactions=pool)
    bench.load(blocks)
    peer = bench.peer(wtxid_relay=True)
    bench.wait(60)
    bench.turns_at_once = False
    bench.receive(peer, GetData((InvItem(MSG_WTX, large.wtxid),) * 1000))
    sent = sum(len(e.payload) for e in bench.all(fx.SendRaw))
    assert 0 < sent <= MAX_GETDATA_BYTES_PER_TURN + len(large.raw)
    assert bench.all(fx.AskForTurn)
    bench.step(ev.SendBufferState(peer, True))
    bench.step(ev.PeerTurn(peer))
    assert not bench.all(fx.SendRaw)
    bench.step(ev.SendBufferState(peer, False))
    assert bench.all(fx.SendRaw)


def test_limited_node_serves_recent_blocks_only(params: NetworkParams) -> None:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, services=NODE_NETWORK_LIMITED | NODE_WITNESS)
    bench = Bench(params, config=config)
    chain = mine_chain(params, 300, UNIX_START - 60)
    bench.load(chain)
    peer = bench.peer()
    bench.receive(peer, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(chain[9])),)))
    assert bench.all(fx.ReadBlock)  # 290 deep
    other = bench.peer()
    bench.receive(other, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(chain[8])),)))
    assert bench.disconnected(other) is not None


def test_upload_target_spares_new_blocks(params: NetworkParams) -> None:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, upload_target=1)
    bench = Bench(params, config=config)
    chain = mine_chain(params, 1500, UNIX_START - 60)  # the first ones are older than a week
    bench.load(chain)
    recent, old, trusted = bench.peer(), bench.peer(), bench.peer(permissions=Permission.DOWNLOAD)
    bench.receive(recent, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(chain[-1])),)))
    answer(bench)
    bench.receive(old, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(chain[0])),)))
    assert bench.disconnected(old) is not None
    bench.receive(trusted, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(chain[0])),)))
    assert bench.all(fx.ReadBlock)
    bench.receive(recent, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(chain[-1])),)))
    answer(bench)
    assert bench.disconnected(recent) is None
    bench.receive(recent, GetData((InvItem(MSG_FILTERED_BLOCK, hash_of(chain[-1])),)))  # filtered ones count as old
    assert bench.disconnected(recent) is not None


def test_nothing_is_told_of_a_pruned_block(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    bench.chain.tree.columns.status[1] &= ~HAVE_DATA
    peer = bench.peer()
    bench.receive(peer, GetData((InvItem(MSG_WITNESS_BLOCK, hash_of(blocks[0])),)))
    assert not [e for e in bench.effects if not isinstance(e, fx.Log)]


# -- what we do not serve --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Mempool(), FilterClear(), GetCFCheckpt(0, bytes(32))])
def test_services_that_are_not_offered(bench: Bench, message: Mempool | FilterClear | GetCFCheckpt) -> None:
    peer = bench.peer()
    bench.receive(peer, message)
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage


def test_transactions_are_not_wanted(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, Inv((InvItem(MSG_TX, b"\x01" * 32),)))
    assert bench.disconnected(peer) is not None
    other = bench.peer()
    bench.receive(other, TxMessage(bytes(60)))
    assert bench.disconnected(other) is not None
    allowed = bench.peer(permissions=Permission.RELAY)
    bench.receive(allowed, Inv((InvItem(MSG_TX, b"\x01" * 32),)))
    bench.receive(allowed, TxMessage(bytes(60)))
    assert bench.disconnected(allowed) is None


def test_block_relay_peers_get_no_transactions(params: NetworkParams) -> None:
    pool = SmallPool()
    tx = spend([coin(1)], COIN_VALUE, 1000)
    pool.add(tx)
    bench = Bench(params, transactions=pool)
    peer = bench.peer(ConnectionKind.BLOCK_RELAY)
    bench.wait(60)
    bench.receive(peer, GetData((InvItem(MSG_WTX, tx.wtxid),)))
    assert not bench.all(fx.SendRaw)
    assert not bench.sent(NotFound)
