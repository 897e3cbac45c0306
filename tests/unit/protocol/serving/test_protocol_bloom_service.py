"""BIP37: filters of light clients, what they are told and served, and their faults."""

from __future__ import annotations

import pytest
from mmh3 import hash as murmur3

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.merkle_proof import read_proof
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.events import BlockMatched, Malformation, MalformedMessage, PeerTurn, TransactionAdded
from btcnode.protocol.serving.pieces import PIECE
from btcnode.script.scriptparse import push_data
from btcnode.settings.permissions import Permission
from btcnode.testing.small_pool import SmallPool
from btcnode.wire import bloom_filter
from btcnode.wire.bloom_filter import BloomFilter, make_filter
from btcnode.wire.constants import MSG_FILTERED_BLOCK, NODE_BLOOM
from btcnode.wire.messages import (
    FilterAdd,
    FilterClear,
    FilterLoad,
    GetData,
    Inv,
    InvItem,
    Mempool,
    MerkleBlock,
    Ping,
    Pong,
    Version,
)
from tests.lib.filtering import filter_block, match
from tests.lib.hostile.filters import worst_filter
from tests.lib.protocol_bench import Bench

WANTED = bytes(range(20))
EMPTY = FilterLoad(b"", 1, 0, 0)


def filter_of(*elements: bytes, flags: int = BloomFilter.UPDATE_ALL) -> BloomFilter:
    data, funcs = make_filter(elements, 7)
    return BloomFilter(data, funcs, 7, flags)


def load_of(*elements: bytes, flags: int = BloomFilter.UPDATE_ALL) -> FilterLoad:
    data, funcs = make_filter(elements, 7)
    return FilterLoad(data, funcs, 7, flags)


def tx(seed: int, script: bytes = b"\x51", *, prevout: bytes = b"", script_sig: bytes = b"") -> Tx:
    prevout = prevout or seed.to_bytes(4, "little") * 9
    return Tx(2, [prevout], [script_sig], [0], [(1000).to_bytes(8, "little") + bytes([len(script)]) + script])


@pytest.fixture
def pool() -> SmallPool:
    return SmallPool()


@pytest.fixture
def bench(params: NetworkParams, pool: SmallPool) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True, services=OWN_SERVICES | NODE_BLOOM)
    return Bench(params, config=config, transactions=pool)


def submit(bench: Bench, pool: SmallPool, added: Tx) -> None:
    pool.add(added)
    bench.step(TransactionAdded(added.txid, added.wtxid))


# -- matching --------------------------------------------------------------------------------------------------------


def test_what_matches() -> None:
    script = b"\xa9" + push_data(WANTED) + b"\x87"
    assert match(filter_of(WANTED), tx(1, script))
    assert not match(filter_of(WANTED), tx(1))
    one = tx(2)
    assert match(filter_of(one.txid), one)
    assert match(filter_of(one.prevouts[0]), one)
    assert match(filter_of(b"key"), tx(3, script_sig=push_data(b"key")))
    assert not match(filter_of(b"key"), tx(3, script_sig=b"\x05key"))  # a truncated push has no data


@pytest.mark.parametrize(
    ("flags", "script", "follows"),
    [
        (BloomFilter.UPDATE_NONE, b"\xa9\x14" + WANTED + b"\x87", False),
        (BloomFilter.UPDATE_ALL, b"\xa9\x14" + WANTED + b"\x87", True),
        (BloomFilter.UPDATE_PUBKEYS, b"\xa9\x14" + WANTED + b"\x87", False),
        (BloomFilter.UPDATE_PUBKEYS, b"\x21" + b"\x02" * 33 + b"\xac", True),
    ],
)
def test_spending_what_matched_matches_if_the_client_wants_that(flags: int, script: bytes, follows: bool) -> None:
    wanted = filter_of(WANTED, b"\x02" * 33, flags=flags)
    first = tx(1, script)
    assert match(wanted, first)
    assert match(wanted, tx(2, prevout=first.txid + bytes(4))) is follows


