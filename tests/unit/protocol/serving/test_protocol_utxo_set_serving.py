"""getutxotree and getutxoset: answered to who speaks of them, one part at a time; what is not here is not answered."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.limits import MAX_UTXO_SET_MISSES, MAX_UTXO_SET_QUEUE
from btcnode.settings.permissions import Permission
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.messages import Feature, GetUtxoSet, GetUtxoTree, Ping, Pong, UtxoSetChunk, UtxoTree, Verack, Version
from tests.lib.protocol_bench import Bench


def make_bench(params: NetworkParams, blocks: list[bytes], *, speaks: bool = True, upload: int = 0) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, utxo_sets=speaks, upload_target=upload)
    bench = Bench(params, config=config)
    bench.load(blocks)
    return bench


@pytest.fixture
def bench(params: NetworkParams, blocks: list[bytes]) -> Bench:
    return make_bench(params, blocks)


def speaker(bench: Bench, permissions: Permission = Permission.NONE) -> int:
    peer = bench.connect(permissions=permissions)
    bench.receive(peer, Version(version=70017, services=9, time=UNIX_START, nonce=peer))
    bench.receive(peer, Feature(b"BIP452"))
    bench.receive(peer, Verack())
    return peer


def test_requests_are_read_and_answered(bench: Bench, blocks: list[bytes]) -> None:
    peer, name, index = speaker(bench), header_hash(blocks[4][:80]), bench.chain.active.at(5)
    bench.receive(peer, GetUtxoTree(name))
    assert bench.all(fx.ReadUtxoSet) == [fx.ReadUtxoSet(peer, index, GetUtxoTree(name))]
    tree = UtxoTree(name, 2, 5, bytes(32))
    bench.step(ev.UtxoSetRead(peer, index, tree.encode()))
    assert bench.given(UtxoTree) == [tree]
    bench.receive(peer, GetUtxoSet(name, 0))
    assert bench.all(fx.ReadUtxoSet) == [fx.ReadUtxoSet(peer, index, GetUtxoSet(name, 0))]
    chunk = UtxoSetChunk(name, 0, b"12345")
    bench.step(ev.UtxoSetRead(peer, index, chunk.encode()))
    assert bench.given(UtxoSetChunk) == [chunk]


def test_what_is_not_here_is_not_answered(bench: Bench, blocks: list[bytes]) -> None:
    peer = speaker(bench)
    bench.receive(peer, GetUtxoTree(b"?" * 32))
    assert not bench.all(fx.ReadUtxoSet) and not bench.all(fx.Send)
    bench.receive(peer, GetUtxoTree(header_hash(blocks[4][:80])))
    bench.step(ev.UtxoSetRead(peer, bench.chain.active.at(5), None))
    assert not bench.all(fx.Send) and not bench.all(fx.SendRaw) and not bench.disconnected(peer)


@pytest.mark.parametrize("known", [True, False])
def test_who_asks_for_what_is_not_here_without_end_is_disconnected(
    bench: Bench, blocks: list[bytes], *, known: bool
) -> None:
    peer, name = speaker(bench), header_hash(blocks[4][:80]) if known else b"?" * 32
    for n in range(MAX_UTXO_SET_MISSES + 1):
        assert not bench.disconnected(peer)
        bench.receive(peer, GetUtxoSet(name, n))
        if known:
            bench.step(ev.UtxoSetRead(peer, bench.chain.active.at(5), None))
    assert bench.disconnected(peer)


@pytest.mark.parametrize("speaks", [True, False])
def test_who_did_not_say_that_it_speaks_of_it_is_disconnected(
    params: NetworkParams, blocks: list[bytes], *, speaks: bool
) -> None:
    bench = make_bench(params, blocks, speaks=speaks)
    peer = bench.peer() if speaks else speaker(bench)
    bench.receive(peer, GetUtxoTree(header_hash(blocks[4][:80])))
    assert bench.disconnected(peer) and not bench.all(fx.ReadUtxoSet)


def test_one_at_a_time_and_few_wait(bench: Bench, blocks: list[bytes]) -> None:
    peer, name, index = speaker(bench), header_hash(blocks[4][:80]), bench.chain.active.at(5)
    reads = []
    for n in range(MAX_UTXO_SET_QUEUE):
        bench.receive(peer, GetUtxoSet(name, n))
        reads += bench.all(fx.ReadUtxoSet)
    assert len(reads) == 1
    assert fx.SetReceiving(peer, False) in bench.effects
    bench.step(ev.SendBufferState(peer, True))
    bench.step(ev.UtxoSetRead(peer, index, UtxoSetChunk(name, 0, b"x").encode()))
    assert bench.given(UtxoSetChunk) and not bench.all(fx.ReadUtxoSet)  # it does not take what it has
    bench.step(ev.SendBufferState(peer, False))
    assert bench.all(fx.ReadUtxoSet) == [fx.ReadUtxoSet(peer, index, GetUtxoSet(name, 1))]


def test_sets_count_as_old_blocks_in_the_days_upload(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = make_bench(params, blocks, upload=1)
    favoured, peer = speaker(bench, Permission.DOWNLOAD), speaker(bench)
    name = header_hash(blocks[-1][:80])
    bench.receive(favoured, GetUtxoSet(name, 0))
    assert bench.all(fx.ReadUtxoSet)
    bench.receive(peer, GetUtxoSet(name, 0))
    assert bench.disconnected(peer) and not bench.all(fx.ReadUtxoSet)


def test_a_pong_comes_after_the_answer(bench: Bench, blocks: list[bytes]) -> None:
    peer, name, index = speaker(bench), header_hash(blocks[4][:80]), bench.chain.active.at(5)
    bench.receive(peer, GetUtxoTree(name))
    bench.receive(peer, Ping(7))
    assert not bench.sent(Pong)
    bench.step(ev.UtxoSetRead(peer, index, UtxoTree(name, 2, 5, bytes(32)).encode()))
    assert bench.sent(Pong) == [Pong(7)]
