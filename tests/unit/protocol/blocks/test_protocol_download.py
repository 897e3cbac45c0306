from __future__ import annotations

import pytest

from btcnode.chain.standing import Standing
from btcnode.consensus.pow import check_proof_of_work
from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import header_hash
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import limits
from btcnode.protocol.blocks import block_headers, unannounced
from btcnode.protocol.blocks.unasked import MAX_AHEAD
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.context import Context
from btcnode.protocol.events import BlockProcessed, BlockRejected, ChainSettled, PeerDisconnected, PeerTurn, Tick
from btcnode.protocol.peer import Peer
from btcnode.settings.permissions import Permission
from btcnode.testing.blocks import grind
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.constants import MSG_BLOCK, MSG_WITNESS_BLOCK, NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_WITNESS
from btcnode.wire.messages import BlockMessage, CmpctBlock, GetData, Headers, InvItem, NotFound
from tests.lib.protocol_bench import Bench

OUTBOUND = ConnectionKind.OUTBOUND_FULL
WINDOW = limits.BLOCK_DOWNLOAD_WINDOW


def headers_of(blocks: list[bytes]) -> Headers:
    return Headers(tuple(raw[:80] for raw in blocks))


def hash_of(raw: bytes) -> bytes:
    return header_hash(raw[:80])


def requested(bench: Bench, peer: int | None = None) -> list[bytes]:
    """Hashes asked for among the last effects."""
    return [item.hash for message in bench.sent(GetData, peer) for item in message.items]


def learn(bench: Bench, peer: int, blocks: list[bytes]) -> None:
    """The peer has told its whole chain of up to 4,000 headers."""
    bench.receive(peer, headers_of(blocks[:2000]))
    if len(blocks) > 2000:
        effects = list(bench.effects)
        bench.receive(peer, headers_of(blocks[2000:]))
        bench.effects = effects + bench.effects


def deliver(bench: Bench, peer: int, raw: bytes) -> None:
    """A block from the peer, validated and connected; ``effects`` are those of everything."""
    effects = bench.receive(peer, BlockMessage(raw))
    bench.effects = effects + bench.finish_blocks()


def test_sixteen_blocks_for_each_peer_and_none_twice(bench: Bench, old_blocks: list[bytes]) -> None:
    peers = [bench.peer(OUTBOUND) for _ in range(4)]
    asked: dict[bytes, int] = {}
    for peer in peers:
        learn(bench, peer, old_blocks)
        hashes = requested(bench, peer)
        assert len(hashes) == 16
        for block_hash in hashes:
            assert block_hash not in asked
            asked[block_hash] = peer
    assert list(asked) == [hash_of(raw) for raw in old_blocks[:64]]
    bench.wait(1)
    assert not requested(bench)


def test_witnesses_are_asked_for_where_offered(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params)
    peer = bench.peer()
    learn(bench, peer, blocks)
    (message,) = bench.sent(GetData)
    assert {item.kind for item in message.items} == {MSG_WITNESS_BLOCK}


def test_peers_without_witnesses_are_not_asked_after_segwit(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer(services=NODE_NETWORK)
    learn(bench, peer, blocks)
    bench.wait(1)
    assert bench.state(peer).headers.best_known == 60
    assert not requested(bench)  # segwit is active from the first block of regtest


def test_answers_make_room_for_more(bench: Bench, old_blocks: list[bytes]) -> None:
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, old_blocks)
    seen = requested(bench)
    for i in range(12):
        deliver(bench, peer, old_blocks[i])
        seen += requested(bench)
    assert seen == [hash_of(raw) for raw in old_blocks[: len(seen)]]
    assert len(seen) >= 24
    assert bench.chain.active.height == 12


def test_blocks_out_of_order_are_stored_and_connected_later(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, blocks)
    for raw in reversed(blocks[:16]):
        deliver(bench, peer, raw)
    assert bench.chain.active.height == 16


