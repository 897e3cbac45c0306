"""Asking bridges for proofs: before their blocks, again of others when one was forged, of nobody else."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.commands import ProofRefused, ProofsKept
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import MAX_PROOFS_ASKED, MAX_PROOFS_PER_PEER, PROOF_MISSING_EXPIRY, SIDE_SILENCE
from btcnode.wire.constants import MSG_UTREEXO_PROOF, NODE_NETWORK, NODE_UTREEXO_ARCHIVE, NODE_WITNESS
from btcnode.wire.messages import (
    BlockMessage,
    GetData,
    GetUtreexoProof,
    Headers,
    InvItem,
    NotFound,
    UtreexoProof,
)  # fmt: skip
from tests.lib.protocol_bench import Bench

PLAIN = NODE_NETWORK | NODE_WITNESS
BRIDGE = PLAIN | NODE_UTREEXO_ARCHIVE
PROOF = b"\0\0\0"


@pytest.fixture
def bench(params: NetworkParams) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, services=OWN_SERVICES & ~NODE_NETWORK, by_proofs=True)
    return Bench(params, config=config)


def name(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def giver(bench: Bench, blocks: list[bytes], services: int = BRIDGE) -> int:
    """A peer that has the whole chain."""
    peer = bench.peer(ConnectionKind.OUTBOUND_FULL, services=services)
    bench.receive(peer, Headers(tuple(raw[:80] for raw in blocks)))
    return peer


def asked(bench: Bench, peer: int | None = None) -> list[bytes]:
    return [message.block_hash for message in bench.sent(GetUtreexoProof, peer)]


def blocks_asked(bench: Bench) -> list[bytes]:
    return [item.hash for message in bench.sent(GetData) for item in message.items]


def keep(bench: Bench, peer: int, raw: bytes) -> None:
    """A proof comes, and is where it is kept."""
    bench.receive(peer, UtreexoProof(name(raw), PROOF))
    [effect] = bench.all(fx.KeepProof)
    assert effect == fx.KeepProof(peer, bench.chain.tree.find(name(raw)), PROOF)
    bench.step(ProofsKept((effect.index,), peer))


def test_the_proof_first_then_the_block(bench: Bench, blocks: list[bytes]) -> None:
    giver(bench, blocks, PLAIN)
    assert not asked(bench) and not blocks_asked(bench)
    peer = giver(bench, blocks)
    wanted = asked(bench, peer)
    assert wanted == [name(raw) for raw in blocks[:MAX_PROOFS_PER_PEER]]
    bench.wait(1)
    assert not blocks_asked(bench)
    keep(bench, peer, blocks[0])
    assert blocks_asked(bench) == [name(blocks[0])]
    bench.wait(1)
    assert not blocks_asked(bench)


def test_no_more_than_so_many_at_a_time(bench: Bench, blocks: list[bytes]) -> None:
    total = []
    for _ in range(5):
        giver(bench, blocks)
        total += asked(bench)
    assert len(total) == len(set(total)) == min(MAX_PROOFS_ASKED, len(blocks))


def test_a_block_that_comes_before_its_proof_is_dropped(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks, PLAIN)
    bench.receive(peer, BlockMessage(blocks[0]))
    assert not bench.all(fx.ProcessBlock)
    bridge = giver(bench, blocks)
    keep(bench, bridge, blocks[0])
    bench.receive(peer, BlockMessage(blocks[0]))
    assert bench.all(fx.ProcessBlock)


@pytest.mark.parametrize("forged", [True, False])
def test_a_refused_proof_is_asked_of_others(bench: Bench, blocks: list[bytes], *, forged: bool) -> None:
    liar = giver(bench, blocks[:3])
    keep(bench, liar, blocks[0])
    index = bench.chain.tree.find(name(blocks[0]))
    other = giver(bench, blocks[:3])
    bench.step(ProofRefused(index, "it is forged", forged, liar if forged else -1))
    gone = bench.disconnected(liar)
    assert (gone is not None and "wrong Utreexo proof" in gone.reason) is forged
    again = asked(bench)
    if forged:
        assert not asked(bench, liar)
        bench.step(ev.PeerDisconnected(liar, "closed"))
        again += asked(bench)
    for _ in range(3):
        bench.wait(1)
        again += asked(bench)
        assert not bench.disconnected(other)
    assert again.count(name(blocks[0])) == 1


def indices(bench: Bench, blocks: list[bytes]) -> list[int]:
    return [bench.chain.tree.find(name(raw)) for raw in blocks]


def test_one_forged_proof_has_the_others_of_its_giver_asked_anew(bench: Bench, blocks: list[bytes]) -> None:
    liar = giver(bench, blocks[:5])
    for raw in blocks[:3]:
        keep(bench, liar, raw)
    bench.receive(liar, UtreexoProof(name(blocks[3]), PROOF))  # on its way to where it is kept
    first, second, third, fourth, _ = indices(bench, blocks[:5])
    bench.chain.tree.receive_block(third, 1, 0, 8)
    other = giver(bench, blocks[:5])
    again = asked(bench, other)
    bench.step(ProofRefused(first, "it is forged", True, liar))
    assert bench.disconnected(liar)
    again += asked(bench, other)
    for event in (ProofsKept((fourth,), liar), ev.PeerDisconnected(liar, "closed")):
        bench.step(event)
        again += asked(bench, other)
    for _ in range(3):
        bench.wait(1)
        again += asked(bench, other)
    assert sorted(again) == sorted(map(name, blocks[:5])), "each of them once, also where the block is here"
    for raw in blocks[:2]:
        keep(bench, other, raw)
    # the block was being connected by the old proof still
    bench.step(ProofRefused(second, "it is forged too", True, liar))
    bench.wait(1)
    assert not bench.disconnected(other) and not asked(bench)
    bench.step(ProofRefused(second, "nor is the other one any better", True, other))
    assert bench.disconnected(other)


def test_a_proof_of_an_unknown_giver_is_held_against_nobody(bench: Bench, blocks: list[bytes]) -> None:
    """It was of an earlier run; what came meanwhile is used."""
    peer = giver(bench, blocks[:2])
    keep(bench, peer, blocks[0])
    [index] = indices(bench, blocks[:1])
    bench.step(ProofRefused(index, "it is forged", True))
    bench.wait(1)
    assert not bench.disconnected(peer) and not asked(bench)


def test_proofs_that_nobody_asked_for(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks)
    bench.receive(peer, UtreexoProof(name(blocks[-1]), PROOF))
    assert bench.disconnected(peer) and not bench.all(fx.KeepProof)
    other = giver(bench, blocks)
    bench.receive(other, UtreexoProof(b"?" * 32, PROOF))
    assert bench.disconnected(other)


def test_who_has_none_is_asked_again_soon(bench: Bench, blocks: list[bytes]) -> None:
    peer = giver(bench, blocks[:1])
    assert asked(bench, peer) == [name(blocks[0])]
    bench.receive(peer, NotFound((InvItem(MSG_UTREEXO_PROOF, name(blocks[0])),)))
    assert not asked(bench)
    again: list[bytes] = []
    for _ in range(int(PROOF_MISSING_EXPIRY) + 3):
        bench.wait(1)
        again += asked(bench, peer)
    assert name(blocks[0]) in again


def test_a_silent_bridge_loses_what_it_owes(bench: Bench, blocks: list[bytes]) -> None:
    silent = giver(bench, blocks[:4])
    owed = asked(bench, silent)
    assert owed == [name(raw) for raw in blocks[:4]]
    other = giver(bench, blocks[:4])
    assert not asked(bench, other)
    moved: list[bytes] = []
    for _ in range(int(SIDE_SILENCE) + 2):
        bench.wait(1)
        moved += asked(bench, other)
    assert moved == owed


def test_a_node_with_coins_asks_for_no_proofs(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params)
    peer = giver(bench, blocks)
    bench.wait(1)
    assert not asked(bench)
    bench.receive(peer, UtreexoProof(name(blocks[0]), PROOF))  # a message that it has no use for
    assert not bench.disconnected(peer) and not bench.all(fx.KeepProof)
