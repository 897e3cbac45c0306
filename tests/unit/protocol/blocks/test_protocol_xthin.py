"""Thin blocks between two protocols, and what follows from malformed ones."""

from __future__ import annotations

from random import Random

import pytest

from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.header import header_hash
from btcnode.primitives.steps import at_once
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.serving.pieces import PIECE
from btcnode.protocol.serving.thin_answers import ThinAnswer, answer_steps
from btcnode.testing.simulator import UNIX_START
from btcnode.testing.small_pool import COIN_VALUE, SmallPool, coin, spend
from btcnode.wire.bloom_filter import contains, make_filter
from btcnode.wire.constants import MSG_CMPCT_BLOCK, MSG_WITNESS_BLOCK, NODE_XTHIN
from btcnode.wire.messages import (
    BlockMessage,
    GetData,
    GetXBlockTx,
    GetXThin,
    Headers,
    InvItem,
    SendCmpct,
    XBlockTx,
    XThinBlock,
)
from tests.lib.protocol_bench import Bench

TXS = [spend([coin(n)], COIN_VALUE, 2000, witness=b"w%d" % n) for n in range(8)]
SERVICES = OWN_SERVICES | NODE_XTHIN


def cheap(tx: Tx) -> bytes:
    return tx.wtxid[:8]


class Lab:
    """A node that has ``known`` in its pool; ``block`` is the next one."""

    def __init__(
        self, params: NetworkParams, blocks: list[bytes], *, form: str = "xthin", known: list[Tx] | None = None
    ) -> None:
        self.pool = SmallPool()
        for tx in TXS if known is None else known:
            self.pool.add(tx, 2000)
        config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True, services=SERVICES, block_relay=form)
        self.bench = Bench(params, config=config, transactions=self.pool)
        self.bench.load(blocks)
        self.block = self.bench.chain.mine(UNIX_START - 10, txs=TXS)
        self.hash = header_hash(self.block[:80])
        self.raws = [parse_block(self.block).tx_raw(i) for i in range(9)]
        self.hashes = tuple(wtxid[:8] for wtxid in parse_block(self.block).wtxids)

    def ask(self, *, services: int = SERVICES, compact: bool = False) -> tuple[int, GetXThin | None]:
        """A peer announces the block; returns it and what it was asked."""
        peer = self.bench.peer(services=services)
        if compact:
            self.bench.receive(peer, SendCmpct(False))
        self.bench.receive(peer, Headers((self.block[:80],)))
        asked = self.bench.sent(GetXThin, peer)
        return peer, asked[0] if asked else None

    def thin(self, *positions: int) -> XThinBlock:
        """The thin block with transactions at these positions, and the coinbase."""
        return XThinBlock(self.block[:80], self.hashes, tuple(self.raws[i] for i in (0, *positions)))

    def is_tip(self) -> bool:
        """Whether the block is connected."""
        self.bench.finish_blocks()
        return self.bench.chain.tip_hash == self.hash


@pytest.fixture
def lab(params: NetworkParams, blocks: list[bytes]) -> Lab:
    return Lab(params, blocks)


def test_filter_has_what_went_in_and_little_else() -> None:
    rng = Random(1)
    inside, outside = ([rng.randbytes(32) for _ in range(2000)] for _ in range(2))
    data, funcs = make_filter(inside, 77)
    assert all(contains(data, funcs, 77, x) for x in inside)
    assert sum(contains(data, funcs, 77, x) for x in outside) < 4
    assert make_filter([], 77) == (b"", 0)
    assert not contains(b"", 5, 77, inside[0])


def test_filter_as_in_bip37() -> None:
    """The filter of Core's bloom tests, by hand: three elements, five functions, no tweak."""
    elements = ["99108ad8ed9bb6274d3980bab5a85c048f0950c8", "b5a2c786d9ef4658287ced5914b37a1b4aa32eee"]
    elements.append("b9300670b4c5366e95b2699e8b18bc75e5f729c5")
    data = bytes.fromhex("614e9b")
    assert all(contains(data, 5, 0, bytes.fromhex(text)) for text in elements)
    assert not contains(data, 5, 0, bytes.fromhex("19108ad8ed9bb6274d3980bab5a85c048f0950c8"))


