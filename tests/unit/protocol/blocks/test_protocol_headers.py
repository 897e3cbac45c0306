from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.header import header_hash
from btcnode.protocol import effects as fx
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import PeerDisconnected
from btcnode.protocol.limits import HEADERS_DOWNLOAD_TIMEOUT_BASE
from btcnode.settings.permissions import Permission
from btcnode.testing.blocks import grind
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.constants import MSG_BLOCK
from btcnode.wire.messages import GetData, GetHeaders, Headers, Inv, InvItem, SendHeaders
from btcnode.wire.netaddr import NetAddress
from tests.lib.protocol_bench import Bench


def headers_of(blocks: list[bytes]) -> Headers:
    return Headers(tuple(raw[:80] for raw in blocks))


def work_of(count: int) -> int:
    return 2 * (count + 1)  # regtest: two hashes for each block, genesis included


def test_initial_sync_asks_one_peer_only(bench: Bench, old_blocks: list[bytes]) -> None:
    first = bench.peer(ConnectionKind.OUTBOUND_FULL)
    (request,) = bench.sent(GetHeaders, first)
    assert request.locator == (bench.params.genesis_hash,)
    second = bench.peer(ConnectionKind.OUTBOUND_FULL)
    assert not bench.sent(GetHeaders)
    bench.wait(5)
    assert not bench.sent(GetHeaders)
    bench.receive(first, headers_of(old_blocks[:2000]))
    (more,) = bench.sent(GetHeaders, first)
    assert more.locator[0] == bench.chain.tree.hash(2000)
    bench.receive(first, headers_of(old_blocks[2000:]))
    assert not bench.sent(GetHeaders)
    assert bench.chain.tree.height(bench.chain.tree.best_header) == 2300
    assert bench.state(second).headers.best_known == -1


def test_near_today_all_peers_are_asked(bench: Bench, blocks: list[bytes]) -> None:
    first = bench.peer(ConnectionKind.OUTBOUND_FULL)
    second = bench.peer(ConnectionKind.OUTBOUND_FULL)
    third = bench.peer()
    bench.receive(first, headers_of(blocks))
    bench.wait(1)
    assert len(bench.sent(GetHeaders, second)) == 1
    (request,) = bench.sent(GetHeaders, third)
    assert request.locator[0] == bench.chain.tree.hash(59)  # one before the best: the answer is never empty


def test_inbound_peers_serve_when_there_is_nobody_else(bench: Bench) -> None:
    bench.peer()
    assert bench.sent(GetHeaders)


def test_peer_that_does_not_answer_keeps_nobody_waiting(bench: Bench) -> None:
    bench.peer(ConnectionKind.OUTBOUND_FULL)
    second = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.wait(119)
    assert not bench.sent(GetHeaders, second)
    bench.wait(3)
    assert len(bench.sent(GetHeaders, second)) == 1


def test_inbound_sync_peer_does_not_keep_us_from_outbound_ones(bench: Bench) -> None:
    inbound = bench.peer()
    assert bench.sent(GetHeaders, inbound)
    outbound = bench.peer(ConnectionKind.OUTBOUND_FULL)
    assert bench.sent(GetHeaders, outbound)
    bench.peer()
    bench.wait(1)
    assert not bench.sent(GetHeaders)


def test_sync_peer_is_replaced_after_its_disconnection(bench: Bench) -> None:
    first = bench.peer(ConnectionKind.OUTBOUND_FULL)
    second = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.step(PeerDisconnected(first))
    bench.wait(1)
    assert bench.sent(GetHeaders, second)


def test_headers_timeout_replaces_the_sync_peer_if_there_are_others(bench: Bench) -> None:
    first = bench.peer(ConnectionKind.MANUAL)
    bench.wait(HEADERS_DOWNLOAD_TIMEOUT_BASE + 3600, each=60)
    assert bench.disconnected(first) is None  # nobody else to ask
    second = bench.peer(ConnectionKind.MANUAL)
    bench.wait(1)
    assert (closed := bench.disconnected(first)) is not None
    assert "headers" in closed.reason
    assert second


