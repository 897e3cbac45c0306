"""Connections to who offers what is needed beside blocks: preferred, but not all, and for what is given alone."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.commands import DropUtxoSet, FetchUtxoSet
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.eviction import Candidate, select_for_eviction
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.providers import Providers
from btcnode.protocol.events import ConnectFailed, PeerDisconnected
from btcnode.protocol.limits import (
    EXTRA_PEER_CHECK_INTERVAL,
    MAX_FAILED_PROVIDERS,
    MAX_FRUITLESS,
    MAX_OUTBOUND_FULL_RELAY,
    PROVIDER_FAILED_FOR,
    PROVIDER_SLOTS,
    UTXO_LOOK_INTERVAL,
    UTXO_TREE_PATIENCE,
)
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.constants import (
    MSG_UTREEXO_PROOF,
    NODE_NETWORK,
    NODE_UTREEXO_ARCHIVE,
    NODE_UTXO_SET,
    NODE_WITNESS,
)
from btcnode.wire.messages import (
    AddrEntry,
    Feature,
    GetUtreexoProof,
    Headers,
    InvItem,
    NotFound,
    UtreexoProof,
    Verack,
    Version,
)
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

FULL = ConnectionKind.OUTBOUND_FULL
PLAIN = NODE_NETWORK | NODE_WITNESS
BRIDGE = PLAIN | NODE_UTREEXO_ARCHIVE
COMPACT = {"services": OWN_SERVICES & ~NODE_NETWORK, "by_proofs": True}


def automatic(params: NetworkParams, plain: int, bridges: int, **options: object) -> Bench:
    """A node that opens connections by itself, and knows so many addresses of both kinds."""
    bench = Bench(params, config=ProtocolConfig(**{"dns_seed": False, **options}))  # type: ignore[arg-type]
    entries = [AddrEntry(UNIX_START, PLAIN, sim_address(100 + n)) for n in range(plain)]
    entries += [AddrEntry(UNIX_START, BRIDGE, sim_address(1000 + n)) for n in range(bridges)]
    bench.book.add(entries, sim_address(1), UNIX_START)
    return bench


def establish(bench: Bench, effect: fx.Connect, services: int | None = None) -> int:
    """Let an attempt succeed; the node offers what the book says of it."""
    assert isinstance(effect.target, NetAddress)
    offered = bench.book.services(effect.target) if services is None else services
    peer = bench.connect(effect.kind, address=effect.target, attempt=effect.attempt)
    bench.receive(peer, Version(services=offered, time=UNIX_START, nonce=peer))
    bench.receive(peer, Verack())
    return peer


def run(bench: Bench, seconds: int) -> list[int]:
    """Let time pass, every attempt but feelers succeeds; returns the peers."""
    peers = []
    for _ in range(seconds):
        bench.wait(1)
        peers += [establish(bench, one) for one in bench.all(fx.Connect) if one.kind is not ConnectionKind.FEELER]
    return peers


def bridges_of(bench: Bench, peers: list[int]) -> list[int]:
    return [peer for peer in peers if bench.state(peer).kind is FULL and bench.state(peer).services == BRIDGE]


def test_half_of_the_full_connections_go_to_bridges(params: NetworkParams) -> None:
    bench = automatic(params, plain=400, bridges=12, **COMPACT)
    peers = run(bench, 30)
    assert len([peer for peer in peers if bench.state(peer).kind is FULL]) == MAX_OUTBOUND_FULL_RELAY
    assert PROVIDER_SLOTS <= len(bridges_of(bench, peers)) <= PROVIDER_SLOTS + 2


def test_who_needs_none_has_no_preference(params: NetworkParams) -> None:
    bench = automatic(params, plain=400, bridges=12)
    assert len(bridges_of(bench, run(bench, 30))) < PROVIDER_SLOTS


def test_addresses_that_claim_it_keep_no_place_from_others(params: NetworkParams) -> None:
    """Whoever fills the book with bridges that nobody reaches: the places are filled as ever."""
    bench = automatic(params, plain=300, bridges=300, **COMPACT)
    reached = []
    for _ in range(90):
        bench.wait(1)
        for effect in bench.all(fx.Connect):
            assert isinstance(effect.target, NetAddress)
            if bench.book.services(effect.target) == BRIDGE:
                bench.step(ConnectFailed(effect.attempt, "refused"))
            elif effect.kind is FULL:
                reached.append(establish(bench, effect))
    assert len(reached) == MAX_OUTBOUND_FULL_RELAY


def deny(bench: Bench, peer: int, count: int) -> None:
    """The peer says of so many proofs that it has none."""
    asked = bench.sent(GetUtreexoProof, peer)[:count]
    assert len(asked) == count
    bench.receive(peer, NotFound(tuple(InvItem(MSG_UTREEXO_PROOF, one.block_hash) for one in asked)))


def test_who_claims_it_and_gives_nothing_loses_the_preference(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = automatic(params, plain=400, bridges=1, **COMPACT)
    peers = run(bench, 30)
    [liar] = bridges_of(bench, peers)
    bench.effects.clear()
    bench.receive(liar, Headers(tuple(raw[:80] for raw in blocks)))
    deny(bench, liar, MAX_FRUITLESS)
    assert not bench.protocol._ctx.is_provider(bench.state(liar))
    # nobody gives now: somebody else is tried, beyond the usual number, and the liar makes room for him
    bench.book.add([AddrEntry(UNIX_START, BRIDGE, sim_address(2000))], sim_address(2), UNIX_START)
    [other] = bridges_of(bench, run(bench, 100))
    assert bench.state(other).address == sim_address(2000)
    bench.step(PeerDisconnected(liar))
    bench.effects.clear()
    # its address, told again with the bit, is no better than others
    choice = bench.protocol._connections.choice
    bench.step(PeerDisconnected(other))
    chosen = {entry.address for entry in (choice.choose_provider(()) for _ in range(50)) if entry is not None}
    assert chosen <= {sim_address(2000)}
    bench.wait(PROVIDER_FAILED_FOR + 1)
    assert bench.protocol._ctx.providers.offers(sim_address(1000), BRIDGE, bench.protocol._ctx.steady)


def test_who_gives_after_all_is_preferred_again(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = automatic(params, plain=0, bridges=1, **COMPACT)
    [peer] = run(bench, 3)
    bench.effects.clear()
    bench.receive(peer, Headers(tuple(raw[:80] for raw in blocks)))
    asked = [one.block_hash for one in bench.sent(GetUtreexoProof, peer)]
    lacking = tuple(InvItem(MSG_UTREEXO_PROOF, one) for one in asked[:MAX_FRUITLESS])
    bench.receive(peer, NotFound(lacking))
    assert not bench.protocol._ctx.is_provider(bench.state(peer))
    bench.receive(peer, UtreexoProof(bench.sent(GetUtreexoProof, peer)[0].block_hash, b"\0\0\0"))
    assert bench.protocol._ctx.is_provider(bench.state(peer))


def test_beyond_the_limit_who_gives_stays(params: NetworkParams, blocks: list[bytes]) -> None:
    """The extra connection to a bridge costs another peer its place, not the bridge, though that announced nothing."""
    bench = automatic(params, plain=400, bridges=0, **COMPACT)
    before = run(bench, 40)
    bench.book.add([AddrEntry(UNIX_START, BRIDGE, sim_address(2000))], sim_address(2), UNIX_START)
    [bridge] = run(bench, 91)
    bench.receive(bridge, Headers(tuple(raw[:80] for raw in blocks)))
    bench.receive(bridge, UtreexoProof(bench.sent(GetUtreexoProof, bridge)[0].block_hash, b"\0\0\0"))
    gone = []
    for _ in range(int(3 * EXTRA_PEER_CHECK_INTERVAL)):
        bench.wait(1)
        gone += [effect.peer_id for effect in bench.all(fx.Disconnect) if effect.reason == "extra outbound peer"]
    assert bridge not in gone
    assert gone and set(gone) <= set(before)


def test_one_set_is_looked_for_while_it_is_fetched(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, utxo_sets=True))
    context = bench.protocol._ctx
    peer = bench.connect(FULL, address=sim_address(5))
    bench.receive(peer, Version(version=70017, services=PLAIN | NODE_UTXO_SET, time=UNIX_START, nonce=peer))
    bench.receive(peer, Feature(b"BIP452"))
    bench.receive(peer, Verack())
    assert not context.is_provider(bench.state(peer))
    bench.step(FetchUtxoSet(b"\x07" * 32, None))
    assert context.is_provider(bench.state(peer))
    bench.wait(UTXO_TREE_PATIENCE + UTXO_LOOK_INTERVAL + 1)  # it says nothing
    assert context.providers.wanted == NODE_UTXO_SET and not context.is_provider(bench.state(peer))
    bench.step(DropUtxoSet())
    assert not context.providers.wanted


def candidate(number: int, **fields: object) -> Candidate:
    """An inbound peer from a host of its own, that has nothing to protect it."""
    defaults = {
        "peer_id": number, "connected": float(number), "ping": float("inf"), "last_block": 0, "last_tx": 0,
        "relevant_services": True, "relays_txs": True, "has_bloom_filter": False, "group": number.to_bytes(8, "big"),
        "network": Network.IPV4, "is_local": False,
    }  # fmt: skip
    return Candidate(**{**defaults, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("youngest", [98, 99])
def test_who_gave_is_not_evicted(youngest: int) -> None:
    others = [candidate(n, group=b"one host") for n in range(99)]
    plain, gave = candidate(youngest, group=b"one host"), candidate(youngest, group=b"one host", last_given=5.0)
    assert select_for_eviction([*others[:98], plain]) == youngest
    assert select_for_eviction([*others[:98], gave]) == 97


def test_who_failed_is_remembered_of_so_many_only() -> None:
    providers = Providers()
    providers.want(NODE_UTREEXO_ARCHIVE)
    for n in range(MAX_FAILED_PROVIDERS + 1):
        providers.failed(sim_address(n), 0.0)
    assert providers.offers(sim_address(0), BRIDGE, 0.0)
    assert not providers.offers(sim_address(1), BRIDGE, 0.0)