def test_all_in_the_pool_is_one_round_trip(lab: Lab) -> None:
    peer, asked = lab.ask()
    assert asked is not None
    assert asked.block_hash == lab.hash
    assert all(contains(asked.data, asked.hash_funcs, asked.tweak, tx.wtxid) for tx in TXS)
    lab.bench.receive(peer, lab.thin())
    assert lab.bench.all(fx.ProcessBlock)[0].raw == lab.block
    assert lab.is_tip()


def test_what_the_filter_lacks_comes_along_and_the_rest_is_asked_for(
    params: NetworkParams, blocks: list[bytes]
) -> None:
    lab = Lab(params, blocks, known=TXS[:5])
    peer, _ = lab.ask()
    lab.bench.receive(peer, lab.thin(6))
    assert lab.bench.sent(GetXBlockTx) == [GetXBlockTx(lab.hash, (cheap(TXS[6]), cheap(TXS[7])))]
    lab.bench.receive(peer, XBlockTx(lab.hash, (TXS[7].raw, TXS[6].raw)))
    assert lab.is_tip()


def test_two_candidates_for_one_cheap_hash_are_asked_for(lab: Lab) -> None:
    twin = TXS[3].wtxid[:8] + bytes(24)
    lab.pool._by_wtxid[twin] = lab.pool._by_wtxid[TXS[0].wtxid]
    peer, _ = lab.ask()
    lab.bench.receive(peer, lab.thin())
    assert lab.bench.sent(GetXBlockTx) == [GetXBlockTx(lab.hash, (cheap(TXS[3]),))]
    lab.bench.receive(peer, XBlockTx(lab.hash, (TXS[3].raw,)))
    assert lab.is_tip()


def test_wrong_transaction_of_the_pool_leads_to_the_whole_block(lab: Lab) -> None:
    """One with the cheap hash of another: the block is not that of its header."""
    entry = lab.pool._by_wtxid.pop(TXS[3].wtxid)
    other = spend([coin(50)], COIN_VALUE, 2000, witness=b"x")
    entry.tx = other
    lab.pool._by_wtxid[TXS[3].wtxid[:8] + bytes(24)] = entry
    peer, _ = lab.ask()
    lab.bench.receive(peer, lab.thin())
    lab.bench.finish_blocks()
    assert lab.bench.sent(GetData) == [GetData((InvItem(MSG_WITNESS_BLOCK, lab.hash),))]
    lab.bench.receive(peer, BlockMessage(lab.block))
    assert lab.is_tip()


def test_equal_cheap_hashes_in_the_block_lead_to_the_whole_block(lab: Lab) -> None:
    peer, _ = lab.ask()
    lab.bench.receive(peer, XThinBlock(lab.block[:80], (lab.hashes[1], *lab.hashes[1:]), (lab.raws[0],)))
    assert lab.bench.sent(GetData)
    assert not lab.bench.disconnected(peer)
    lab.bench.receive(peer, BlockMessage(lab.block))
    assert lab.is_tip()


@pytest.mark.parametrize("case", ["empty", "foreign", "short", "unknown"])
def test_malformed_answers_are_faults(params: NetworkParams, blocks: list[bytes], case: str) -> None:
    lab = Lab(params, blocks, known=TXS[:5])
    peer, _ = lab.ask()
    foreign = spend([coin(60)], COIN_VALUE, 2000)
    if case == "empty":
        lab.bench.receive(peer, XThinBlock(lab.block[:80], (), ()))
    elif case == "foreign":
        lab.bench.receive(peer, XThinBlock(lab.block[:80], lab.hashes, (lab.raws[0], foreign.raw)))
    else:
        lab.bench.receive(peer, lab.thin())
        given = (TXS[5].raw,) if case == "short" else (TXS[5].raw, TXS[6].raw, foreign.raw)
        lab.bench.receive(peer, XBlockTx(lab.hash, given))
    gone = lab.bench.disconnected(peer)
    assert gone is not None
    assert gone.discourage
    assert not lab.bench.protocol.block_queue()[0]


