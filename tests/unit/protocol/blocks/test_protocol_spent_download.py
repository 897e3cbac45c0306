"""Asking for what blocks spend: of those who offer it, no more than is asked, and others when one fails."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.commands import DropSpent, FetchSpent, SpentJudged
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import LATE_EXPIRY, MAX_SPENT_PER_PEER, SIDE_LATE, SIDE_PATIENCE, SIDE_SILENCE
from btcnode.wire.constants import MSG_BLOCK_SPENT, NODE_BLOCK_UNDO, NODE_NETWORK, NODE_WITNESS
from btcnode.wire.messages import BlockSpent, GetBlockSpent, Headers, InvItem, NotFound
from tests.lib.protocol_bench import Bench

OFFERS = NODE_NETWORK | NODE_WITNESS | NODE_BLOCK_UNDO
COINS = b"\1" + bytes(11)


@pytest.fixture
def bench(params: NetworkParams, blocks: list[bytes]) -> Bench:
    bench = Bench(params)
    bench.load(blocks)
    return bench


def name(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def giver(bench: Bench, blocks: list[bytes], services: int = OFFERS) -> int:
    """A peer that has the whole chain."""
    peer = bench.peer(ConnectionKind.OUTBOUND_FULL, services=services)
    bench.receive(peer, Headers((blocks[-1][:80],)))
    return peer


def asked(bench: Bench, peer: int) -> list[bytes]:
    return [message.block_hash for message in bench.sent(GetBlockSpent, peer)]


def test_asked_of_who_offers_and_handed_over(bench: Bench, blocks: list[bytes]) -> None:
    plain, peer = giver(bench, blocks, NODE_NETWORK | NODE_WITNESS), giver(bench, blocks)
    first, second = bench.chain.active.span(1, 2)
    bench.step(FetchSpent((first, second, first)))
    assert asked(bench, plain) == []
    assert bench.sent(GetBlockSpent) == [GetBlockSpent(0, name(raw)) for raw in blocks[:2]]
    bench.receive(peer, BlockSpent(name(blocks[1]), COINS))
    assert bench.all(fx.TakeSpent) == [fx.TakeSpent(peer, second, COINS)]
    bench.step(FetchSpent((first,)))
    assert not bench.sent(GetBlockSpent)  # it is on its way


def test_when_nobody_offers_they_wait(bench: Bench, blocks: list[bytes]) -> None:
    bench.step(FetchSpent((bench.chain.active.at(3),)))
    assert not bench.sent(GetBlockSpent)
    peer = giver(bench, blocks)
    bench.wait(1)
    assert asked(bench, peer) == [name(blocks[2])]


@pytest.mark.parametrize("before", [False, True])
def test_what_was_not_asked_for_ends_the_connection(bench: Bench, blocks: list[bytes], before: bool) -> None:
    peer = giver(bench, blocks)
    if before:
        bench.step(FetchSpent((bench.chain.active.at(1),)))
        bench.receive(peer, BlockSpent(name(blocks[0]), COINS))
        assert bench.all(fx.TakeSpent)
    bench.receive(peer, BlockSpent(name(blocks[0]), COINS))
    assert bench.disconnected(peer)
    assert not bench.all(fx.TakeSpent)


def test_the_least_busy_is_asked_and_no_more_than_it_may_owe(bench: Bench, blocks: list[bytes]) -> None:
    peers = [giver(bench, blocks) for _ in range(2)]
    bench.step(FetchSpent(tuple(bench.chain.active.span(1, 10))))
    assert [len(asked(bench, peer)) for peer in peers] == [5, 5]
    alone = Bench(bench.params)
    alone.load(blocks)
    peer = giver(alone, blocks)
    alone.state(peer).spent.in_flight.update((10_000 + n, alone.now) for n in range(MAX_SPENT_PER_PEER - 3))
    alone.step(FetchSpent(tuple(alone.chain.active.span(1, 10))))
    assert asked(alone, peer) == [name(raw) for raw in blocks[:3]]


def test_who_does_not_have_them_says_so(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks)
    index = bench.chain.active.at(1)
    bench.step(FetchSpent((index,)))
    bench.receive(peer, NotFound((InvItem(MSG_BLOCK_SPENT, name(blocks[0])), InvItem(MSG_BLOCK_SPENT, b"?" * 32))))
    assert not bench.sent(GetBlockSpent)
    other = giver(bench, blocks)
    bench.wait(1)
    assert (asked(bench, peer), asked(bench, other)) == ([], [name(blocks[0])])
    assert not bench.disconnected(peer)


def test_who_goes_leaves_them_to_others(bench: Bench, blocks: list[bytes]) -> None:
    peers = [giver(bench, blocks) for _ in range(2)]
    bench.step(FetchSpent((bench.chain.active.at(1),)))
    first = next(peer for peer in peers if asked(bench, peer))
    bench.step(ev.PeerDisconnected(first))
    assert asked(bench, next(peer for peer in peers if peer != first)) == [name(blocks[0])]


def test_who_told_wrong_ones_is_not_asked_again(bench: Bench, blocks: list[bytes]) -> None:
    """Not even one that the user named, which stays connected."""
    peer = bench.peer(ConnectionKind.MANUAL, services=OFFERS)
    bench.receive(peer, Headers((blocks[-1][:80],)))
    first, second = bench.chain.active.span(1, 2)
    bench.step(FetchSpent((first, second)))
    bench.receive(peer, BlockSpent(name(blocks[0]), COINS))
    bench.step(SpentJudged(peer, first, "mandatory-script-verify-flag-failed"))
    assert not bench.disconnected(peer)
    bench.receive(peer, BlockSpent(name(blocks[1]), COINS))
    assert not bench.all(fx.TakeSpent)
    bench.step(FetchSpent((first,)))
    bench.wait(2 * LATE_EXPIRY, each=5)
    assert asked(bench, peer) == []
    other = giver(bench, blocks)
    bench.wait(1)
    assert asked(bench, other) == [name(blocks[0]), name(blocks[1])]
    bench.receive(other, BlockSpent(name(blocks[0]), COINS))
    bench.step(SpentJudged(other, first, "not again"))
    gone = bench.disconnected(other)
    assert gone is not None and gone.discourage
    bench.step(SpentJudged(99, first, "of nobody"))


def test_silence_moves_what_is_owed_and_ends_the_connection(bench: Bench, blocks: list[bytes]) -> None:
    silent = giver(bench, blocks)
    bench.step(FetchSpent(tuple(bench.chain.active.span(1, 3))))
    assert len(asked(bench, silent)) == 3
    bench.wait(SIDE_SILENCE + 2)
    assert not bench.disconnected(silent)
    other = giver(bench, blocks)
    bench.wait(2)
    assert asked(bench, other) == [name(raw) for raw in blocks[:3]]
    bench.receive(silent, BlockSpent(name(blocks[0]), COINS))  # late, and as good as the other's
    assert bench.all(fx.TakeSpent)
    bench.receive(other, BlockSpent(name(blocks[0]), COINS))
    assert not bench.all(fx.TakeSpent)
    assert not bench.disconnected(other)


def test_nobody_else_is_there(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks)
    bench.step(FetchSpent((bench.chain.active.at(1),)))
    bench.wait(SIDE_PATIENCE - 5)
    assert not bench.disconnected(peer)
    bench.wait(10)
    gone = bench.disconnected(peer)
    assert gone is not None and "spent coins" in gone.reason


def test_who_trickles_loses_the_oldest(bench: Bench, blocks: list[bytes]) -> None:
    slow, other = giver(bench, blocks), giver(bench, blocks)
    bench.step(FetchSpent(tuple(bench.chain.active.span(1, 20))))
    wanted = asked(bench, slow)
    for block_hash in asked(bench, other):
        bench.receive(other, BlockSpent(block_hash, COINS))
    moved = []
    for block_hash in reversed(wanted[-4:]):
        bench.wait(SIDE_SILENCE - 1)
        moved += asked(bench, other)
        bench.receive(slow, BlockSpent(block_hash, COINS))
    assert moved == wanted[:-3]
    assert SIDE_LATE < 4 * (SIDE_SILENCE - 1)


def test_what_is_not_wanted_any_more_may_still_come(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks)
    bench.step(FetchSpent(tuple(bench.chain.active.span(1, 60))))
    bench.step(DropSpent())
    bench.receive(peer, BlockSpent(name(blocks[0]), COINS))
    assert not bench.all(fx.TakeSpent) and not bench.disconnected(peer)
    bench.wait(SIDE_PATIENCE + 5)
    assert not bench.disconnected(peer)
    assert not bench.protocol._spent._asked


def test_a_stop_of_the_clock_is_nobodys_fault(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks)
    bench.step(FetchSpent((bench.chain.active.at(1),)))
    bench.wait(SIDE_PATIENCE + 10, each=SIDE_PATIENCE + 10)
    assert not bench.disconnected(peer)
