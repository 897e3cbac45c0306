"""getbspent: what blocks spend is told to whoever asks, one block at a time, and never more than a message takes."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.limits import MAX_SPENT_QUEUE
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.constants import MSG_BLOCK_SPENT, NODE_BLOCK_UNDO, NODE_NETWORK
from btcnode.wire.messages import BlockSpent, GetBlockSpent, InvItem, NotFound, Ping, Pong
from tests.lib.protocol_bench import Bench

COINS = b"\1" + bytes(11)


def make_bench(params: NetworkParams, blocks: list[bytes], services: int, upload: int = 0) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, services=services, upload_target=upload)
    bench = Bench(params, config=config)
    bench.load(blocks)
    for index in bench.chain.active.span(1, len(blocks) - 1):  # all but the tip
        bench.chain.tree.set_undo(index, 1)
    return bench


@pytest.fixture
def bench(params: NetworkParams, blocks: list[bytes]) -> Bench:
    return make_bench(params, blocks, OWN_SERVICES | NODE_BLOCK_UNDO)


def name(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def not_found(raw: bytes) -> NotFound:
    return NotFound((InvItem(MSG_BLOCK_SPENT, name(raw)),))


def test_a_request_is_read_and_answered(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(0, name(blocks[4]), 3))
    index = bench.chain.active.at(5)
    assert bench.all(fx.ReadSpent) == [fx.ReadSpent(peer, index, 3)]
    bench.step(ev.SpentRead(peer, index, COINS))
    assert bench.given(BlockSpent) == [BlockSpent(name(blocks[4]), COINS)]


def test_what_is_not_here_is_not_found(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(0, name(blocks[-1])))  # no undo data of it
    assert bench.sent(NotFound) == [not_found(blocks[-1])]
    bench.receive(peer, GetBlockSpent(0, b"?" * 32))
    assert bench.sent(NotFound) == [NotFound((InvItem(MSG_BLOCK_SPENT, b"?" * 32),))]
    for coins in (None, bytes(4_000_000)):  # cannot be read; does not fit
        bench.receive(peer, GetBlockSpent(0, name(blocks[4])))
        bench.step(ev.SpentRead(peer, bench.chain.active.at(5), coins))
        assert bench.sent(NotFound) == [not_found(blocks[4])]
    bench.receive(peer, GetBlockSpent(0, name(blocks[4])))
    bench.step(ev.SpentRead(peer, bench.chain.active.at(5), bytes(3_999_968)))
    assert len(bench.all(fx.SendRaw)[0].payload) == 4_000_000
    assert not bench.disconnected(peer)


@pytest.mark.parametrize(("services", "version"), [(OWN_SERVICES, 0), (OWN_SERVICES | NODE_BLOCK_UNDO, 1)])
def test_what_nobody_offered(params: NetworkParams, blocks: list[bytes], services: int, version: int) -> None:
    bench = make_bench(params, blocks, services)
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(version, name(blocks[4])))
    assert bench.disconnected(peer)
    assert not bench.all(fx.ReadSpent)


def test_one_at_a_time_and_no_more_than_the_queue_takes(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    reads, pauses = [], []
    for n in range(MAX_SPENT_QUEUE + 5):
        bench.receive(peer, GetBlockSpent(0, name(blocks[n % 5])))
        reads += bench.all(fx.ReadSpent)
        pauses += bench.all(fx.SetReceiving)
    assert len(reads) == 1
    assert pauses == [fx.SetReceiving(peer, False)]
    answers = 0
    while reads:
        effect = reads.pop(0)
        bench.step(ev.SpentRead(peer, effect.index, COINS))
        answers += len(bench.given(BlockSpent))
        reads += bench.all(fx.ReadSpent)
        pauses += bench.all(fx.SetReceiving)
    assert answers == MAX_SPENT_QUEUE + 5
    assert pauses == [fx.SetReceiving(peer, False), fx.SetReceiving(peer, True)]


def test_nothing_is_read_for_a_peer_that_does_not_read(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.step(ev.SendBufferState(peer, True))
    bench.receive(peer, GetBlockSpent(0, name(blocks[4])))
    assert not bench.all(fx.ReadSpent)
    bench.step(ev.SendBufferState(peer, False))
    assert len(bench.all(fx.ReadSpent)) == 1


def test_an_answer_for_a_peer_that_has_gone(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(0, name(blocks[4])))
    bench.step(ev.PeerDisconnected(peer))
    bench.step(ev.SpentRead(peer, bench.chain.active.at(5), COINS))
    assert not bench.all(fx.SendRaw)


def test_a_node_that_prunes_does_not_show_what_it_has_below(params: NetworkParams, old_blocks: list[bytes]) -> None:
    bench = make_bench(params, old_blocks[:300], OWN_SERVICES & ~NODE_NETWORK | NODE_BLOCK_UNDO)
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(0, name(old_blocks[2])))
    assert bench.sent(NotFound) == [not_found(old_blocks[2])]
    bench.receive(peer, GetBlockSpent(0, name(old_blocks[20])))
    assert len(bench.all(fx.ReadSpent)) == 1


def test_old_blocks_count_against_the_upload_target(params: NetworkParams, old_blocks: list[bytes]) -> None:
    bench = make_bench(params, old_blocks, OWN_SERVICES | NODE_BLOCK_UNDO, upload=1)
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(0, name(old_blocks[-100])))
    bench.step(ev.SpentRead(peer, bench.chain.active.at(2201), COINS))
    assert bench.protocol.upload.reached(int(UNIX_START), historical=True)
    bench.receive(peer, GetBlockSpent(0, name(old_blocks[0])))
    assert not bench.all(fx.ReadSpent)
    assert bench.disconnected(peer)


@pytest.mark.parametrize("coins", [COINS, None])
def test_a_pong_comes_after_the_answer(bench: Bench, blocks: list[bytes], coins: bytes | None) -> None:
    peer = bench.peer()
    bench.receive(peer, GetBlockSpent(0, name(blocks[4]), 3))
    bench.receive(peer, Ping(7))
    assert not bench.sent(Pong)
    bench.step(ev.SpentRead(peer, bench.chain.active.at(5), coins))
    assert bench.sent(Pong) == [Pong(7)]
