"""Private broadcast: what such a connection says, and when another one is opened."""

from __future__ import annotations

import pytest

from btcnode.mempool.rejection import TxResult
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.tx import Tx
from btcnode.protocol import commands as cmd
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, spend
from btcnode.wire.constants import MSG_TX, MSG_WITNESS_TX, MSG_WTX
from btcnode.wire.messages import (
    AddrEntry,
    GetAddr,
    GetData,
    GetHeaders,
    Inv,
    InvItem,
    Ping,
    Pong,
    TxMessage,
    Verack,
    Version,
)
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

PRIVATE = ConnectionKind.PRIVATE_BROADCAST


@pytest.fixture
def node(params: NetworkParams, blocks: list[bytes]) -> Bench:
    """A node whose private connections go over IPv4, the only network of these tests."""
    config = ProtocolConfig(
        dns_seed=False,
        tx_relay=True,
        max_outbound_full=0,
        max_block_relay=0,
        private_broadcast=True,
        private_broadcast_networks=("ipv4",),
    )
    bench = Bench(params, config=config, transactions=SmallPool())
    bench.load(blocks)
    entries = [AddrEntry(UNIX_START, 1033, sim_address(n)) for n in range(500, 600)]
    bench.book.add(entries, sim_address(1), UNIX_START)
    return bench


def own(n: int = 1) -> Tx:
    return spend([coin(n)], COIN_VALUE, 1000, witness=b"w")


def opened(node: Bench) -> list[fx.Connect]:
    return [e for e in node.all(fx.Connect) if e.kind is PRIVATE]


def messages(node: Bench, peer: int) -> list[object]:
    return [e.message for e in node.all(fx.Send) if e.peer_id == peer]


def stand(node: Bench, connect: fx.Connect) -> int:
    """The connection stands; returns the peer."""
    assert not isinstance(connect.target, str)
    return node.connect(PRIVATE, address=connect.target, attempt=connect.attempt)


def shake(node: Bench, peer: int) -> None:
    node.receive(peer, Version(version=70016, services=1033, time=UNIX_START, nonce=5, relay=True))
    assert messages(node, peer) == [Verack()]
    node.receive(peer, Verack())


def test_three_connections_for_a_transaction(node: Bench) -> None:
    node.wait(10)
    assert not opened(node)
    node.step(cmd.BroadcastPrivately(own()))
    node.step(cmd.BroadcastPrivately(own()))
    assert [info.tx.wtxid for info in node.protocol.private_broadcasts()] == [own().wtxid]
    node.wait(10)
    connects = opened(node)
    assert len(connects) == 3
    assert len({c.target for c in connects}) == 3


def test_what_such_a_connection_says(node: Bench) -> None:
    tx = own()
    node.step(cmd.BroadcastPrivately(tx))
    node.wait(10)
    peer = stand(node, opened(node)[0])
    (version,) = messages(node, peer)
    assert isinstance(version, Version)
    assert (version.services, version.time, version.start_height, version.relay) == (0, 0, 0, False)
    assert version.user_agent == b"/pynode:0.0.1/"
    shake(node, peer)
    assert messages(node, peer) == [Inv((InvItem(MSG_TX, tx.txid),))]
    for message in (GetHeaders((node.params.genesis_hash,)), GetAddr(), Ping(7)):
        node.receive(peer, message)
        assert not messages(node, peer)
    node.wait(20)
    assert not messages(node, peer)
    node.receive(peer, GetData((InvItem(MSG_WITNESS_TX, tx.txid),)))
    sent = messages(node, peer)
    assert sent[0] == TxMessage(tx.raw)
    assert isinstance(sent[1], Ping)
    node.receive(peer, Pong(sent[1].nonce + 1))
    assert node.disconnected(peer) is None
    node.receive(peer, Pong(sent[1].nonce))
    assert node.disconnected(peer) is not None
    (info,) = node.protocol.private_broadcasts()
    assert [s.confirmed is not None for s in info.sendings] == [True]
    node.step(ev.PeerDisconnected(peer))
    node.wait(20)
    assert not opened(node)  # two of three are under way still


@pytest.mark.parametrize(
    "items",
    [
        (),
        (InvItem(MSG_TX, b"\x05" * 32),),
        (InvItem(MSG_WTX, own().wtxid),),
        (InvItem(MSG_TX, own().txid), InvItem(MSG_TX, own().txid)),
    ],
)
def test_other_requests_end_the_connection(node: Bench, items: tuple[InvItem, ...]) -> None:
    node.step(cmd.BroadcastPrivately(own()))
    node.wait(10)
    peer = stand(node, opened(node)[0])
    node.receive(peer, GetData(items))  # before version: ignored
    assert node.disconnected(peer) is None
    shake(node, peer)
    node.receive(peer, GetData(items))
    assert node.disconnected(peer) is not None
    node.step(ev.PeerDisconnected(peer))
    node.wait(20)
    assert len(opened(node)) == 1  # in its stead


