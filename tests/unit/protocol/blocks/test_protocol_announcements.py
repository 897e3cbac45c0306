from __future__ import annotations

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import limits
from btcnode.protocol.events import TipChanged
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.constants import MSG_BLOCK, MSG_WITNESS_BLOCK
from btcnode.wire.messages import GetData, GetHeaders, Headers, Inv, InvItem, SendHeaders
from tests.lib.protocol_bench import Bench


def hash_of(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def block_inv(raw: bytes) -> Inv:
    return Inv((InvItem(MSG_BLOCK, hash_of(raw)),))


def test_by_headers_to_who_wants_them_and_has_the_parent(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    wants, knows_nothing, plain = bench.peer(), bench.peer(), bench.peer()
    bench.receive(wants, SendHeaders())
    bench.receive(knows_nothing, SendHeaders())
    for peer in (wants, plain):
        bench.receive(peer, GetHeaders((hash_of(blocks[9]),)))  # it has all that we have
    bench.load(blocks[10:12])
    assert bench.sent(Headers, wants) == [Headers((blocks[10][:80], blocks[11][:80]))]
    assert not bench.sent(Inv, wants)
    assert bench.sent(Inv, knows_nothing) == [block_inv(blocks[11])]
    assert bench.sent(Inv, plain) == [block_inv(blocks[11])]
    bench.load(blocks[12:13])
    assert bench.sent(Headers, wants) == [Headers((blocks[12][:80],))]


def test_not_to_who_announced_it(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, SendHeaders())
    bench.receive(peer, Headers((blocks[10][:80],)))
    bench.load(blocks[10:11])
    assert not bench.sent(Headers, peer)
    assert not bench.sent(Inv, peer)


def test_many_new_blocks_are_one_inv(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, SendHeaders())
    bench.receive(peer, GetHeaders((hash_of(blocks[9]),)))
    bench.load(blocks[10:30])
    assert not bench.sent(Headers, peer)
    assert bench.sent(Inv, peer) == [block_inv(blocks[29])]


def test_reorganisation_is_announced_from_the_fork(params: NetworkParams) -> None:
    bench = Bench(params)
    short = mine_chain(params, 3, UNIX_START - 60)
    bench.load(short)
    peer = bench.peer()
    bench.receive(peer, SendHeaders())
    bench.receive(peer, GetHeaders((hash_of(short[-1]),)))
    longer = mine_chain(params, 4, UNIX_START - 50, extra=b"\x09")
    bench.load(longer)
    assert bench.sent(Headers, peer) == [Headers(tuple(raw[:80] for raw in longer))]


def test_nothing_during_initial_download(bench: Bench, old_blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, SendHeaders())
    bench.load(old_blocks[:5])
    bench.wait(1)
    assert not bench.sent(Headers, peer)
    assert not bench.sent(Inv, peer)


def test_announcements_of_a_silent_handshake_are_bounded(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.connect()
    for i in range(100):
        bench.chain.active.set_tip(9 + i % 2)
        bench.step(TipChanged(9 + i % 2, ()))
    assert len(bench.state(peer).serve.announce) <= limits.MAX_QUEUED_ANNOUNCEMENTS


def test_inv_of_known_header_without_block_is_asked_for(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    first, second = bench.peer(), bench.peer()
    bench.receive(first, Headers((blocks[10][:80],)))
    assert bench.sent(GetData, first)
    bench.receive(second, block_inv(blocks[10]))
    assert bench.state(second).headers.best_known == 11
    assert not bench.sent(GetData, second)


def test_inv_of_what_we_have_is_silent(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, Headers(()))
    bench.receive(peer, block_inv(blocks[9]))
    assert not bench.sent(GetHeaders)
    assert not bench.sent(GetData)


def test_an_inv_of_a_block_with_the_witness_flag_means_nothing(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, Inv((InvItem(MSG_WITNESS_BLOCK, header_hash(blocks[8][:80])),)))
    assert bench.state(peer).headers.best_known < 0
    bench.receive(peer, block_inv(blocks[8]))
    assert bench.state(peer).headers.best_known == 9


def test_nothing_is_announced_on_the_way_between_branches(params: NetworkParams) -> None:
    bench = Bench(params)
    old, new = mine_chain(params, 12, UNIX_START - 60), mine_chain(params, 13, UNIX_START - 60, extra=b"\x09")
    bench.load(old)
    peer = bench.peer()
    indices = [bench.chain.add_block(raw, UNIX_START) for raw in new]
    for index in (0, *indices[:-1]):  # back to genesis, then up the other branch
        bench.chain.active.set_tip(index)
        bench.step(TipChanged(index, (index,)))
        assert not bench.sent(Inv, peer)
    bench.chain.active.set_tip(indices[-1])
    bench.step(TipChanged(indices[-1], (indices[-1],)))
    assert bench.sent(Inv, peer) == [block_inv(new[-1])]
