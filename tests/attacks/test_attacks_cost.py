"""Messages that cost their sender little: nothing of them is decoded before it is of use, and what is goes in steps."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any, NoReturn

import pytest

from btcnode.chain.header_tree import HeaderTree
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives import tx as tx_module
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash, sha256d
from btcnode.primitives.header import header_hash
from btcnode.primitives.scan import scan_tx, scan_tx_in_steps, txid_in_steps
from btcnode.primitives.steps import STEP, at_once
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.transactions.tx_download import Known, TxDownload
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.testing.small_pool import SmallPool
from btcnode.wire import messages as m
from btcnode.wire.codec import StepwiseMessage
from btcnode.wire.constants import MSG_BLOCK, MSG_WTX
from btcnode.wire.registry import Sealed, read_message
from tests.lib.protocol_bench import Bench

ELEMENTS = 12 * STEP


@pytest.fixture(scope="module")
def params() -> NetworkParams:
    return params_for("regtest")


@pytest.fixture
def bench(params: NetworkParams) -> Bench:
    bench = Bench(params)
    bench.load(mine_chain(params, 20, UNIX_START - 20 * 60))
    return bench


def transaction(elements: int = 0, inputs: int = 1, outputs: int = 1) -> Tx:
    outpoints = [bytes([7]) * 32 + n.to_bytes(4, "little") for n in range(inputs)]
    witnesses = [[b""] * elements, *([[]] * (inputs - 1))] if elements else None
    return Tx(2, outpoints, [b""] * inputs, [0] * inputs, [bytes(8) + b"\x01\x51"] * outputs, witnesses)


def header_on(prev: bytes, *, valid: bool) -> bytes:
    for nonce in range(1 << 16):
        header = (4).to_bytes(4, "little") + prev + bytes(32) + UNIX_START.to_bytes(4, "little")
        header += (0x207FFFFF).to_bytes(4, "little") + nonce.to_bytes(4, "little")
        if (header_hash(header)[31] < 0x80) is valid:
            return header
    raise AssertionError("no such header")


def hostile_messages(bench: Bench) -> dict[str, bytes]:
    """Payloads whose contents are of no use, as their heads show."""
    tip = bench.chain.tree.hash(bench.chain.active.tip)
    txs = compact_size(1) + transaction(ELEMENTS).raw
    compact = bytes(8) + compact_size(1) + bytes(6) + compact_size(1) + b"\0" + transaction(ELEMENTS).raw
    return {
        "getblocktxn of an unknown block": bytes(32) + compact_size(60_000) + bytes(60_000),
        "blocktxn that nobody asked for": tip + txs,
        "cmpctblock on an unknown block": header_on(bytes(32), valid=True) + compact,
        "cmpctblock without proof of work": header_on(tip, valid=False) + compact,
        "cmpctblock of a block that is here": bench.chain.blocks[bench.chain.active.tip][:80] + compact,
        "merkleblock": header_on(tip, valid=True) + bytes(4) + compact_size(1000) + bytes(32_000) + b"\0",
        "xthinblock that nobody asked for": header_on(tip, valid=True) + compact_size(0) + txs,
        "xblocktx that nobody asked for": tip + txs,
    }


@pytest.mark.parametrize("number", range(8))
def test_useless_messages_are_not_decoded(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def decoded(*_: Any) -> NoReturn:
        raise AssertionError("decoded")

    name, payload = list(hostile_messages(bench).items())[number]
    peer = bench.peer()
    for cls in StepwiseMessage.__subclasses__():
        monkeypatch.setattr(cls, "decode_in_steps", decoded)
    message = read_message(name.split()[0], payload)
    assert isinstance(message, Sealed)
    bench.receive(peer, message)
    assert (bench.disconnected(peer) is not None) is ("proof of work" in name)


@pytest.mark.parametrize("kind", ["cmpctblock", "headers", "inv"])
def test_who_is_asked_for_headers_already_costs_no_locator(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What leads nowhere makes us ask for headers once in two minutes, and is looked at as often as it comes."""
    located: list[int] = []
    locator = HeaderTree.locator

    def watched(tree: HeaderTree, index: int) -> list[BlockHash]:
        located.append(index)
        return locator(tree, index)

    monkeypatch.setattr(HeaderTree, "locator", watched)
    bench.step(ev.Tick(UNIX_START))
    peer = bench.peer(services=0)
    assert not located
    for n in range(50):
        header = header_on(bytes([n]) * 32, valid=True)
        message = {
            "cmpctblock": read_message("cmpctblock", header + bytes(8) + b"\0\x01\0" + transaction().raw),
            "headers": m.Headers((header,)),
            "inv": m.Inv((m.InvItem(MSG_BLOCK, bytes([n]) * 32),)),
        }[kind]
        bench.receive(peer, message)
    assert len(located) == 1


def test_a_transaction_that_is_known_is_not_parsed_again(params: NetworkParams) -> None:
    pool = SmallPool()
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    bench = Bench(params, config=config, transactions=pool)
    bench.load(mine_chain(params, 20, UNIX_START - 20 * 60))
    tx = transaction(ELEMENTS)
    pool.add(tx)
    peer = bench.peer(wtxid_relay=True)
    bench.turns_at_once = False
    bench.receive(peer, m.TxMessage(tx.raw))
    assert not bench.all(fx.AskForTurn)  # the body alone was scanned, for the txid
    assert not bench.all(fx.ProcessTransactions)


