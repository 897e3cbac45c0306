"""BIP37: filters of light clients, what they are told and served, and their faults."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.merkle_proof import read_proof
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.events import BlockMatched, Malformation, MalformedMessage, TransactionAdded
from btcnode.protocol.limits import FILTERED_PER_TICK
from btcnode.protocol.serving.tx_filter import filter_block, match
from btcnode.script.scriptparse import push_data
from btcnode.settings.permissions import Permission
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
from tests.lib.protocol_bench import Bench
from tests.lib.small_pool import SmallPool

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
    assert len(txs) > 2 * FILTERED_PER_TICK


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