def test_cve_2013_5700_an_empty_filter_divides_by_nothing() -> None:
    empty = BloomFilter(b"", 1, 0, 0)
    empty.insert(b"a")
    assert b"a" in empty
    assert match(empty, tx(1))
    empty.merge(b"")


def test_a_block_is_filtered(blocks: list[bytes]) -> None:
    block = parse_block(blocks[5])
    found = filter_block(blocks[5], filter_of(block.txids[0]))
    root, proven = read_proof(found.proof.total_txs, found.proof.hashes, found.proof.flags)
    assert root == blocks[5][36:68]
    assert found.proof.header == blocks[5][:80]
    assert proven == [block.txids[0]]
    assert [Tx.parse(raw).txid for raw in found.transactions] == [block.txids[0]]
    assert not filter_block(blocks[5], filter_of(b"other")).transactions


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [EMPTY, FilterAdd(b"a"), FilterClear(), Mempool()])
def test_who_was_not_offered_the_service_is_disconnected(params: NetworkParams, message: FilterLoad) -> None:
    bench = Bench(params)
    peer = bench.peer()
    bench.receive(peer, message)
    end = bench.disconnected(peer)
    assert end is not None
    assert not end.discourage


def test_permission_offers_it_to_one_peer(params: NetworkParams, pool: SmallPool) -> None:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    bench = Bench(params, config=config, transactions=pool)
    peer = bench.connect(permissions=Permission.BLOOM_FILTER)
    bench.receive(peer, Version(version=70016, services=1, time=0, nonce=5, relay=False))
    (ours,) = bench.sent(Version, peer)
    assert ours.services & NODE_BLOOM
    bench.receive(peer, EMPTY)
    assert bench.disconnected(peer) is None


@pytest.mark.parametrize("command", ["filterload", "filteradd"])
def test_too_large_is_misbehaviour(bench: Bench, command: str) -> None:
    peer = bench.peer()
    bench.step(MalformedMessage(peer, Malformation.LIMIT, command, "too large"))
    end = bench.disconnected(peer)
    assert end is not None
    assert end.discourage


def test_filteradd_without_a_filter_is_misbehaviour(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, FilterAdd(b"a"))
    end = bench.disconnected(peer)
    assert end is not None
    assert end.discourage


def announced(bench: Bench, peer: int) -> list[bytes]:
    return [item.hash for inv in bench.sent(Inv, peer) for item in inv.items]


def test_only_what_matches_is_announced(bench: Bench, pool: SmallPool) -> None:
    peer = bench.peer(relay=False, permissions=Permission.NOBAN)
    wanted, other = tx(1, b"\xa9\x14" + WANTED + b"\x87"), tx(2)
    submit(bench, pool, other)
    bench.wait(10)
    assert not announced(bench, peer)  # relay=False: nothing before there is a filter
    bench.receive(peer, load_of(WANTED))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["relaytxes"]
    for each in (wanted, tx(3)):
        submit(bench, pool, each)
    bench.wait(10)
    assert announced(bench, peer) == [wanted.txid]
    bench.receive(peer, FilterClear())
    free = tx(4)
    submit(bench, pool, free)
    bench.wait(10)
    assert announced(bench, peer) == [free.txid]


def test_mempool_is_answered_in_small_portions(bench: Bench, pool: SmallPool) -> None:
    txs = [tx(n, b"\xa9\x14" + WANTED + b"\x87" if n % 100 == 0 else b"\x51") for n in range(1, 1001)]
    for each in txs:
        pool.add(each)
    peer = bench.peer()
    bench.receive(peer, load_of(WANTED, flags=BloomFilter.UPDATE_NONE))
    bench.receive(peer, Mempool())
    bench.wait(60)
    assert sorted(announced(bench, peer)) == sorted(t.txid for n, t in enumerate(txs, 1) if n % 100 == 0)


