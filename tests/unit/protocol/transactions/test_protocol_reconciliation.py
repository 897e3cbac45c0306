"""BIP330's handshake: who is offered it, and what an offer at the wrong time leads to."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.transactions.reconciliation import short_id_key
from btcnode.wire.messages import SendTxRcncl, Verack, Version, WtxidRelay
from tests.lib.protocol_bench import Bench


def make(params: NetworkParams, *, enabled: bool = True, tx_relay: bool = True) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=tx_relay, tx_reconciliation=enabled)
    return Bench(params, config=config)


def greet(
    bench: Bench, kind: ConnectionKind = ConnectionKind.INBOUND, *, version: int = 70016, relay: bool = True
) -> int:
    peer = bench.connect(kind)
    bench.receive(peer, Version(version=version, services=9, time=0, nonce=peer, relay=relay))
    return peer


def test_it_is_offered_before_verack(params: NetworkParams) -> None:
    bench = make(params)
    peer = greet(bench)
    kinds = [type(send.message) for send in bench.all(fx.Send) if send.peer_id == peer]
    assert kinds.index(SendTxRcncl) < kinds.index(Verack)
    bench.receive(peer, SendTxRcncl(1, 77))
    bench.receive(peer, WtxidRelay())
    bench.receive(peer, Verack())
    assert list(bench.protocol._reconciliation.registered) == [peer]


@pytest.mark.parametrize(
    ("kind", "version", "relay"),
    [
        (ConnectionKind.INBOUND, 70015, True),
        (ConnectionKind.INBOUND, 70016, False),
        (ConnectionKind.BLOCK_RELAY, 70016, True),
        (ConnectionKind.ADDR_FETCH, 70016, True),
        (ConnectionKind.FEELER, 70016, True),
    ],
)
def test_it_is_not_offered(params: NetworkParams, kind: ConnectionKind, version: int, relay: bool) -> None:
    bench = make(params)
    peer = greet(bench, kind, version=version, relay=relay)
    assert not bench.sent(SendTxRcncl, peer)


@pytest.mark.parametrize(("enabled", "tx_relay"), [(False, True), (True, False)])
def test_options_switch_it_off(params: NetworkParams, enabled: bool, tx_relay: bool) -> None:
    bench = make(params, enabled=enabled, tx_relay=tx_relay)
    peer = greet(bench)
    assert not bench.sent(SendTxRcncl, peer)
    bench.receive(peer, SendTxRcncl(1, 2))
    assert (bench.disconnected(peer) is None) is tx_relay


def test_an_offer_twice_late_or_of_no_version_ends_the_connection(params: NetworkParams) -> None:
    bench = make(params)
    twice, early, late = greet(bench), greet(bench), bench.peer()
    bench.receive(twice, SendTxRcncl(2, 1))
    assert bench.disconnected(twice) is None
    bench.receive(twice, SendTxRcncl(2, 1))
    assert bench.disconnected(twice) is not None
    bench.receive(early, SendTxRcncl(0, 1))
    assert bench.disconnected(early) is not None
    bench.receive(late, SendTxRcncl(1, 1))
    assert bench.disconnected(late) is not None


def test_without_wtxids_nothing_is_kept(params: NetworkParams) -> None:
    bench = make(params)
    peer = greet(bench)
    bench.receive(peer, SendTxRcncl(1, 77))
    bench.receive(peer, Verack())
    assert not bench.protocol._reconciliation.registered


def test_both_sides_have_the_same_key() -> None:
    assert short_id_key(1, 2) == short_id_key(2, 1)
    assert len(short_id_key(1, 2)) == 16
    assert short_id_key(1, 2) != short_id_key(1, 3)
