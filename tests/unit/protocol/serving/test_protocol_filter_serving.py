"""BIP157: block filters to light clients, however many they ask for at a time."""

from __future__ import annotations

import pytest

from btcnode.indexes.filters import BlockFilter
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.peer_states import PeerState
from btcnode.protocol.serving.filter_serving import MAX_WAITING
from btcnode.wire.constants import NODE_COMPACT_FILTERS
from btcnode.wire.messages import CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters, Ping, Pong
from tests.lib.protocol_bench import Bench


@pytest.fixture
def bench(params: NetworkParams, blocks: list[bytes]) -> Bench:
    bench = Bench(
        params,
        config=ProtocolConfig(dns_seed=False, no_automatic=True, services=OWN_SERVICES | NODE_COMPACT_FILTERS),
    )
    bench.load(blocks)
    return bench


def filter_of(index: int) -> BlockFilter:
    return BlockFilter(index.to_bytes(32, "big"), index.to_bytes(32, "little"), b"f%d" % index)


def read(bench: Bench, effect: fx.ReadFilters) -> None:
    found = tuple(filter_of(index) for index in effect.indices)
    bench.step(ev.FiltersRead(effect.peer_id, effect.indices, found))


def test_forty_requests_in_a_row_are_answered(bench: Bench, blocks: list[bytes]) -> None:
    """As bitcoind does; meanwhile no more is read from the peer."""
    peer = bench.peer()
    tip, height = header_hash(blocks[-1][:80]), len(blocks)
    pauses, waiting = [], []
    for n in range(40):
        bench.receive(peer, GetCFHeaders(0, n, tip))
        pauses += bench.all(fx.SetReceiving)
        waiting += bench.all(fx.ReadFilters)
    assert not bench.disconnected(peer)
    assert pauses == [fx.SetReceiving(peer, False)]
    assert len(waiting) == 1  # one at a time
    answers = []
    while waiting:
        (effect,) = waiting
        assert not effect.data
        read(bench, effect)
        answers += bench.sent(CFHeaders)
        pauses += bench.all(fx.SetReceiving)
        waiting = bench.all(fx.ReadFilters)
    assert [len(answer.filter_hashes) for answer in answers] == [height - n + 1 for n in range(40)]
    assert pauses == [fx.SetReceiving(peer, False), fx.SetReceiving(peer, True)]


def test_reading_goes_on_when_half_is_answered(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, GetCFHeaders(0, 1, header_hash(blocks[-1][:80])))
    (effect,) = bench.all(fx.ReadFilters)
    for _ in range(MAX_WAITING - 1):
        bench.receive(peer, GetCFHeaders(0, 1, header_hash(blocks[-1][:80])))
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, False)]
    answered = 0
    while not bench.all(fx.SetReceiving) or not answered:
        read(bench, effect)
        answered += 1
        (effect,) = bench.all(fx.ReadFilters)
    assert answered == MAX_WAITING // 2


def test_headers_of_filters_are_those_of_the_chain(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    tree, tip = bench.chain.tree, header_hash(blocks[19][:80])
    bench.receive(peer, GetCFHeaders(0, 5, tip))
    (effect,) = bench.all(fx.ReadFilters)
    assert [tree.height(index) for index in effect.indices] == list(range(4, 21))
    read(bench, effect)
    (answer,) = bench.sent(CFHeaders)
    assert answer.previous_header == filter_of(effect.indices[0]).header
    assert answer.filter_hashes == tuple(filter_of(index).hash for index in effect.indices[1:])
    bench.receive(peer, GetCFilters(0, 18, tip))
    (effect,) = bench.all(fx.ReadFilters)
    assert effect.data
    read(bench, effect)
    assert [message.filter for message in bench.sent(CFilter)] == [filter_of(i).data for i in effect.indices]
    bench.receive(peer, GetCFCheckpt(0, tip))
    (effect,) = bench.all(fx.ReadFilters)
    read(bench, effect)
    assert bench.sent(CFCheckpt) == [CFCheckpt(0, tip, ())]


def test_a_pong_comes_after_the_filters_that_were_asked_for_before(bench: Bench, blocks: list[bytes]) -> None:
    """Core's order, which light clients and its functional tests rely on; later requests do not keep it waiting."""
    peer, tip = bench.peer(), header_hash(blocks[-1][:80])
    bench.receive(peer, GetCFCheckpt(0, tip))
    (first,) = bench.all(fx.ReadFilters)
    bench.receive(peer, GetCFHeaders(0, 1, tip))
    bench.receive(peer, Ping(7))
    bench.receive(peer, GetCFHeaders(0, 2, tip))
    assert not bench.sent(Pong)
    read(bench, first)
    assert not bench.sent(Pong)
    (second,) = bench.all(fx.ReadFilters)
    read(bench, second)
    told = [effect.message for effect in bench.effects if isinstance(effect, fx.Send)]
    assert [type(message) for message in told] == [CFHeaders, Pong]


def test_a_peer_that_was_silent_meanwhile_gets_its_filters_when_it_is_heard_of(
    bench: Bench, blocks: list[bytes]
) -> None:
    peer, tip = bench.peer(), header_hash(blocks[-1][:80])
    bench.receive(peer, GetCFHeaders(0, 1, tip))
    (effect,) = bench.all(fx.ReadFilters)
    bench.wait(250, pongs=False)
    assert bench.state(peer).state is PeerState.DEGRADED
    read(bench, effect)
    assert not bench.sent(CFHeaders)
    bench.receive(peer, Ping(7))
    (effect,) = bench.all(fx.ReadFilters)
    assert not bench.sent(Pong)
    read(bench, effect)
    assert bench.sent(CFHeaders)
    assert bench.sent(Pong) == [Pong(7)]