def test_inbound_peers_are_spared_while_outbound_ones_deliver(bench: Bench, old_blocks: list[bytes]) -> None:
    outbound = bench.peer(OUTBOUND)
    inbound = bench.peer()
    learn(bench, outbound, old_blocks)
    bench.receive(inbound, headers_of(old_blocks[:2000]))
    bench.wait(2)
    assert not requested(bench, inbound)
    bench.step(PeerDisconnected(outbound))
    assert len(requested(bench, inbound)) == 16


def test_who_only_comes_and_goes_costs_no_look_at_all_the_others(
    bench: Bench, old_blocks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look can be a walk over the window of blocks, and a stranger comes and goes a thousand times a minute."""
    outbound = bench.peer(OUTBOUND)
    learn(bench, outbound, old_blocks)
    strangers = [bench.peer() for _ in range(5)]
    looked_at: list[int] = []
    monkeypatch.setattr(bench.protocol._download, "request_more", lambda peer: looked_at.append(peer.id))
    for stranger in strangers:
        bench.step(PeerDisconnected(stranger))
    assert not looked_at
    others = [bench.peer(), bench.peer()]
    bench.step(PeerDisconnected(outbound))
    assert set(others) <= set(looked_at)


def test_limited_peers_serve_no_old_blocks(bench: Bench, old_blocks: list[bytes]) -> None:
    peer = bench.peer(services=NODE_NETWORK_LIMITED | NODE_WITNESS)
    learn(bench, peer, old_blocks)
    bench.wait(1)
    assert not requested(bench)


def test_requests_of_a_lost_peer_move_to_others(bench: Bench, old_blocks: list[bytes]) -> None:
    first, second = bench.peer(OUTBOUND), bench.peer(OUTBOUND)
    learn(bench, first, old_blocks)
    lost = requested(bench, first)
    learn(bench, second, old_blocks)
    bench.step(PeerDisconnected(first))
    again: list[bytes] = []
    for raw in old_blocks[16:32]:
        deliver(bench, second, raw)
        again += requested(bench, second)
    assert again[:16] == lost


def test_not_found_moves_the_request(bench: Bench, old_blocks: list[bytes]) -> None:
    first, second = bench.peer(OUTBOUND), bench.peer(OUTBOUND)
    learn(bench, first, old_blocks)
    learn(bench, second, old_blocks[:8])
    assert not requested(bench, second)
    bench.receive(first, NotFound((InvItem(MSG_WITNESS_BLOCK, hash_of(old_blocks[3])),)))
    assert hash_of(old_blocks[3]) not in requested(bench, first)
    bench.receive(first, NotFound(tuple(InvItem(MSG_BLOCK, hash_of(raw)) for raw in old_blocks[4:8])))
    bench.wait(1)
    assert requested(bench, second) == [hash_of(raw) for raw in old_blocks[3:8]]


def test_not_found_for_what_was_not_asked_is_ignored(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, blocks)
    before = list(bench.state(peer).blocks.in_flight)
    bench.receive(peer, NotFound(tuple(InvItem(MSG_BLOCK, bytes([i]) * 32) for i in range(200))))
    bench.receive(peer, NotFound((InvItem(MSG_BLOCK, hash_of(blocks[50])),)))
    assert list(bench.state(peer).blocks.in_flight) == before
    assert not bench.state(peer).blocks.missing


def fill_window(bench: Bench, good: int, blocks: list[bytes]) -> None:
    """The good peer delivers all that it is asked for until the window cannot move."""
    pending: list[bytes] = [bench.chain.tree.hash(i) for i in bench.state(good).blocks.in_flight]
    by_hash = {hash_of(raw): raw for raw in blocks}
    while pending:
        deliver(bench, good, by_hash[pending.pop(0)])
        pending += requested(bench, good)


def test_stalling_peer_is_replaced_with_growing_patience(bench: Bench, old_blocks: list[bytes]) -> None:
    staller, good = bench.peer(OUTBOUND), bench.peer(OUTBOUND)
    learn(bench, staller, old_blocks)
    learn(bench, good, old_blocks)
    fill_window(bench, good, old_blocks)
    assert bench.chain.active.height == 0
    assert bench.state(staller).blocks.stalling_since is not None
    bench.wait(1.5, each=0.1)
    assert bench.disconnected(staller) is None
    moved = requested(bench, good)  # before the staller is given up
    bench.wait(1, each=0.1)
    assert (closed := bench.disconnected(staller)) is not None
    assert "stalling" in closed.reason
    assert not closed.discourage
    download = bench.protocol._download
    assert download.stalling.timeout == 4
    assert not requested(bench, good)
    assert moved == [hash_of(raw) for raw in old_blocks[:16]]
    bench.step(PeerDisconnected(staller))
    deliver(bench, good, old_blocks[0])
    assert download.stalling.timeout == 3
    for raw in old_blocks[1:16]:
        deliver(bench, good, raw)
    assert download.stalling.timeout == 2
    assert bench.chain.active.height >= WINDOW


def test_stall_ends_when_the_peer_delivers(bench: Bench, old_blocks: list[bytes]) -> None:
    slow, good = bench.peer(OUTBOUND), bench.peer(OUTBOUND)
    learn(bench, slow, old_blocks)
    learn(bench, good, old_blocks)
    fill_window(bench, good, old_blocks)
    bench.wait(1)
    deliver(bench, slow, old_blocks[0])
    assert bench.state(slow).blocks.stalling_since is None
    bench.wait(1.5, each=0.1)
    assert bench.disconnected(slow) is None


def test_block_that_does_not_come_times_out(bench: Bench, old_blocks: list[bytes]) -> None:
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, old_blocks)
    bench.wait(599, each=1)
    assert bench.disconnected(peer) is None
    bench.wait(3, each=1)
    assert (closed := bench.disconnected(peer)) is not None
    assert "Timeout downloading block" in closed.reason


def test_late_block_near_the_tip_is_asked_of_another_peer(bench: Bench, blocks: list[bytes]) -> None:
    """CVE-2024-52922: who announces first and withholds delays a block by seconds, not minutes."""
    bench.load(blocks[:-1])
    withholder, honest = bench.peer(), bench.peer()
    bench.receive(withholder, headers_of(blocks[-2:]))
    assert requested(bench, withholder) == [hash_of(blocks[-1])]
    bench.receive(honest, headers_of(blocks[-2:]))
    assert not requested(bench, honest)
    bench.wait(limits.TIP_BLOCK_MOVE_TIMEOUT + 1)
    assert requested(bench, honest) == [hash_of(blocks[-1])]
    assert not requested(bench, withholder)
    bench.receive(withholder, BlockMessage(blocks[-1]))  # it comes after all: welcome
    assert bench.all(fx.ProcessBlock)[0].requested
    bench.finish_blocks()
    assert bench.chain.active.height == 60


def test_nothing_is_late_while_the_user_holds_the_clock(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:-1])
    withholder, other = bench.peer(), bench.peer()
    bench.receive(withholder, headers_of(blocks[-2:]))
    bench.receive(other, headers_of(blocks[-2:]))
    for _ in range(5):
        bench.now += limits.TIP_BLOCK_MOVE_TIMEOUT
        bench.step(Tick(UNIX_START + bench.now - 1000, held=True))
        assert not requested(bench, other)


def test_who_announces_a_block_is_asked_for_it_whatever_its_services_say(bench: Bench, blocks: list[bytes]) -> None:
    """As in Core: the services decide about catching up only."""
    bench.load(blocks[:-1])
    peer = bench.peer(services=NODE_WITNESS)
    learn(bench, peer, blocks[-1:])
    assert requested(bench, peer) == [hash_of(blocks[-1])]


def test_direct_fetch_near_the_tip_only(bench: Bench, blocks: list[bytes], old_blocks: list[bytes]) -> None:
    bench.load(blocks[:40])
    peer = bench.peer()
    bench.receive(peer, headers_of(blocks[40:45]))
    assert requested(bench, peer) == [hash_of(raw) for raw in blocks[40:45]]


# -- what is delivered ---------------------------------------------------------------------------------------------


def test_unrequested_block_with_more_work_is_taken(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, BlockMessage(blocks[10]))
    (effect,) = bench.all(fx.ProcessBlock)
    assert not effect.requested
    bench.finish_blocks()
    assert bench.chain.active.height == 11


def test_unrequested_blocks_far_ahead_or_with_less_work_are_dropped(params: NetworkParams) -> None:
    bench = Bench(params)
    chain = mine_chain(params, 300, UNIX_START - 60)
    fork = mine_chain(params, 5, UNIX_START - 60, extra=b"\x07")
    bench.load(chain[:6])
    peer = bench.peer()
    bench.receive(peer, headers_of(chain))
    bench.receive(peer, BlockMessage(chain[299]))
    assert not bench.all(fx.ProcessBlock)
    for raw in fork:
        bench.receive(peer, BlockMessage(raw))
        assert not bench.all(fx.ProcessBlock)
    assert bench.disconnected(peer) is None


def test_block_with_unknown_parent_is_an_offence(bench: Bench, blocks: list[bytes]) -> None:
    peer = bench.peer()
    bench.receive(peer, BlockMessage(blocks[5]))
    assert (closed := bench.disconnected(peer)) is not None
    assert closed.discourage
    assert len(bench.chain.tree) == 1
    name, prev = to_display(hash_of(blocks[5])), to_display(blocks[5][4:36])
    texts = [line.text for line in bench.log if line.category == "validation"]  # as Core has them
    assert f"header {name} has prev block not found: {prev}" in texts
    assert "ProcessNewBlock: AcceptBlock FAILED (prev-blk-not-found)" in texts


def test_a_refused_header_is_named_as_in_core(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, minimum_chain_work=1000)
    bench.receive(bench.peer(), BlockMessage(blocks[0]))
    name = to_display(hash_of(blocks[0]))
    wanted = f"AcceptBlockHeader: not adding new block header {name}, missing anti-dos proof-of-work validation"
    assert wanted in [line.text for line in bench.log]
    old = bytearray(blocks[0][:80])
    old[68:72] = (1).to_bytes(4, "little")  # earlier than genesis
    while not check_proof_of_work(header_hash(bytes(old)), int.from_bytes(old[72:76], "little"), params):
        old[76] += 1
    other = Bench(params)
    other.receive(other.peer(), Headers((bytes(old),)))
    check = f"Consensus::ContextualCheckBlockHeader: {to_display(header_hash(bytes(old)))}"
    assert f"AcceptBlockHeader: {check}, time-too-old, block's timestamp is too early" in [x.text for x in other.log]


def test_unrequested_block_without_work_is_not_remembered(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, minimum_chain_work=1000)
    peer = bench.peer()
    bench.receive(peer, BlockMessage(blocks[0]))
    assert len(bench.chain.tree) == 1
    assert bench.disconnected(peer) is None
    broken = grind(blocks[0][:80], valid=False) + blocks[0][80:]
    bench.receive(peer, BlockMessage(broken))
    assert bench.disconnected(peer) is not None


def mutated(raw: bytes) -> bytes:
    """The same header over other transactions."""
    return raw[:-1] + bytes([raw[-1] ^ 1])


def overdrawn(raw: bytes) -> bytes:
    """The block with a coinbase that pays less than nothing, under the right merkle root: no other form of it."""
    coinbase = Tx.parse(raw[81:])
    out = b"\xff" * 8 + coinbase.txouts[0][8:]
    txouts = [out, *coinbase.txouts[1:]]
    bad = Tx(coinbase.version, coinbase.prevouts, coinbase.script_sigs, coinbase.sequences, txouts, coinbase.witnesses)
    return grind(raw[:36] + bad.txid + raw[68:80]) + b"\x01" + bad.raw


def test_mutated_block_punishes_the_sender_and_nobody_else(bench: Bench, blocks: list[bytes]) -> None:
    """CVE-2012-2459, CVE-2024-52921: the hash is not condemned, another peer's request stays."""
    bench.load(blocks[:10])
    honest, liar = bench.peer(), bench.peer()
    bench.receive(honest, headers_of(blocks[10:11]))
    assert requested(bench, honest)
    bench.receive(liar, BlockMessage(mutated(blocks[10])))
    bench.finish_blocks()
    assert (closed := bench.disconnected(liar)) is not None
    assert closed.discourage
    assert 11 in bench.state(honest).blocks.in_flight
    assert not bench.chain.tree.is_failed(11)
    deliver(bench, honest, blocks[10])
    assert bench.chain.active.height == 11
    assert bench.disconnected(honest) is None


@pytest.mark.parametrize("number", [4, 9])
def test_a_mutated_form_of_a_block_that_is_here_is_not_passed_over(
    bench: Bench, blocks: list[bytes], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Core, which looks before it asks whether the block is needed; here at what is quickly looked at."""
    bench.load(blocks[:10])
    liar, again, late = bench.peer(), bench.peer(), bench.peer()
    bench.receive(again, BlockMessage(blocks[number]))
    bench.receive(liar, BlockMessage(mutated(blocks[number])))
    assert bench.disconnected(again) is None
    assert (closed := bench.disconnected(liar)) is not None and closed.discourage
    assert not bench.chain.tree.is_failed(number + 1)
    monkeypatch.setattr(block_headers, "MAX_LOOKED_AT", len(blocks[number]) - 1)
    bench.receive(late, BlockMessage(mutated(blocks[number])))
    assert bench.disconnected(late) is None


def test_a_mutated_form_of_a_block_that_nobody_wants_is_not_passed_over(params: NetworkParams) -> None:
    bench = Bench(params)
    best, other = mine_chain(params, 12, UNIX_START - 60), mine_chain(params, 3, UNIX_START - 60, extra=b"\x09")
    bench.load(best)
    honest, liar = bench.peer(), bench.peer()
    bench.receive(honest, BlockMessage(other[0]))
    bench.receive(liar, BlockMessage(mutated(other[0])))
    assert bench.disconnected(honest) is None
    assert bench.disconnected(liar) is not None
    assert not bench.all(fx.ProcessBlock)


@pytest.mark.parametrize("fault", ["mutated", "cut", "overdrawn"])
def test_the_header_of_a_block_at_fault_is_not_kept(bench: Bench, blocks: list[bytes], fault: str) -> None:
    """As in Core, which looks at the whole block before it takes the header of one that nobody announced."""
    bench.load(blocks[:10])
    raw = {
        "mutated": mutated(blocks[10]),
        "cut": blocks[10][:-1],
        "overdrawn": overdrawn(blocks[10]),
    }[fault]
    peer = bench.peer()
    bench.receive(peer, BlockMessage(raw))
    assert (bench.disconnected(peer) is None) == (fault == "cut")  # that one Core drops without a word
    assert len(bench.chain.tree) == 11
    assert not bench.all(fx.ProcessBlock)
    bench.receive(bench.peer(), BlockMessage(blocks[10]))
    bench.finish_blocks()
    assert bench.chain.active.height == 11


def test_a_block_that_nobody_announced_is_looked_at_in_steps(bench: Bench, blocks: list[bytes]) -> None:
    """Its peer's next message waits; other peers are served meanwhile, and may bring the same header."""
    bench.load(blocks[:10])
    bench.turns_at_once = False
    peer, other = bench.peer(), bench.peer()
    bench.receive(peer, BlockMessage(blocks[10]))
    assert bench.all(fx.AskForTurn) == [fx.AskForTurn(peer, first=True)]
    assert len(bench.chain.tree) == 11
    bench.receive(other, Headers((blocks[10][:80],)))
    assert len(bench.chain.tree) == 12
    while not bench.all(fx.ProcessBlock):
        bench.step(PeerTurn(peer))
    bench.finish_blocks()
    assert bench.chain.active.height == 11 and bench.disconnected(peer) is None


def test_blocks_that_nobody_announced_are_looked_at_one_at_a_time(
    bench: Bench, blocks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order; who waits for a peer that goes is next, and what would be too much to keep is dropped."""
    bench.load(blocks[:10])
    bench.turns_at_once = False
    looked: list[int] = []
    accept = block_headers.accept_header

    def note(ctx: Context, peer: Peer, raw: bytes) -> Steps[int]:
        looked.append(peer.id)
        return accept(ctx, peer, raw)

    monkeypatch.setattr(unannounced, "accept_header", note)
    monkeypatch.setattr(unannounced, "MAX_WAITING_BYTES", 3 * len(blocks[10]))
    first, second, same, beyond = (bench.peer() for _ in range(4))
    for peer in (first, second, same, beyond):
        bench.receive(peer, BlockMessage(blocks[10]))
        bench.step(PeerTurn(peer))
    assert looked == [first] and bench.state(beyond).job is None
    bench.step(PeerTurn(second))
    assert looked == [first]
    bench.step(PeerDisconnected(first, "closed"))
    while not bench.all(fx.ProcessBlock):
        bench.step(PeerTurn(second))
    bench.step(PeerTurn(same))
    assert looked == [first, second] and bench.state(same).job is None
    assert len(bench.chain.tree) == 12 and bench.disconnected(same) is None


def test_a_block_with_a_heavy_transaction_is_judged_beside_the_loop(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    block = parse_block(blocks[10])
    elements = 40_000
    raw = block.tx_raw(0)
    body = raw[6 : block.witness_pos[0] - block.tx_pos[0]] if raw[4] == 0 else raw[4:-4]
    heavy = raw[:4] + b"\0\1" + body + compact_size(elements) + bytes(elements) + raw[-4:]
    changed = blocks[10][: block.tx_pos[0]] + heavy + blocks[10][block.tx_pos[1] :]
    bench.receive(bench.peer(), BlockMessage(changed))
    assert len(bench.chain.tree) == 12 and [effect.raw for effect in bench.all(fx.ProcessBlock)] == [changed]


def test_a_block_that_came_beside_a_mutated_form_is_asked_for(bench: Bench, blocks: list[bytes]) -> None:
    """Nobody asked for either; who brought the honest one has not announced it otherwise."""
    bench.load(blocks[:10])
    bench.chain.tree.add(blocks[10][:80], int(UNIX_START))
    liar, honest = bench.peer(), bench.peer()
    in_work = bench.receive(liar, BlockMessage(mutated(blocks[10])))
    bench.receive(honest, BlockMessage(blocks[10]))
    bench.effects = in_work
    bench.finish_blocks()
    assert bench.chain.active.height == 10 and bench.disconnected(liar) is not None
    bench.wait(1)
    assert 11 in bench.state(honest).blocks.in_flight
    deliver(bench, honest, blocks[10])
    assert bench.chain.active.height == 11


def test_mutated_block_of_a_manual_peer_is_asked_of_another(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    liar = bench.peer(ConnectionKind.MANUAL)
    bench.receive(liar, headers_of(blocks[10:11]))
    deliver(bench, liar, mutated(blocks[10]))
    assert bench.disconnected(liar) is None
    bench.wait(5)
    assert not requested(bench, liar)  # no endless loop with the liar
    honest = bench.peer()
    bench.receive(honest, headers_of(blocks[9:11]))
    bench.wait(1)
    assert requested(bench) or requested(bench, honest) or 11 in bench.state(honest).blocks.in_flight


def test_block_that_fails_on_connection_punishes_its_source(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    bench.chain.invalid[hash_of(blocks[11])] = "bad-txns-inputs-missingorspent"
    culprit, other = bench.peer(), bench.peer()
    bench.receive(culprit, headers_of(blocks[10:12]))
    bench.receive(other, headers_of(blocks[10:12]))
    deliver(bench, culprit, blocks[10])
    deliver(bench, culprit, blocks[11])
    assert (closed := bench.disconnected(culprit)) is not None
    assert "bad-txns-inputs-missingorspent" in closed.reason
    assert bench.disconnected(other) is None
    assert bench.chain.active.height == 11


def test_blocks_are_handed_over_with_what_their_source_has_earned(bench: Bench, blocks: list[bytes]) -> None:
    def standing() -> Standing:
        (effect,) = bench.all(fx.ProcessBlock)
        return effect.standing

    bench.load(blocks[:10])
    stranger, asked, chosen = bench.peer(), bench.peer(), bench.peer(OUTBOUND)
    bench.receive(stranger, BlockMessage(blocks[10]))
    assert standing() is Standing.UNASKED
    bench.finish_blocks()
    bench.receive(stranger, BlockMessage(blocks[11]))
    assert standing() is Standing.PROVEN
    bench.finish_blocks()
    bench.receive(asked, headers_of(blocks[12:13]))
    bench.receive(asked, BlockMessage(blocks[12]))
    assert standing() is Standing.ASKED
    bench.finish_blocks()
    bench.receive(chosen, BlockMessage(blocks[13]))
    assert standing() is Standing.PROVEN


def test_other_blocks_of_who_brought_a_bad_one_lose_their_place(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    culprit, other = bench.peer(permissions=Permission.NOBAN), bench.peer()
    bench.receive(other, headers_of(blocks[10:13]))
    for raw in blocks[10:12]:
        bench.receive(culprit, BlockMessage(raw))
    bench.receive(other, BlockMessage(blocks[12]))
    index = bench.chain.tree.find(hash_of(blocks[10]))
    bench.step(BlockProcessed(culprit, index, RuleViolation("bad-blk-sigops"), True))
    assert bench.all(fx.DistrustBlocks) == [fx.DistrustBlocks((index + 1,))]
    bench.receive(culprit, BlockMessage(blocks[13]))
    assert [effect.standing for effect in bench.all(fx.ProcessBlock)] == [Standing.BAD]


def test_rejection_without_a_source_is_one_line(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:3])
    bench.step(BlockRejected(3, RuleViolation("bad-cb-amount")))
    (line,) = bench.all(fx.Log)
    assert "bad-cb-amount" in line.text


@pytest.mark.parametrize(
    ("fault", "inbound", "outbound"),
    [
        (Fault.CONSENSUS, True, True),
        (Fault.MUTATED, True, True),
        (Fault.INVALID_HEADER, True, True),
        (Fault.INVALID_PREV, True, True),
        (Fault.MISSING_PREV, True, True),
        (Fault.CACHED_INVALID, False, True),
        (Fault.TIME_FUTURE, False, False),
        (Fault.LOW_WORK, False, False),
    ],
)
def test_faults_have_cores_consequences(
    params: NetworkParams, blocks: list[bytes], fault: Fault, inbound: bool, outbound: bool
) -> None:
    for kind, discouraged in ((ConnectionKind.INBOUND, inbound), (OUTBOUND, outbound)):
        bench = Bench(params)
        bench.load(blocks[:10])
        peer = bench.peer(kind)
        bench.receive(peer, BlockMessage(blocks[10]))
        bench.step(BlockProcessed(peer, 11, RuleViolation("some-code", "", fault)))
        closed = bench.disconnected(peer)
        assert (closed is not None and closed.discourage) is discouraged


def test_known_invalid_block_is_not_validated_again(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, headers_of(blocks[10:11]))
    bench.chain.tree.mark_failed(11)
    bench.receive(peer, BlockMessage(blocks[10]))
    assert not bench.all(fx.ProcessBlock)


def test_compact_announcement_counts_as_header(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer()
    bench.receive(peer, CmpctBlock(blocks[10][:80], 1, (), ()))
    assert requested(bench, peer) == [hash_of(blocks[10])]


# -- back-pressure -------------------------------------------------------------------------------------------------


def test_slow_validation_stops_requests(
    params: NetworkParams, old_blocks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("btcnode.protocol.blocks.block_download.MAX_BLOCKS_IN_VALIDATION", 20)
    bench = Bench(params)
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, old_blocks)
    asked = requested(bench)
    waiting: list[fx.ProcessBlock] = []
    for raw in old_blocks[:60]:
        if hash_of(raw) in asked:
            bench.receive(peer, BlockMessage(raw))
            waiting += bench.all(fx.ProcessBlock)
            asked += requested(bench)
    assert 20 <= len(waiting) <= 36
    bench.wait(5)
    assert not requested(bench)
    for effect in waiting:
        bench.chain.store(effect.index, effect.raw)
        bench.step(BlockProcessed(peer, effect.index, None))
        asked += requested(bench)
    bench.wait(1)
    assert len(asked) + len(requested(bench)) > 36


def test_too_many_bytes_in_validation_stop_the_reading(
    params: NetworkParams, old_blocks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("btcnode.protocol.blocks.block_download.MAX_VALIDATION_BYTES", 300)
    bench = Bench(params)
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, old_blocks)
    waiting: list[fx.ProcessBlock] = []
    for raw in old_blocks[:5]:
        bench.receive(peer, BlockMessage(raw))
        waiting += bench.all(fx.ProcessBlock)
        if bench.all(fx.SetReceiving):
            break
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, False)]
    bench.wait(700, each=5)
    assert bench.disconnected(peer) is None  # it is us who do not read
    for effect in waiting:
        bench.chain.store(effect.index, effect.raw)
        bench.step(BlockProcessed(peer, effect.index, None))
        if bench.all(fx.SetReceiving):
            break
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, True)]


def test_nothing_is_left_of_a_peer_that_went(bench: Bench, old_blocks: list[bytes]) -> None:
    peer = bench.peer(OUTBOUND, permissions=Permission.NOBAN)
    learn(bench, peer, old_blocks)
    bench.step(PeerDisconnected(peer))
    download = bench.protocol._download
    assert not download.requests
    assert download.preferred_count == 0
    assert download.requests.downloading_peers == 0
    assert bench.protocol._headers.sync_count == 0
    assert not bench.protocol._ctx.peers


def test_who_sends_blocks_unasked_waits_until_they_are_connected(
    params: NetworkParams, old_blocks: list[bytes]
) -> None:
    bench = Bench(params)
    peer = bench.peer()
    taken = 0
    while not bench.state(peer).pauses:
        bench.receive(peer, BlockMessage(old_blocks[taken]))
        (effect,) = bench.all(fx.ProcessBlock)
        bench.chain.store(effect.index, effect.raw)
        taken += 1
    assert taken == MAX_AHEAD + 1
    bench.step(ChainSettled())
    assert bench.state(peer).pauses  # the blocks are still being validated
    for index in range(1, taken + 1):
        bench.step(BlockProcessed(peer, index, None))
    bench.step(ChainSettled())
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, True)]


def test_a_peer_at_our_tip_has_it_in_common(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.peer(OUTBOUND)
    info = bench.protocol.peer_info(peer)
    assert info is not None and info["synced_blocks"] == -1
    learn(bench, peer, blocks[-1:])
    bench.wait(1)
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["synced_blocks"] == info["synced_headers"] == len(blocks)


def test_the_fork_with_a_failed_chain_is_in_common(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks[:10])
    peer = bench.peer(OUTBOUND)
    learn(bench, peer, blocks[:12])
    bench.chain.tree.mark_failed(bench.chain.tree.find(hash_of(blocks[10])))
    bench.state(peer).blocks.last_common = -1
    bench.wait(1)
    info = bench.protocol.peer_info(peer)
    assert info is not None and info["synced_blocks"] == 10