def test_peers_without_relay_and_silent_ones_are_of_no_use(node: Bench) -> None:
    node.step(cmd.BroadcastPrivately(own()))
    node.wait(10)
    first, second, third = (stand(node, c) for c in opened(node))
    node.receive(first, Version(version=70016, services=1033, time=UNIX_START, nonce=5, relay=False))
    assert node.disconnected(first) is not None
    shake(node, third)
    effects = node.wait(200, each=1)
    closed = [e.peer_id for e in effects if isinstance(e, fx.Disconnect)]
    assert second in closed
    assert third in closed


def test_the_one_most_in_need_is_sent(node: Bench) -> None:
    for n in (1, 2):
        node.step(cmd.BroadcastPrivately(own(n)))
    node.wait(30)
    chosen = []
    for connect in opened(node)[:4]:
        peer = stand(node, connect)
        shake(node, peer)
        (inv,) = messages(node, peer)
        assert isinstance(inv, Inv)
        chosen.append(inv.items[0].hash)
    assert chosen == [own(1).txid, own(2).txid] * 2


def test_seen_from_the_network_means_done(node: Bench) -> None:
    node.step(cmd.BroadcastPrivately(own()))
    peer = node.peer(wtxid_relay=True)
    node.receive(peer, TxMessage(own().raw))
    assert not node.protocol.private_broadcasts()
    node.wait(20)
    assert not opened(node)


def test_aborted_by_the_user(node: Bench) -> None:
    for n in (1, 2):
        node.step(cmd.BroadcastPrivately(own(n)))
    node.step(cmd.AbortPrivateBroadcast(own(1).txid))
    node.step(cmd.AbortPrivateBroadcast(own(2).wtxid))
    assert not node.protocol.private_broadcasts()
    node.wait(20)
    assert not opened(node)


@pytest.mark.parametrize("acceptable", [True, False])
def test_what_does_not_come_back_is_tested_and_sent_again(node: Bench, acceptable: bool) -> None:
    tx = own()
    node.step(cmd.BroadcastPrivately(tx))
    node.wait(10)
    for connect in opened(node):
        node.step(ev.ConnectFailed(connect.attempt, "refused"))
    effects: list[fx.Effect] = []
    tests: list[fx.ProcessTransactions] = []
    for _ in range(500):
        effects = node.wait(1)
        for connect in opened(node):
            node.step(ev.ConnectFailed(connect.attempt, "refused"))
        tests += [e for e in effects if isinstance(e, fx.ProcessTransactions)]
        if tests:
            break
    (test,) = tests
    assert test.test
    assert test.txs == (tx,)
    node.wait(20)
    before = len(opened(node))
    result = None if acceptable else TxResult.MEMPOOL_POLICY
    node.step(ev.TransactionsProcessed(0, test.number, (ev.TxOutcome(tx.txid, tx.wtxid, result, "conflict"),)))
    assert bool(node.protocol.private_broadcasts()) == acceptable
    node.wait(20)
    assert before > 0 and len(opened(node)) == (1 if acceptable else 0)


def test_other_networks_are_not_used(params: NetworkParams) -> None:
    config = ProtocolConfig(dns_seed=False, max_outbound_full=0, max_block_relay=0, private_broadcast=True)
    bench = Bench(params, config=config)
    bench.book.add([AddrEntry(UNIX_START, 1033, sim_address(5))], sim_address(1), UNIX_START)
    bench.step(cmd.BroadcastPrivately(own()))
    bench.wait(20)
    assert not opened(bench)


def test_the_clear_net_only_through_a_tor_that_works(params: NetworkParams, blocks: list[bytes]) -> None:
    onion = NetAddress(Network.TORV3, bytes(range(32)), 8333)
    config = ProtocolConfig(
        dns_seed=False,
        tx_relay=True,
        max_outbound_full=0,
        max_block_relay=0,
        private_broadcast=True,
        networks=("ipv4", "onion"),
    )
    node = Bench(params, config=config, transactions=SmallPool())
    node.load(blocks)
    node.book.add([AddrEntry(UNIX_START, 1033, sim_address(n)) for n in range(500, 600)], sim_address(1), UNIX_START)
    node.book.add([AddrEntry(UNIX_START, 1033, onion)], sim_address(1), UNIX_START)

    def networks(n: int) -> set[Network]:
        """Networks of the attempts of 40 seconds, all in vain."""
        found: set[Network] = set()
        node.step(cmd.BroadcastPrivately(own(n)))
        for _ in range(40):
            for effect in node.wait(1):
                if isinstance(effect, fx.Connect) and effect.kind is PRIVATE:
                    assert isinstance(effect.target, NetAddress)
                    found.add(effect.target.network)
                    node.step(ev.ConnectFailed(effect.attempt))
        return found

    assert networks(1) == {Network.TORV3}
    peer = node.connect(ConnectionKind.MANUAL, address=onion)
    node.receive(peer, Version(version=70016, services=1033, time=UNIX_START, nonce=5, relay=True))
    node.wait(1)
    node.step(ev.PeerDisconnected(peer))
    assert networks(2) == {Network.TORV3, Network.IPV4}
