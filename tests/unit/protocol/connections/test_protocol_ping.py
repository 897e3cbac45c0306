from __future__ import annotations

import pytest

from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol import limits
from btcnode.protocol.commands import PingPeers
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import (
    BlockProcessed,
    ChainSettled,
    Malformation,
    MalformedMessage,
    Tick,
    TransactionsProcessed,
)
from btcnode.settings.permissions import Permission
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.messages import BlockMessage, Headers, Ping, PingWithoutNonce, Pong
from tests.lib.protocol_bench import Bench


def test_ping_every_two_minutes_and_latency(bench: Bench) -> None:
    peer = bench.peer()
    assert len(bench.sent(Ping, peer)) == 1  # at once, for a first figure
    bench.receive(peer, Headers(()))  # it owes us nothing
    bench.wait(119)
    assert not bench.sent(Ping)
    bench.wait(2, pongs=False)
    (ping,) = bench.sent(Ping, peer)
    bench.now += 0.25
    bench.receive(peer, Pong(ping.nonce))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["pingtime"] is not None and info["minping"] is not None
    assert 0.2 < info["pingtime"] < 2
    assert info["minping"] <= info["pingtime"]
    assert info["pingwait"] is None


def test_wrong_pongs_do_not_end_the_wait(bench: Bench) -> None:
    peer = bench.peer()
    bench.step(PingPeers())
    bench.wait(1, pongs=False)
    (ping,) = bench.sent(Ping, peer)
    bench.receive(peer, Pong(ping.nonce ^ 1))
    assert bench.state(peer).ping.nonce == ping.nonce
    bench.receive(peer, Pong(None))
    assert bench.state(peer).ping.nonce == 0
    assert bench.state(peer).ping.last == 0  # of the first ping
    bench.receive(peer, Pong(9))  # nobody asked


def test_unanswered_ping_disconnects_after_twenty_minutes(bench: Bench) -> None:
    peer = bench.peer()
    bench.step(PingPeers())
    bench.wait(1, pongs=False)
    bench.wait(1199, each=30, pongs=False)
    assert bench.disconnected(peer) is None
    bench.wait(10, pongs=False)
    assert (closed := bench.disconnected(peer)) is not None
    assert "ping timeout" in closed.reason
    assert not bench.all(fx.Send)


def test_peers_before_bip31_get_pings_without_a_nonce(bench: Bench) -> None:
    new, old = bench.peer(version=60001), bench.peer(version=60000)
    bench.step(PingPeers())
    bench.wait(1, pongs=False)
    assert len(bench.sent(Ping, new)) == 1
    assert not bench.sent(Ping, old)
    (ping,) = bench.sent(PingWithoutNonce, old)
    assert (ping.command, ping.encode()) == ("ping", b"")
    bench.wait(1201, each=30, pongs=False)  # for whose answer nobody waits
    assert bench.disconnected(old) is None or "ping" not in bench.disconnected(old).reason  # type: ignore[union-attr]
    assert "ping timeout" in bench.disconnected(new).reason  # type: ignore[union-attr]


def test_a_short_ping_is_malformed_but_of_peers_before_bip31(bench: Bench) -> None:
    new, old = bench.peer(version=60001), bench.peer(version=60000)
    for peer in (new, old):
        bench.step(MalformedMessage(peer, Malformation.PAYLOAD, "ping", "DataStream::read(): end of data", 0))
        told = [line for line in bench.all(fx.Log) if "ProcessMessages(ping, 0 bytes): Exception" in line.text]
        assert bool(told) is (peer == new)


def pongs(bench: Bench, peer: int) -> list[int]:
    return [pong.nonce for pong in bench.sent(Pong, peer) if pong.nonce is not None]


def test_a_pong_waits_for_the_transactions_before_the_ping(bench: Bench) -> None:
    peer = bench.peer()
    open_ = bench.state(peer).unjudged
    open_.add_tx(1)
    bench.receive(peer, Ping(7))
    assert not pongs(bench, peer)
    open_.add_tx(2)
    bench.receive(peer, Ping(8))
    bench.step(TransactionsProcessed(peer, 5, ()))  # of something else
    assert not pongs(bench, peer)
    open_.end_tx(1)
    bench.step(TransactionsProcessed(peer, 1, ()))
    assert pongs(bench, peer) == [7]  # a stream of transactions does not hold pongs up for ever
    open_.end_tx(2)
    bench.step(TransactionsProcessed(peer, 2, ()))
    assert pongs(bench, peer) == [8]
    bench.receive(peer, Ping(9))
    assert pongs(bench, peer) == [9]


def test_a_ping_flood_is_owed_a_bounded_number_of_pongs(bench: Bench) -> None:
    peer = bench.peer()
    bench.state(peer).unjudged.add_tx(1)
    for nonce in range(limits.MAX_OWED_PONGS + 50):
        assert not [e for e in bench.receive(peer, Ping(nonce)) if isinstance(e, fx.Send)]
    bench.state(peer).unjudged.end_tx(1)
    bench.step(TransactionsProcessed(peer, 1, ()))
    assert pongs(bench, peer) == list(range(limits.MAX_OWED_PONGS))


def test_a_pong_waits_for_the_block_before_the_ping(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:20])
    peer = bench.peer()
    bench.receive(peer, BlockMessage(blocks[20]))
    (process,) = bench.all(fx.ProcessBlock)
    bench.receive(peer, Ping(7))
    assert not pongs(bench, peer)
    bench.step(BlockProcessed(peer, process.index, None))
    assert not pongs(bench, peer)  # it is stored, and may still change the chain
    bench.step(ChainSettled())
    assert pongs(bench, peer) == [7]