def test_matching_a_mempool_is_cut_in_pieces(bench: Bench, pool: SmallPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter of 50 functions, transactions that push thousands of things: a turn hashes a bounded number of times."""
    hashes = 0

    def counted(element: bytes, seed: int, *, signed: bool) -> int:
        nonlocal hashes
        hashes += 1
        return murmur3(element, seed, signed=signed)

    monkeypatch.setattr(bloom_filter, "murmur3", counted)
    heavy = [Tx(2, [bytes([n]) * 36], [b""], [0], [make_txout(0, b"\x6a" + b"\1a" * 5000)]) for n in range(3)]
    for each in heavy:
        pool.add(each, 10_000_000)
    bench.turns_at_once = False
    peer = bench.peer(permissions=Permission.NOBAN)
    bench.receive(peer, worst_filter([b"a", *(each.txid for each in heavy), *(each.prevouts[0] for each in heavy)]))
    bench.receive(peer, Mempool())
    bench.wait(0.1, each=0.1)
    hashes = most = turns = 0
    while any(isinstance(effect, fx.AskForTurn) for effect in bench.effects):
        before = hashes
        bench.step(PeerTurn(peer))
        most = max(most, hashes - before)
        turns += 1
    assert hashes >= 3 * 5000 * 50
    assert most <= 2 * PIECE * 50
    assert turns >= 3 * 5000 // PIECE


def test_a_filter_that_is_changed_meanwhile_decides(bench: Bench, pool: SmallPool) -> None:
    pushes = b"".join(push_data(n.to_bytes(3, "big")) for n in range(1000))
    pool.add(Tx(2, [bytes(36)], [b""], [0], [make_txout(0, b"\x6a" + pushes)]), 10_000_000)
    bench.turns_at_once = False
    peer = bench.peer(permissions=Permission.NOBAN)
    bench.receive(peer, FilterLoad(bytes(36_000), 7, 7, BloomFilter.UPDATE_NONE))
    bench.receive(peer, Mempool())
    bench.wait(0.1, each=0.1)
    bench.step(PeerTurn(peer))
    state = bench.state(peer).tx
    assert state is not None
    assert state.answer is not None  # under way
    wanted = BloomFilter(bytes(36_000), 7, 7, BloomFilter.UPDATE_NONE)
    wanted.insert((5).to_bytes(3, "big"))
    bench.receive(peer, FilterLoad(bytes(wanted.data), 7, 7, BloomFilter.UPDATE_NONE))
    while not bench.sent(Inv, peer):
        bench.step(PeerTurn(peer))
        assert bench.all(fx.AskForTurn) or bench.sent(Inv, peer)


def test_filtered_blocks(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:20])
    peer = bench.peer()
    hash_ = bench.chain.tree.hash(bench.chain.active.tip)
    request = GetData((InvItem(MSG_FILTERED_BLOCK, hash_),))
    bench.receive(peer, request)
    assert not bench.all(fx.MatchBlock)  # no filter, no answer
    coinbase = parse_block(blocks[19]).txids[0]
    bench.receive(peer, load_of(coinbase))
    bench.receive(peer, GetData(request.items * 2))
    (effect,) = bench.all(fx.MatchBlock)  # one at a time
    bench.receive(peer, FilterAdd(b"later"))
    bench.step(BlockMatched(peer, effect.index, filter_block(blocks[19], effect.filter)))
    sends = [e for e in bench.effects if isinstance(e, fx.Send | fx.SendRaw)]
    assert isinstance(sends[0], fx.Send)
    assert isinstance(sends[0].message, MerkleBlock)
    assert isinstance(sends[1], fx.SendRaw)
    assert sends[1].command == "tx"
    state = bench.state(peer).tx
    assert state is not None
    assert state.filter is not None
    assert b"later" in state.filter
    (again,) = bench.all(fx.MatchBlock)
    bench.receive(peer, FilterClear())
    bench.step(BlockMatched(peer, again.index, filter_block(blocks[19], again.filter)))
    bench.receive(peer, Ping(1))
    assert bench.sent(Pong, peer)


def test_a_block_that_cannot_be_read_ends_the_connection(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:20])
    peer = bench.peer()
    bench.receive(peer, EMPTY)
    bench.receive(peer, GetData((InvItem(MSG_FILTERED_BLOCK, bench.chain.tree.hash(bench.chain.active.tip)),)))
    (effect,) = bench.all(fx.MatchBlock)
    bench.step(BlockMatched(peer, effect.index, None))
    assert bench.disconnected(peer) is not None
