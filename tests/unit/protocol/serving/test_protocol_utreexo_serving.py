"""getuproof and geturoot: answered to whoever asks, one block at a time, and never more than a message takes."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.limits import MAX_UTREEXO_QUEUE
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.codec import LimitExceeded
from btcnode.wire.constants import MSG_UTREEXO_PROOF, NODE_NETWORK, NODE_UTREEXO_ARCHIVE
from btcnode.wire.messages import (
    GetUtreexoProof,
    GetUtreexoRoot,
    InvItem,
    NotFound,
    Ping,
    Pong,
    UtreexoProof,
    UtreexoRoot,
)
from btcnode.wire.messages.utreexo import ALL_HASHES, ALL_LEAVES, ALL_TARGETS
from tests.lib.protocol_bench import Bench


def make_bench(params: NetworkParams, blocks: list[bytes], services: int, upload: int = 0) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, services=services, upload_target=upload)
    bench = Bench(params, config=config)
    bench.load(blocks)
    return bench


@pytest.fixture
def bench(params: NetworkParams, blocks: list[bytes]) -> Bench:
    return make_bench(params, blocks, OWN_SERVICES | NODE_UTREEXO_ARCHIVE)


def name(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def not_found(raw: bytes) -> NotFound:
    return NotFound((InvItem(MSG_UTREEXO_PROOF, name(raw)),))


def answer(raw: bytes) -> bytes:
    return UtreexoProof(name(raw), b"\0\0\0").encode()


def test_requests_are_read_and_answered(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    request = GetUtreexoProof(name(blocks[4]), ALL_HASHES, b"\x01", b"\x02")
    bench.receive(peer, request)
    index = bench.chain.active.at(5)
    assert bench.all(fx.ReadUtreexo) == [fx.ReadUtreexo(peer, index, request)]
    bench.step(ev.UtreexoRead(peer, index, answer(blocks[4])))
    assert bench.given(UtreexoProof) == [UtreexoProof(name(blocks[4]), b"\0\0\0")]
    bench.receive(peer, GetUtreexoRoot(name(blocks[4])))
    roots = UtreexoRoot(3, 0, name(blocks[4]), (b"\x01" * 32, bytes(32)))
    bench.step(ev.UtreexoRead(peer, index, roots.encode()))
    assert bench.given(UtreexoRoot) == [roots]


def test_what_is_not_here_is_not_found(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, GetUtreexoRoot(b"?" * 32))
    assert bench.sent(NotFound) == [NotFound((InvItem(MSG_UTREEXO_PROOF, b"?" * 32),))]
    for payload in (None, bytes(4_000_001)):  # not indexed; does not fit
        bench.receive(peer, GetUtreexoProof(name(blocks[4])))
        bench.step(ev.UtreexoRead(peer, bench.chain.active.at(5), payload))
        assert bench.sent(NotFound) == [not_found(blocks[4])]
    bench.receive(peer, GetUtreexoProof(name(blocks[4])))
    bench.step(ev.UtreexoRead(peer, bench.chain.active.at(5), bytes(4_000_000)))
    assert len(bench.all(fx.SendRaw)[0].payload) == 4_000_000
    assert not bench.disconnected(peer)


@pytest.mark.parametrize("kind", [GetUtreexoProof, GetUtreexoRoot])
def test_what_nobody_offered(
    params: NetworkParams, blocks: list[bytes], kind: type[GetUtreexoProof | GetUtreexoRoot]
) -> None:
    bench = make_bench(params, blocks, OWN_SERVICES)
    peer = bench.peer()
    bench.receive(peer, kind(name(blocks[4])))
    assert bench.disconnected(peer)
    assert not bench.all(fx.ReadUtreexo)


def test_one_at_a_time_and_no_more_than_the_queue_takes(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    reads, pauses = [], []
    for n in range(MAX_UTREEXO_QUEUE + 5):
        bench.receive(peer, GetUtreexoProof(name(blocks[n % 5])))
        reads += bench.all(fx.ReadUtreexo)
        pauses += bench.all(fx.SetReceiving)
    assert len(reads) == 1
    assert pauses == [fx.SetReceiving(peer, False)]
    answers = 0
    while reads:
        effect = reads.pop(0)
        bench.step(ev.UtreexoRead(peer, effect.index, answer(blocks[0])))
        answers += len(bench.given(UtreexoProof))
        reads += bench.all(fx.ReadUtreexo)
        pauses += bench.all(fx.SetReceiving)
    assert answers == MAX_UTREEXO_QUEUE + 5
    assert pauses == [fx.SetReceiving(peer, False), fx.SetReceiving(peer, True)]


def test_nothing_is_read_for_a_peer_that_does_not_read_or_has_gone(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.step(ev.SendBufferState(peer, True))
    bench.receive(peer, GetUtreexoProof(name(blocks[4])))
    assert not bench.all(fx.ReadUtreexo)
    bench.step(ev.SendBufferState(peer, False))
    assert len(bench.all(fx.ReadUtreexo)) == 1
    bench.step(ev.PeerDisconnected(peer))
    bench.step(ev.UtreexoRead(peer, bench.chain.active.at(5), answer(blocks[4])))
    assert not bench.all(fx.SendRaw)


def test_a_node_that_prunes_does_not_show_what_it_has_below(params: NetworkParams, old_blocks: list[bytes]) -> None:
    bench = make_bench(params, old_blocks[:300], OWN_SERVICES & ~NODE_NETWORK | NODE_UTREEXO_ARCHIVE)
    peer = bench.peer()
    bench.receive(peer, GetUtreexoProof(name(old_blocks[2])))
    assert bench.sent(NotFound) == [not_found(old_blocks[2])]
    bench.receive(peer, GetUtreexoProof(name(old_blocks[20])))
    assert len(bench.all(fx.ReadUtreexo)) == 1


def test_old_blocks_count_against_the_upload_target(params: NetworkParams, old_blocks: list[bytes]) -> None:
    bench = make_bench(params, old_blocks, OWN_SERVICES | NODE_UTREEXO_ARCHIVE, upload=1)
    peer = bench.peer()
    bench.receive(peer, GetUtreexoProof(name(old_blocks[-100])))
    bench.step(ev.UtreexoRead(peer, bench.chain.active.at(2201), answer(old_blocks[-100])))
    assert bench.protocol.upload.reached(int(UNIX_START), historical=True)
    bench.receive(peer, GetUtreexoProof(name(old_blocks[0])))
    assert not bench.all(fx.ReadUtreexo)
    assert bench.disconnected(peer)


def test_parts_of_a_request() -> None:
    """utreexod has bits there, BIP 183 a boolean for all of it."""
    everything = ALL_TARGETS | ALL_HASHES | ALL_LEAVES
    assert GetUtreexoProof(bytes(32)).wants == GetUtreexoProof(bytes(32), 1).wants == everything
    assert GetUtreexoProof(bytes(32), 1, b"\x01").wants == ALL_TARGETS
    assert GetUtreexoProof(bytes(32), 0xFE).wants == ALL_HASHES | ALL_LEAVES
    for payload in (
        bytes(33) + b"\xfe\xff\xff\xff\x00",
        bytes(33) + b"\x00\xfd\x00\x20",
    ):
        with pytest.raises(LimitExceeded):
            GetUtreexoProof.decode(payload)


def test_a_pong_comes_after_the_answer(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, GetUtreexoProof(name(blocks[4]), ALL_HASHES, b"\x01", b"\x02"))
    bench.receive(peer, Ping(7))
    assert not bench.sent(Pong)
    bench.step(ev.UtreexoRead(peer, bench.chain.active.at(5), answer(blocks[4])))
    assert bench.sent(Pong) == [Pong(7)]