def test_a_pong_does_not_wait_for_what_was_refused(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:20])
    peer = bench.peer(permissions=Permission.NOBAN)
    bench.receive(peer, BlockMessage(blocks[20]))
    (process,) = bench.all(fx.ProcessBlock)
    bench.receive(peer, Ping(7))
    bench.step(BlockProcessed(peer, process.index, RuleViolation("bad-txnmrklroot", "", Fault.MUTATED)))
    assert pongs(bench, peer) == [7]


def test_in_initial_download_nobody_waits_for_blocks_far_ahead(bench: Bench, old_blocks: list[bytes]) -> None:
    peer = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.receive(peer, Headers(tuple(raw[:80] for raw in old_blocks[:2000])))
    bench.receive(peer, BlockMessage(old_blocks[100]))
    (process,) = bench.all(fx.ProcessBlock)
    bench.receive(peer, Ping(7))
    bench.step(BlockProcessed(peer, process.index, None))
    assert pongs(bench, peer) == [7]


def test_a_held_clock_is_what_pings_run_on(bench: Bench) -> None:
    """setmocktime moves time-outs and latencies as in Core; the machine's clock does nothing meanwhile."""
    bench.step(Tick(UNIX_START, held=True))
    peer = bench.peer()
    bench.now += 500
    bench.step(Tick(UNIX_START, held=True))
    assert not bench.all(fx.Send)
    bench.step(Tick(UNIX_START + 121, held=True))
    (ping,) = bench.sent(Ping, peer)
    bench.now += 5000
    bench.step(Tick(UNIX_START + 150, held=True))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["pingwait"] == 29
    bench.receive(peer, Pong(ping.nonce))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["pingtime"] == 29
    bench.step(PingPeers())
    bench.step(Tick(UNIX_START + 150, held=True))  # the user's ping does not wait for the clock
    assert bench.sent(Ping, peer)


def test_a_clock_that_is_let_go_goes_to_the_present(bench: Bench) -> None:
    bench.step(Tick(UNIX_START - 1000, held=True))
    peer = bench.peer()
    bench.step(Tick(UNIX_START, held=False))
    (ping,) = bench.sent(Ping, peer)
    bench.now += 3
    bench.receive(peer, Pong(ping.nonce))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["pingtime"] == 3
    bench.step(Tick(UNIX_START - 5000, held=True))
    silent = bench.peer()
    bench.step(Tick(UNIX_START + 3, held=False))
    assert bench.disconnected(silent) is not None  # it has said nothing since that day, as in Core


def test_a_clock_that_is_turned_back_pings_again(bench: Bench) -> None:
    peer = bench.peer()
    bench.step(Tick(UNIX_START - 100_000, held=True))
    bench.step(PingPeers())
    bench.step(Tick(UNIX_START - 100_000, held=True))
    (ping,) = bench.sent(Ping, peer)
    bench.receive(peer, Pong(ping.nonce))
    bench.step(Tick(UNIX_START - 100_000 + 121, held=True))
    assert bench.sent(Ping, peer)


def test_a_pong_from_before_its_ping_tells_no_time(bench: Bench) -> None:
    peer = bench.peer()
    bench.step(Tick(UNIX_START + 1000, held=True))
    (ping,) = bench.sent(Ping, peer)
    bench.step(Tick(UNIX_START + 900, held=True))
    bench.receive(peer, Pong(ping.nonce))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert (info["pingtime"], info["pingwait"]) == (None, None)  # bitcoind logs a mishap


def test_a_flood_of_pings_ends_the_connection_through_the_score(bench: Bench) -> None:
    flood, honest = bench.peer(), bench.peer()
    for _ in range(30):
        for _ in range(6000):
            if not bench.state(flood).pauses:
                bench.receive(flood, Ping(1))
        for _ in range(50):
            bench.receive(honest, Ping(1))
        bench.wait(1)
        if bench.disconnected(flood) is not None:
            break
    assert flood not in bench.protocol.peer_ids() or not bench.state(flood).role.is_heard
    assert bench.disconnected(honest) is None
    assert not bench.state(honest).conduct.offences


def test_times_of_nothing_are_not_told(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, Pong(bench.state(peer).ping.nonce))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert (info["pingtime"], info["minping"], info["pingwait"]) == (None, 0, None)  # as bitcoind does
    bench.step(PingPeers())
    bench.step(Tick(UNIX_START))
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert bench.state(peer).ping.nonce and info["pingwait"] is None


def test_a_leap_of_the_clock_ends_silent_connections(bench: Bench) -> None:
    peer, patient = bench.peer(), bench.peer()
    bench.state(patient).last_received += 2
    bench.now += 1201
    bench.step(Tick(UNIX_START))
    assert [effect.peer_id for effect in bench.effects if isinstance(effect, fx.Disconnect)] == [peer]


def test_peertimeout_keeps_silent_connections(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, peer_timeout=1e9))
    bench.peer()
    bench.now += 1201
    bench.step(Tick(UNIX_START))
    assert not [effect for effect in bench.effects if isinstance(effect, fx.Disconnect)]


@pytest.mark.parametrize("timeout", [60.0, 5000.0])
def test_unanswered_pings_have_the_time_of_peertimeout(params: NetworkParams, timeout: float) -> None:
    """As in Core: who sets the clock forward by hours must not lose peers whose pong is on its way."""
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, peer_timeout=timeout))
    peer = bench.peer()
    bench.step(PingPeers())
    bench.wait(1, pongs=False)
    bench.now += 3600
    bench.state(peer).last_received = bench.now
    bench.wait(2, pongs=False)
    if timeout > 3600:
        assert bench.disconnected(peer) is None
        bench.wait(1500, each=30, pongs=False)
    assert (closed := bench.disconnected(peer)) is not None
    assert "ping timeout" in closed.reason
