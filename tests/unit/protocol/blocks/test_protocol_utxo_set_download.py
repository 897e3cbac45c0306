"""A UTXO set of many peers: asked for chunk by chunk of those who have it, liars named, who leaves is replaced."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.chunk_tree import CHUNK_SIZE
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.commands import DropUtxoSet, FetchUtxoChunks, FetchUtxoSet, UtxoChunkJudged
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import (
    MAX_UTXO_CHUNKS,
    UTXO_CHUNK_LATE,
    UTXO_CHUNK_PATIENCE,
    UTXO_LOOK_INTERVAL,
    UTXO_TREE_AGAIN,
    UTXO_TREE_PATIENCE,
    UTXO_TREES_AT_ONCE,
)
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.constants import NODE_NETWORK, NODE_UTXO_SET, NODE_WITNESS
from btcnode.wire.messages import Feature, GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree, Verack, Version
from btcnode.wire.netaddr import NetAddress
from tests.lib.protocol_bench import Bench

NAME = b"\x07" * 32
TREE = UtxoTree(NAME, 2, 9 * CHUNK_SIZE, bytes(n % 251 for n in range(9 * 32)))
OTHER = UtxoTree(NAME, 2, CHUNK_SIZE, bytes(32))


@pytest.fixture
def bench(params: NetworkParams) -> Bench:
    return Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, utxo_sets=True))


def speaker(
    bench: Bench,
    kind: ConnectionKind = ConnectionKind.INBOUND,
    *,
    services: int = NODE_NETWORK | NODE_WITNESS | NODE_UTXO_SET,
    address: NetAddress | None = None,
    feature: bytes = b"BIP452",
) -> int:
    """A peer that says that it speaks of UTXO sets."""
    peer = bench.connect(kind, address=address)
    bench.receive(peer, Version(version=70017, services=services, time=UNIX_START, nonce=peer))
    bench.receive(peer, Feature(feature))
    bench.receive(peer, Verack())
    return peer


def begun(bench: Bench, count: int, chunks: tuple[int, ...] = tuple(range(9))) -> list[int]:
    """So many peers that have told the right hashes, and are asked for chunks."""
    peers = [speaker(bench) for _ in range(count)]
    bench.step(FetchUtxoSet(NAME, TREE.root))
    assert bench.sent(GetUtxoTree) == [GetUtxoTree(NAME)] * count
    for peer in peers:
        bench.receive(peer, TREE)
        assert bench.all(fx.TakeUtxoTree) == ([fx.TakeUtxoTree(peer, TREE)] if peer == peers[0] else [])
    bench.step(FetchUtxoChunks(TREE, chunks))
    return peers


def asked(bench: Bench, peer: int) -> list[int]:
    return [message.chunk for message in bench.sent(GetUtxoSet, peer)]


def tell(bench: Bench, peer: int, chunk: int, *, stored: bool = True, wrong: bool = False) -> None:
    """A peer tells a chunk, and it is judged."""
    bench.receive(peer, UtxoSetChunk(NAME, chunk, b"data"))
    assert bench.all(fx.TakeUtxoChunk) == [fx.TakeUtxoChunk(peer, chunk, b"data")]
    bench.step(UtxoChunkJudged(peer, chunk, stored, wrong))


def test_a_set_is_fetched_of_several_at_once(bench: Bench) -> None:
    first, second = begun(bench, 2)
    assert (asked(bench, first), asked(bench, second)) == ([0], [1])
    bench.receive(second, UtxoSetChunk(NAME, 1, b"data"))
    assert asked(bench, second) == [2]  # the next one is on its way while this one is written
    bench.step(UtxoChunkJudged(second, 1, stored=True))
    seen = [0, 1, 2]
    for peer, chunk in ((first, 0), (second, 2), (first, 3), (second, 4), (first, 5), (second, 6), (first, 7)):
        bench.receive(peer, UtxoSetChunk(NAME, chunk, b"data"))
        seen += asked(bench, peer)
        bench.step(UtxoChunkJudged(peer, chunk, stored=True))
    assert seen == list(range(9))


def test_memory_bounds_what_is_on_its_way(bench: Bench) -> None:
    peers = begun(bench, UTXO_TREES_AT_ONCE)
    assert sum(len(asked(bench, peer)) for peer in peers) == MAX_UTXO_CHUNKS
    bench.receive(peers[0], UtxoSetChunk(NAME, 0, b"data"))
    assert not bench.sent(GetUtxoSet)  # it is not written yet
    bench.step(UtxoChunkJudged(peers[0], 0, stored=True))
    assert len(bench.sent(GetUtxoSet)) == 1


def test_who_does_not_speak_of_it_is_not_asked(bench: Bench) -> None:
    bench.peer(services=NODE_NETWORK | NODE_WITNESS | NODE_UTXO_SET)
    speaker(bench, feature=b"BIP999")
    bench.step(FetchUtxoSet(NAME, TREE.root))
    assert not bench.sent(GetUtxoTree)
    late = speaker(bench)
    assert not bench.sent(GetUtxoTree)
    bench.wait(2)
    assert bench.sent(GetUtxoTree, late) == [GetUtxoTree(NAME)]


def test_features_are_told_only_by_who_knows_of_them(bench: Bench, params: NetworkParams) -> None:
    peer = bench.connect()
    bench.receive(peer, Version(version=70017, services=9, time=UNIX_START, nonce=5))
    assert bench.sent(Feature) == [Feature(b"BIP452")]
    assert [message.version for message in bench.sent(Version)] == [70017]
    older = bench.connect()
    bench.receive(older, Version(version=70016, services=9, time=UNIX_START, nonce=6))
    assert not bench.sent(Feature)
    bench.receive(older, Verack())
    bench.receive(older, Feature(b"BIP452"))  # too late
    assert not bench.state(older).speaks_utxo_sets
    plain = Bench(params)
    peer = plain.connect()
    plain.receive(peer, Version(version=70017, services=9, time=UNIX_START, nonce=5))
    assert not plain.sent(Feature)
    assert [message.version for message in plain.sent(Version)] == [70016]
    plain.receive(peer, Feature(b"BIP452"))
    assert not plain.state(peer).speaks_utxo_sets


def test_those_with_the_service_bit_come_first(bench: Bench) -> None:
    without = [speaker(bench, services=NODE_NETWORK | NODE_WITNESS) for _ in range(UTXO_TREES_AT_ONCE)]
    having = speaker(bench)
    bench.step(FetchUtxoSet(NAME, TREE.root))
    assert bench.sent(GetUtxoTree, having)
    assert not bench.sent(GetUtxoTree, without[-1])


@pytest.mark.parametrize("kind", [ConnectionKind.INBOUND, ConnectionKind.MANUAL])
def test_who_tells_wrong_hashes_is_disconnected(bench: Bench, kind: ConnectionKind) -> None:
    liar = speaker(bench, kind)
    bench.step(FetchUtxoSet(NAME, TREE.root))
    bench.receive(liar, OTHER)
    assert bench.disconnected(liar)
    lines = [line.text for line in bench.log if line.level is fx.LogLevel.WARNING]
    assert any("wrong part of a UTXO set" in line and str(sim_address(liar)) in line for line in lines)
    assert not bench.all(fx.TakeUtxoTree)


def test_a_liar_is_named_not_asked_again_and_its_chunk_comes_from_others(bench: Bench) -> None:
    liar, other = begun(bench, 2)
    tell(bench, liar, 0, stored=False, wrong=True)
    gone = bench.disconnected(liar)
    assert gone is not None and "chunk 0 does not have its hash" in gone.reason
    bench.step(ev.PeerDisconnected(liar))
    tell(bench, other, 1)
    assert bench.state(other).utxo_set.in_flight == {0: bench.now}
    again = speaker(bench, address=sim_address(liar))
    bench.wait(3)
    assert not bench.sent(GetUtxoTree, again)


def test_programs_on_this_machine_are_told_apart_by_their_ports(bench: Bench) -> None:
    liar = speaker(bench, address=NetAddress.from_host("127.0.0.1", 5001))
    other = speaker(bench, address=NetAddress.from_host("127.0.0.1", 5002))
    bench.step(FetchUtxoSet(NAME, TREE.root))
    bench.receive(liar, OTHER)
    assert bench.disconnected(liar)
    bench.receive(other, TREE)
    assert bench.all(fx.TakeUtxoTree)


def test_what_a_peer_that_leaves_owes_is_asked_of_others(bench: Bench) -> None:
    first, second = begun(bench, 2, (0, 1))
    bench.step(ev.PeerDisconnected(first))
    assert not bench.sent(GetUtxoSet)  # the other one is busy
    tell(bench, second, 1)
    assert bench.state(second).utxo_set.in_flight == {0: bench.now}


def test_a_late_chunk_is_asked_of_who_has_nothing_to_do(bench: Bench) -> None:
    first, second = begun(bench, 2, (0, 1))
    tell(bench, second, 1)
    bench.wait(UTXO_CHUNK_LATE + 3)
    assert asked(bench, second) == [0]
    bench.receive(second, UtxoSetChunk(NAME, 0, b"data"))
    assert bench.all(fx.TakeUtxoChunk)
    bench.receive(first, UtxoSetChunk(NAME, 0, b"data"))  # it comes in the end: of no use, and no fault
    assert not bench.all(fx.TakeUtxoChunk) and not bench.disconnected(first)
    bench.receive(first, UtxoSetChunk(NAME, 0, b"data"))
    assert bench.disconnected(first)  # twice


def test_a_single_peer_that_is_late_is_asked_again(bench: Bench) -> None:
    (only,) = begun(bench, 1, (0,))
    bench.wait(UTXO_CHUNK_PATIENCE + 5)
    assert not bench.disconnected(only)
    assert any("Timeout downloading chunk 0" in line.text for line in bench.log)
    bench.wait(UTXO_TREE_AGAIN + 5)
    assert bench.sent(GetUtxoTree, only)
    bench.receive(only, TREE)
    assert asked(bench, only) == [0]
    tell(bench, only, 0)


def test_who_says_nothing_lacks_the_set(bench: Bench) -> None:
    silent = speaker(bench)
    bench.step(FetchUtxoSet(NAME, TREE.root))
    bench.wait(UTXO_TREE_PATIENCE + 5)
    assert not bench.sent(GetUtxoTree) and not bench.disconnected(silent)
    bench.receive(silent, TREE)  # it was slow
    assert bench.all(fx.TakeUtxoTree)


@pytest.mark.parametrize("message", [TREE, UtxoSetChunk(NAME, 3, b"data")])
def test_what_nobody_asked_for_ends_the_connection(bench: Bench, message: UtxoTree | UtxoSetChunk) -> None:
    peer = speaker(bench)
    bench.receive(peer, message)
    assert bench.disconnected(peer)


def test_another_chunk_than_was_asked_for_ends_the_connection(bench: Bench) -> None:
    (peer,) = begun(bench, 1)
    bench.receive(peer, UtxoSetChunk(NAME, 5, b"data"))
    assert bench.disconnected(peer) and not bench.all(fx.TakeUtxoChunk)


def test_without_a_root_peers_have_to_agree(bench: Bench) -> None:
    first, liar, second = (speaker(bench) for _ in range(3))
    bench.step(FetchUtxoSet(NAME, None))
    bench.receive(first, TREE)
    bench.receive(liar, OTHER)
    assert not bench.all(fx.TakeUtxoTree)
    bench.receive(second, TREE)
    assert bench.all(fx.TakeUtxoTree) == [fx.TakeUtxoTree(second, TREE)]
    assert bench.disconnected(liar) and not bench.disconnected(first)
    bench.step(FetchUtxoChunks(TREE, (0, 1)))
    assert len(bench.sent(GetUtxoSet)) == 2


def test_a_voice_counts_once_and_as_long_as_the_peer_is_here(bench: Bench) -> None:
    first, second = speaker(bench), speaker(bench)
    bench.step(FetchUtxoSet(NAME, None))
    bench.receive(first, TREE)
    bench.step(ev.PeerDisconnected(first))
    bench.receive(second, TREE)
    assert not bench.all(fx.TakeUtxoTree)


def test_a_chunk_that_cannot_be_written_is_nobodys_fault(bench: Bench) -> None:
    (peer,) = begun(bench, 1, (4,))
    tell(bench, peer, 4, stored=False)
    assert not bench.disconnected(peer)
    assert asked(bench, peer) == [4]


def test_when_nothing_is_wanted_any_more_nobody_is_to_blame(bench: Bench) -> None:
    first, second = begun(bench, 2)
    bench.step(DropUtxoSet())
    bench.receive(first, UtxoSetChunk(NAME, 0, b"data"))
    assert not bench.all(fx.TakeUtxoChunk) and not bench.disconnected(first)
    bench.step(UtxoChunkJudged(first, 0, stored=False, wrong=True))
    assert not bench.disconnected(first)
    bench.step(FetchUtxoSet(NAME, TREE.root))
    assert bench.sent(GetUtxoTree, second) == [GetUtxoTree(NAME)]


def test_a_sleep_of_the_machine_is_no_peers_fault(bench: Bench) -> None:
    first, second = begun(bench, 2, (0, 1))
    bench.wait(UTXO_CHUNK_PATIENCE * 2, each=UTXO_CHUNK_PATIENCE * 2)
    assert bench.state(first).utxo_set.in_flight and bench.state(second).utxo_set.in_flight


def test_what_is_under_way_is_asked_of_nobody_else_when_the_chunks_are_told_again(bench: Bench) -> None:
    first, second = begun(bench, 2)
    assert (asked(bench, first), asked(bench, second)) == ([0], [1])
    bench.step(FetchUtxoChunks(TREE, tuple(range(9))))
    third = speaker(bench)
    bench.wait(UTXO_LOOK_INTERVAL + 1)
    bench.receive(third, TREE)
    assert asked(bench, third) == [2]
    for peer, chunk in ((first, 0), (second, 1), (third, 2)):
        tell(bench, peer, chunk)