def test_what_was_not_asked_for_is_ignored(lab: Lab) -> None:
    peer = lab.bench.peer(services=SERVICES)
    for message in (lab.thin(), XBlockTx(lab.hash, (TXS[0].raw,)), XBlockTx(bytes(32), ())):
        lab.bench.receive(peer, message)
        assert not lab.bench.disconnected(peer)
        assert not lab.bench.all(fx.ProcessBlock)


@pytest.mark.parametrize(
    ("form", "services", "compact", "thin"),
    [
        ("xthin", SERVICES, True, True),
        ("xthin", OWN_SERVICES, True, False),
        ("auto", SERVICES, True, False),
        ("auto", SERVICES, False, True),
        ("compact", SERVICES, False, False),
        ("compact", SERVICES, True, False),
    ],
)
def test_which_form_is_asked_for(
    params: NetworkParams, blocks: list[bytes], form: str, services: int, compact: bool, thin: bool
) -> None:
    lab = Lab(params, blocks, form=form)
    _, asked = lab.ask(services=services, compact=compact)
    assert (asked is not None) is thin
    if not thin:
        kind = MSG_CMPCT_BLOCK if compact else MSG_WITNESS_BLOCK
        assert lab.bench.sent(GetData) == [GetData((InvItem(kind, lab.hash),))]


# -- serving ---------------------------------------------------------------------------------------------------------


def serve(lab: Lab, peer: int, message: GetXThin | GetXBlockTx) -> None:
    """Ask, and have the block read if need be."""
    lab.bench.receive(peer, message)
    for read in lab.bench.all(fx.ReadBlock):
        lab.bench.step(ev.BlockRead(peer, read.index, lab.block))
    for effect in lab.bench.all(fx.MakeThin):
        block = effect.block or parse_block(lab.block)
        lab.bench.step(ev.ThinMade(peer, effect.index, at_once(answer_steps(effect.request, block))))


def test_served_once_to_each_peer_then_as_a_whole(lab: Lab) -> None:
    lab.bench.load([lab.block])
    peer = lab.bench.peer(services=SERVICES)
    data, funcs = make_filter([tx.wtxid for tx in TXS[:7]], 5)
    serve(lab, peer, GetXThin(lab.hash, data, funcs, 5))
    (answer,) = lab.bench.given(XThinBlock)
    assert answer.cheap_hashes == lab.hashes
    assert answer.transactions in ((lab.raws[0],), (lab.raws[0], lab.raws[8]))
    serve(lab, peer, GetXBlockTx(lab.hash, (cheap(TXS[7]), cheap(TXS[0]))))
    assert lab.bench.given(XBlockTx) == [XBlockTx(lab.hash, (TXS[7].raw, TXS[0].raw))]
    for message in (GetXThin(lab.hash, b"", 0, 0), GetXBlockTx(lab.hash, (cheap(TXS[7]),))):
        serve(lab, peer, message)
        assert [e.command for e in lab.bench.all(fx.SendRaw)] == ["block"]


def test_march_2017_request_for_what_is_not_in_the_block_is_a_fault(lab: Lab) -> None:
    lab.bench.load([lab.block])
    peer = lab.bench.peer(services=SERVICES)
    serve(lab, peer, GetXBlockTx(lab.hash, (bytes(8),)))
    assert lab.bench.disconnected(peer)


def test_empty_filter_gets_everything(lab: Lab) -> None:
    lab.bench.load([lab.block])
    peer = lab.bench.peer(services=SERVICES)
    serve(lab, peer, GetXThin(lab.hash, b"", 50, 0))
    assert lab.bench.given(XThinBlock)[0].transactions == tuple(lab.raws)