def test_a_small_transaction_costs_one_look(params: NetworkParams, monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn of its own, its hash computed once, what is known of it asked once, and nothing of blocks afterwards."""
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    bench = Bench(params, config=config, transactions=SmallPool())
    bench.load(mine_chain(params, 20, UNIX_START - 20 * 60))
    peer = bench.peer(wtxid_relay=True)
    bench.turns_at_once = False
    raw = transaction(3).raw
    looked: list[bytes] = []
    hashed: list[bytes] = []
    known = TxDownload.known

    def look(download: TxDownload, tx_hash: bytes, by_wtxid: bool) -> Known:
        looked.append(tx_hash)
        return known(download, tx_hash, by_wtxid)

    def digest(data: bytes) -> bytes:
        hashed.append(data)
        return sha256d(data)

    monkeypatch.setattr(TxDownload, "known", look)
    monkeypatch.setattr(tx_module, "sha256d", digest)
    monkeypatch.setattr(bench.protocol._download, "request_more", lambda _: pytest.fail("blocks"))
    bench.receive(peer, m.TxMessage(raw))
    (effect,) = bench.all(fx.ProcessTransactions)
    assert not bench.all(fx.AskForTurn)
    assert looked == [effect.txs[0].wtxid] == [sha256d(raw)]
    assert raw not in hashed
    bench.receive(peer, m.TxMessage(raw + b"behind"))
    assert not bench.all(fx.ProcessTransactions)  # the same, in validation: bytes behind it are no part of it


def test_a_large_compact_block_is_read_in_steps(bench: Bench) -> None:
    """Other peers get their turns between two steps; what the peer sends next waits."""
    tip = bench.chain.tree.hash(bench.chain.active.tip)
    payload = header_on(tip, valid=True) + bytes(8) + compact_size(3) + bytes(range(18)) + compact_size(1) + b"\0"
    message = read_message("cmpctblock", payload + transaction(ELEMENTS).raw)
    peer, other = bench.peer(), bench.peer()
    bench.turns_at_once = False
    bench.receive(peer, message)
    steps = 0
    while bench.all(fx.AskForTurn):
        steps += 1
        bench.receive(other, m.Ping(steps))
        assert bench.sent(m.Pong, other)
        bench.step(ev.PeerTurn(peer))
    assert steps >= ELEMENTS // STEP - 1
    assert bench.sent(m.GetBlockTxn, peer)


def test_headers_are_added_in_steps(params: NetworkParams) -> None:
    bench = Bench(params)
    headers = tuple(raw[:80] for raw in mine_chain(params, 2000, UNIX_START - 2001 * 60))
    peer = bench.peer()
    bench.turns_at_once = False
    bench.receive(peer, m.Headers(headers))
    grown = [0]
    while bench.all(fx.AskForTurn):
        bench.step(ev.PeerTurn(peer))
        grown.append(bench.chain.tree.height(bench.chain.tree.best_header))
    assert grown[-1] == 2000
    assert max(after - before for before, after in pairwise(grown)) <= 200


def test_an_inv_becomes_no_objects_beyond_what_is_looked_at(bench: Bench) -> None:
    inv = m.Inv(m.InvItem(MSG_WTX, n.to_bytes(32, "big")) for n in range(50_000))
    assert m.Inv.decode(inv.encode()).packed == inv.packed
    assert len(list(inv.pairs(10))) == 10
    assert len(inv) == len(inv.items) == 50_000


def damaged(raw: bytes, rng: Random) -> bytes:
    kind = rng.randrange(3)
    if kind == 0:
        return raw[: rng.randrange(len(raw))]
    at = rng.randrange(min(len(raw), 200))
    return raw[:at] + bytes([rng.choice((0, 1, 0xFC, 0xFD, 0xFE, 0xFF))]) + raw[at + 1 :]


def outcome(read: Any) -> Any:
    try:
        return read()
    except DecodeError as error:
        return str(error).split(": truncated")[0]


def test_steps_find_what_one_pass_finds() -> None:
    rng = Random(5)
    shapes = [transaction(), transaction(3), transaction(STEP + 1), transaction(2, 300, 300), transaction(0, 2, STEP)]
    for case in range(600):
        raw = shapes[case % 5].raw
        if case >= 5:
            raw = damaged(raw, rng)
        assert outcome(lambda raw=raw: scan_tx(raw, 0, [], [])[2]) == outcome(
            lambda raw=raw: at_once(scan_tx_in_steps(raw, 0))
        )
        whole = outcome(lambda raw=raw: Tx.parse_at(raw, 0)[0])
        steps = outcome(lambda raw=raw: at_once(Tx.parse_in_steps(raw)))
        if isinstance(whole, Tx):
            assert isinstance(steps, Tx)
            assert (steps.raw, steps.txid, steps.witnesses) == (whole.raw, whole.txid, whole.witnesses)
            if len(whole.raw) == len(raw):
                assert at_once(txid_in_steps(raw)) == whole.txid
        else:
            assert steps == whole