def test_bad_proof_of_work_discourages(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    raw = blocks[0][:80]
    broken = next(
        candidate
        for nonce in range(1000)
        if (candidate := raw[:76] + nonce.to_bytes(4, "little")) and header_hash(candidate)[-1] >= 0x80
    )
    bench.receive(peer, Headers((broken,)))
    assert (closed := bench.disconnected(peer)) is not None
    assert closed.discourage
    assert len([line for line in bench.all(fx.Log) if line.level is fx.LogLevel.WARNING]) == 1


def test_discontinuous_headers_discourage(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, Headers((blocks[0][:80], blocks[2][:80])))
    assert (closed := bench.disconnected(peer)) is not None
    assert closed.discourage


def test_invalid_header_discourages_and_keeps_the_good_ones(bench: Bench, params: NetworkParams) -> None:
    blocks = mine_chain(params, 3, UNIX_START - 60)
    future = grind(blocks[2][:68] + (UNIX_START + 3 * 3600).to_bytes(4, "little") + blocks[2][72:80])
    late = bench.peer()
    bench.receive(late, Headers((blocks[0][:80], blocks[1][:80], future)))
    assert bench.disconnected(late) is None  # time-too-new may be our clock's fault
    assert len(bench.chain.tree) == 3
    early = bench.peer()
    past = grind(blocks[2][:68] + (1).to_bytes(4, "little") + blocks[2][72:80])
    bench.receive(early, Headers((past,)))
    assert (closed := bench.disconnected(early)) is not None
    assert closed.discourage


def test_manual_and_noban_peers_are_not_punished(bench: Bench, blocks: list[bytes]) -> None:
    gap = Headers((blocks[0][:80], blocks[2][:80]))
    for peer in (bench.peer(ConnectionKind.MANUAL), bench.peer(permissions=Permission.NOBAN)):
        bench.receive(peer, gap)
        assert bench.disconnected(peer) is None
        assert any("Not punishing" in line.text for line in bench.all(fx.Log))


def test_local_peers_are_disconnected_but_not_discouraged(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer(address=NetAddress.from_host("127.0.0.1", 5000))
    other = bench.peer(address=NetAddress.from_host("127.0.0.1", 5001))
    bench.receive(peer, Headers((blocks[0][:80], blocks[2][:80])))
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage
    assert bench.disconnected(other) is None


def test_discouraged_address_loses_all_its_connections(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer(address=NetAddress.from_host("8.8.8.8", 5000))
    other = bench.peer(address=NetAddress.from_host("8.8.8.8", 5001))
    stranger = bench.peer(address=NetAddress.from_host("8.8.8.9", 5001))
    bench.receive(peer, Headers((blocks[0][:80], blocks[2][:80])))
    assert bench.disconnected(peer) is not None
    assert bench.disconnected(other) is not None
    assert bench.disconnected(stranger) is None


def test_unconnecting_headers_ask_for_what_is_between_once(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, headers_of(blocks[9:10]))  # answers the first request
    bench.receive(peer, headers_of(blocks[20:21]))
    (request,) = bench.sent(GetHeaders)
    assert request.locator[0] == bench.chain.tree.hash(10)
    for _ in range(20):
        bench.receive(peer, headers_of(blocks[20:21]))
        assert not bench.all(fx.Send)
        assert bench.disconnected(peer) is None
    bench.receive(peer, headers_of(blocks[10:21]))
    assert bench.state(peer).headers.best_known == 21


def test_inv_of_an_unknown_block_asks_for_headers_not_for_the_block(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, headers_of(blocks[8:10]))
    bench.receive(peer, Inv((InvItem(MSG_BLOCK, header_hash(blocks[10][:80])),)))
    assert len(bench.sent(GetHeaders)) == 1
    assert not bench.sent(GetData)


def test_inv_before_sync_adds_one_peer_for_each_block(bench: Bench, old_blocks: list[bytes]) -> None:
    bench.peer(ConnectionKind.OUTBOUND_FULL)
    others = [bench.peer(ConnectionKind.OUTBOUND_FULL) for _ in range(3)]
    tip = Inv((InvItem(MSG_BLOCK, b"\x01" * 32),))
    bench.receive(others[0], tip)
    assert bench.sent(GetHeaders, others[0])
    bench.receive(others[1], tip)
    assert not bench.sent(GetHeaders)
    bench.receive(others[1], Inv((InvItem(MSG_BLOCK, b"\x02" * 32),)))
    assert bench.sent(GetHeaders, others[1])
    bench.receive(others[0], Inv((InvItem(MSG_BLOCK, b"\x03" * 32),)))
    assert not bench.sent(GetHeaders)


def test_sendheaders_only_to_peers_with_enough_work(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, minimum_chain_work=work_of(20))
    peer = bench.peer()
    bench.receive(peer, headers_of(blocks[:5]))
    assert not bench.sent(SendHeaders)
    bench.receive(peer, headers_of(blocks))
    assert bench.sent(SendHeaders) == [SendHeaders()]


# -- little work -------------------------------------------------------------------------------------------------


def test_short_low_work_chain_is_not_stored(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, minimum_chain_work=work_of(1000))
    peer = bench.peer()
    bench.receive(peer, headers_of(blocks))
    assert len(bench.chain.tree) == 1
    assert bench.disconnected(peer) is None
    assert bench.state(peer).headers.presync is None


def test_low_work_chain_is_presynced_then_stored(params: NetworkParams, old_blocks: list[bytes]) -> None:
    bench = Bench(params, minimum_chain_work=work_of(2250))
    peer = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.receive(peer, headers_of(old_blocks[:2000]))
    assert len(bench.chain.tree) == 1
    (request,) = bench.sent(GetHeaders)
    assert request.locator[0] == header_hash(old_blocks[1999][:80])
    assert bench.protocol.presync_height() == 2000
    bench.receive(peer, headers_of(old_blocks[2000:]))
    (again,) = bench.sent(GetHeaders)
    assert again.locator[0] == params.genesis_hash
    assert len(bench.chain.tree) == 1
    bench.receive(peer, headers_of(old_blocks[:2000]))
    bench.receive(peer, headers_of(old_blocks[2000:]))
    assert bench.chain.tree.height(bench.chain.tree.best_header) == 2300
    assert bench.state(peer).headers.presync is None


def test_outbound_peer_with_too_little_work_is_left_during_initial_download(
    params: NetworkParams, old_blocks: list[bytes]
) -> None:
    bench = Bench(params, minimum_chain_work=work_of(5000))
    noban = bench.peer(permissions=Permission.NOBAN)
    bench.receive(noban, headers_of(old_blocks[:100]))  # stored, as the user trusts this peer
    assert len(bench.chain.tree) == 101
    peer = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.receive(peer, headers_of(old_blocks[:100]))
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage


def test_low_work_header_floods_leave_the_tree_flat(params: NetworkParams, old_blocks: list[bytes]) -> None:
    """CVE-2024-52916, CVE-2019-25220: a peer sends headers without end; nothing of them stays."""
    bench = Bench(params, minimum_chain_work=work_of(10**9))
    peer = bench.peer()
    for _ in range(50):
        bench.receive(peer, headers_of(old_blocks[:2000]))
        presync = bench.state(peer).headers.presync
        assert presync is None or presync.memory < 1_700_000
    assert len(bench.chain.tree) == 1


# -- outbound peers behind -----------------------------------------------------------------------------------------


def test_outbound_peer_with_an_old_chain_is_replaced(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    protected = [bench.peer(ConnectionKind.OUTBOUND_FULL) for _ in range(4)]
    for peer in protected:
        bench.receive(peer, headers_of(blocks[-2:]))
        assert bench.state(peer).headers.protected
    behind = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.receive(behind, headers_of(blocks[:30]))
    bench.wait(20 * 60 + 5, each=5)
    assert bench.disconnected(behind) is None
    assert len(bench.sent(GetHeaders, behind)) == 1  # a last chance
    bench.wait(125, each=5)
    assert (closed := bench.disconnected(behind)) is not None
    assert "old chain" in closed.reason


def test_outbound_peer_that_catches_up_is_kept(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer(ConnectionKind.BLOCK_RELAY)
    bench.receive(peer, headers_of(blocks[:30]))
    bench.wait(600, each=5)
    bench.receive(peer, headers_of(blocks[30:]))
    bench.wait(3600, each=5)
    assert bench.disconnected(peer) is None


def test_empty_headers_end_the_wait(bench: Bench) -> None:
    peer = bench.peer()
    assert bench.state(peer).headers.requested_at is not None
    bench.receive(peer, Headers(()))
    assert bench.state(peer).headers.requested_at is None


@pytest.mark.parametrize("inbound", [True, False])
def test_headers_on_an_invalid_chain_discourage_outbound_peers_only(
    bench: Bench, blocks: list[bytes], inbound: bool
) -> None:
    first = bench.peer()
    bench.receive(first, headers_of(blocks[:5]))
    bench.chain.tree.mark_failed(5)
    peer = bench.peer(ConnectionKind.INBOUND if inbound else ConnectionKind.OUTBOUND_FULL)
    bench.receive(peer, headers_of(blocks[3:5]))
    assert (bench.disconnected(peer) is None) is inbound
    other = bench.peer()
    bench.receive(other, headers_of(blocks[5:6]))  # on top of the invalid one
    assert (closed := bench.disconnected(other)) is not None
    assert closed.discourage