def test_two_blocks_in_turn_are_served_in_parts_once_each(lab: Lab, blocks: list[bytes]) -> None:
    lab.bench.load([lab.block])
    peer = lab.bench.peer(services=SERVICES)
    hashes = [header_hash(blocks[-1][:80]), lab.hash]
    made = []
    for block_hash in hashes * 10:
        lab.bench.receive(peer, GetXThin(block_hash, b"\xff" * 36_000, 50, 0))
        for effect in lab.bench.all(fx.MakeThin):
            made.append(effect.index)
            lab.bench.step(ev.ThinMade(peer, effect.index, ThinAnswer("xthinblock", b"")))
        for read in lab.bench.all(fx.ReadBlock):
            lab.bench.step(ev.BlockRead(peer, read.index, lab.block))
    assert [lab.bench.chain.tree.hash(index) for index in made] == hashes


def test_matching_is_cut_in_pieces(lab: Lab) -> None:
    """Nobody waits for more than a piece's hashes, however many transactions and functions there are."""
    block = parse_block(lab.bench.chain.mine(UNIX_START - 5, txs=[spend([coin(n)], COIN_VALUE, 1) for n in range(999)]))
    steps = answer_steps(GetXThin(block.hash, b"\xff" * 36_000, 50, 0), block)
    assert sum(1 for _ in steps) == block.n_tx // PIECE


def test_what_cannot_be_made_ends_the_connection(lab: Lab) -> None:
    lab.bench.load([lab.block])
    peer = lab.bench.peer(services=SERVICES)
    lab.bench.receive(peer, GetXThin(lab.hash, b"", 0, 0))
    (effect,) = lab.bench.all(fx.MakeThin)
    lab.bench.step(ev.ThinMade(peer, effect.index, None))
    assert lab.bench.disconnected(peer)


def test_not_served_when_not_offered(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params)
    bench.load(blocks)
    for message in (GetXThin(header_hash(blocks[-1][:80]), b"", 0, 0), GetXBlockTx(header_hash(blocks[-1][:80]), ())):
        peer = bench.peer()
        bench.receive(peer, message)
        assert bench.disconnected(peer)


def test_unknown_block_is_ignored(lab: Lab) -> None:
    peer = lab.bench.peer(services=SERVICES)
    serve(lab, peer, GetXThin(bytes(32), b"", 0, 0))
    serve(lab, peer, GetXBlockTx(bytes(32), ()))
    assert not lab.bench.disconnected(peer)


# -- bytes -----------------------------------------------------------------------------------------------------------


def test_round_trips_of_the_codecs(lab: Lab) -> None:
    messages = (
        GetXThin(lab.hash, b"\x01\x02", 3, 4, 1),
        lab.thin(3),
        GetXBlockTx(lab.hash, lab.hashes[:3]),
        XBlockTx(lab.hash, (TXS[0].raw, TXS[1].raw)),
    )
    for message in messages:
        payload = message.encode()
        assert type(message).decode(payload) == message
        for size in range(len(payload)):
            with pytest.raises(DecodeError):
                type(message).decode(payload[:size])


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (GetXThin, (2).to_bytes(4, "little") + bytes(32) + bytes(10)),
        (GetXThin, (5).to_bytes(4, "little") + bytes(32) + b"\x00" + (51).to_bytes(4, "little") + bytes(5)),
        (GetXThin, (5).to_bytes(4, "little") + bytes(32) + b"\xfd\xa1\x8c" + bytes(36_001) + bytes(9)),
        (GetXBlockTx, bytes(32) + b"\xfe\x00\x00\x01\x00" + bytes(8 * 65_536)),
        (XBlockTx, bytes(32) + b"\xfe\xff\xff\xff\x7f"),
    ],
)
def test_bytes_beyond_the_limits_are_malformed(kind: type[GetXThin], payload: bytes) -> None:
    with pytest.raises(DecodeError):
        kind.decode(payload)
