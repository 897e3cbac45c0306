"""Large arguments: parsed and worked on beside the loop, by tables of the methods that have any."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import DecodeError
from btcnode.mining.selection import Selection
from btcnode.mining.templates import Draft, Template
from btcnode.primitives.amounts import COIN
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.protocol.transactions.orphanage import OrphanInfo
from btcnode.rpc import jsonrpc, large_json, lookup, mempool_json, room
from btcnode.rpc.jsonrpc import LARGE_BODY, MAX_ARRAYS
from btcnode.rpc.lookup import HEX_PIECE, LARGE_TEXT, is_large, parse_hex_or_none
from btcnode.rpc.mempool_json import kin_of_cluster
from btcnode.rpc.methods import (
    blockstats,
    control,
    descriptors,
    every_method,
    mempool,
    mempool_submit,
    mining,
    mining_template,
    psbt,
    rawtransactions,
    txoutproof,
)
from btcnode.rpc.room import in_slices
from btcnode.services.file_names import MAX_NAME, system_name
from btcnode.settings.addresses import split_host_port
from btcnode.storage.undo import decode_undo
from tests.lib.hostile.world import TRUE_PROGRAM, Coin, outputs_of, spend
from tests.lib.large_requests import tx_of

Running = Any
LARGE = "00" * LARGE_TEXT
PURE = {
    "analyzepsbt": [LARGE],
    "combinepsbt": [[LARGE]],
    "converttopsbt": [LARGE],
    "createmultisig": [1, [LARGE]],
    "createpsbt": [[], [{"data": LARGE}]],
    "createrawtransaction": [[], [{"data": LARGE}]],
    "decodepsbt": [LARGE],
    "decoderawtransaction": [LARGE],
    "decodescript": [LARGE],
    "finalizepsbt": [LARGE],
    "getdescriptorinfo": [LARGE],
    "joinpsbts": [[LARGE, LARGE]],
    "signmessagewithprivkey": [LARGE, "x"],
    "validateaddress": [LARGE],
    "verifymessage": [LARGE, LARGE, "x"],
}


def test_every_pure_method_is_in_the_table() -> None:
    assert {method.name for method in every_method() if method.pure} == set(PURE)


@pytest.mark.parametrize("method", sorted(PURE))
def test_large_arguments_are_worked_on_beside_the_loop(
    running: Running, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    declared = next(known for known in every_method() if known.name == method)
    handler = declared.handler

    @wraps(handler)
    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return handler(*args)

    monkeypatch.setattr(declared, "handler", noted)
    for body in ({"id": 1, "method": method, "params": PURE[method]}, [{"method": method, "params": PURE[method]}]):
        running.post(body)
    assert len(threads) == 2
    assert all(name.startswith("asyncio_") for name in threads), threads


@pytest.mark.parametrize(
    ("method", "params", "module", "decoder"),
    [
        ("sendrawtransaction", [LARGE], mempool_submit, "decode"),
        ("testmempoolaccept", [[LARGE]], mempool_submit, "decode"),
        ("submitpackage", [[LARGE, LARGE]], mempool_submit, "decode"),
        ("submitblock", [LARGE], mining, "_given_block"),
    ],
)
def test_what_is_handed_in_is_decoded_beside_the_loop(
    running: Running, method: str, params: list[Any], module: Any, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    given = getattr(module, decoder)

    def noted(text: str) -> Any:
        threads.append(threading.current_thread().name)
        return given(text)

    monkeypatch.setattr(module, decoder, noted)
    _, reply, _ = running.post({"id": 1, "method": method, "params": params})
    assert reply["result"] == "high-hash" if method == "submitblock" else "decode failed" in reply["error"]["message"]
    assert threads and all(name.startswith("asyncio_") for name in threads), threads


def test_large_bodies_are_answered_as_small_ones(running: Running) -> None:
    padding = " " * LARGE_BODY
    for body in ('{"id": 1, "method": "getblockcount"}', '[{"id": 1, "method": "getblockcount"}, 3]', "3", "{", "[]"):
        small, large = running.post(body.encode()), running.post((padding + body).encode())
        assert small[:2] == large[:2]


def test_request_of_too_many_arrays_is_not_parsed(running: Running) -> None:
    body = b'{"id": 1, "method": "echo", "params": [' + b",".join([b"[]"] * (MAX_ARRAYS + 1)) + b"]}"
    status, reply, _ = running.post(body)
    assert (status, reply["error"]["message"]) == (500, "Parse error")


@pytest.mark.parametrize("text", ["", "00", "aAfF", "0", "0g", "00 00", " 00", "00\n", "\u0660\u0661", "é0"])
def test_hex_is_pairs_of_digits_and_nothing_else(text: str) -> None:
    right = text.isascii() and text.isalnum() and len(text) % 2 == 0 and "g" not in text
    assert parse_hex_or_none(text) == (bytes.fromhex(text) if right or not text else None)


@pytest.mark.parametrize("size", [HEX_PIECE - 2, HEX_PIECE, HEX_PIECE + 2, 2 * HEX_PIECE + 6])
def test_long_hex_is_the_same_in_pieces(size: int) -> None:
    text = os.urandom(size // 2).hex()
    assert parse_hex_or_none(text) == bytes.fromhex(text)
    for at in {0, min(HEX_PIECE - 3, size - 1), min(HEX_PIECE - 1, size - 1), size - 1}:
        for wrong in (f"{text[:at]}g{text[at + 1 :]}", f"{text[:at]} {text[at + 1 :]}", text[:at] + text[at + 1 :]):
            assert parse_hex_or_none(wrong) is None


def test_large_texts() -> None:
    assert is_large(LARGE) and not is_large(os.urandom(32).hex())
    with pytest.raises(DecodeError):
        mining._given_block("")


def test_a_block_is_parsed_once_and_beside_the_loop(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def noted(raw: bytes) -> ParsedBlock:
        threads.append(threading.current_thread().name)
        return parse_block(raw)

    monkeypatch.setattr(lookup, "parse_block", noted)
    name = running.call("generatetodescriptor", 1, "raw(52)")[0]
    first = running.call("getblock", name, 3)
    txid = first["tx"][0]["txid"]
    assert running.call("getblock", name, 1)["tx"] == [txid]
    assert running.call("getblockstats", name)["txs"] == 1
    assert running.call("getrawtransaction", txid, 0, name) == first["tx"][0]["hex"]
    assert running.call("verifytxoutproof", running.call("gettxoutproof", [txid], name)) == [txid]
    assert len(threads) == 1 and threads[0].startswith("asyncio_"), threads


def test_what_a_block_spends_is_read_on_the_bench(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of a user's at a time: the loop waits for one thread, not for as many as there are readers."""
    threads: list[str] = []

    def noted(raw: bytes) -> Any:
        threads.append(threading.current_thread().name)
        return decode_undo(raw)

    monkeypatch.setattr(lookup, "decode_undo", noted)
    name = running.call("generatetodescriptor", 1, "raw(52)")[0]
    for method, params in (("getblock", [name, 3]), ("getblockstats", [name])):
        running.call(method, *params)
    assert len(threads) == 2 and all(thread.startswith("asyncio_") for thread in threads), threads


@pytest.mark.parametrize(
    ("method", "params", "place"),
    [
        ("getnodeaddresses", [0], "btcnode.protocol.addresses.address_table.Entry.is_terrible"),
        ("getrawaddrman", [], "btcnode.services.addresses._describe"),
        ("getorphantxs", [1], "btcnode.primitives.tx.Tx.parse"),
    ],
)
def test_whole_tables_are_described_beside_the_loop(
    running: Running, method: str, params: list[Any], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    owner, _, name = place.rpartition(".")
    module, _, inner = owner.rpartition(".")
    holder = getattr(importlib.import_module(module), inner) if inner[0].isupper() else importlib.import_module(owner)
    given = getattr(holder, name)

    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return given(*args)

    running.call("addpeeraddress", "1.2.3.4", 8333)
    tx = tx_of(2)
    monkeypatch.setattr(type(running.parts.peers), "orphans", lambda self: [OrphanInfo(tx.wtxid, tx.raw, (7, 3))])
    monkeypatch.setattr(holder, name, noted)
    found = running.call(method, *params)
    assert len(threads) == 1 and threads[0].startswith("asyncio_"), threads
    assert ("[3, 7]" if method == "getorphantxs" else '"1.2.3.4"') in json.dumps(found)


def test_a_large_block_at_fault_is_not_parsed_on_the_loop(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header is unknown: what is wrong with it decides whether that one is taken, and no worker tells."""
    threads: list[str] = []

    def noted(raw: bytes, *, exact: bool = True) -> ParsedBlock:
        threads.append(threading.current_thread().name)
        return parse_block(raw, exact=exact)

    for module in ("btcnode.chain.chainstate", "btcnode.sync.driver"):
        monkeypatch.setattr(f"{module}.parse_block", noted)
    tiny = tx_of(1).raw
    head = b"\0\0\0\x20" + bytes.fromhex(running.call("getbestblockhash"))[::-1] + bytes(44)
    block = head + compact_size(2_000) + tiny * 2_000
    assert running.call("submitblock", block.hex()) == "high-hash"
    assert len(threads) == 1 and threads[0].startswith("read"), threads


def test_relatives_are_described_with_their_cluster_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction's 24 descendants took as many looks at the whole cluster."""
    looks: list[int] = []

    def noted(members: Any) -> Any:
        looks.append(len(members))
        return kin_of_cluster(members)

    running.call("generatetodescriptor", 101, f"raw({TRUE_PROGRAM.hex()})")
    block = running.call("getblock", running.call("getblockhash", 1))
    coin, chain = Coin(bytes.fromhex(block["tx"][0])[::-1] + bytes(4), 50 * COIN), []
    for _ in range(25):
        tx = spend([coin], [make_txout(coin.value - 2_000, TRUE_PROGRAM)])
        (coin,) = outputs_of(tx, 1, coin.value - 2_000)
        chain.append(running.call("sendrawtransaction", tx.raw.hex()))
    one_by_one = {txid: running.call("getmempoolentry", txid) for txid in chain}
    monkeypatch.setattr(mempool_json, "kin_of_cluster", noted)
    below = running.call("getmempooldescendants", chain[0], True)
    above = running.call("getmempoolancestors", chain[-1], True)
    assert looks == [25, 25]
    assert list(below) == sorted(chain[1:], key=lambda txid: bytes.fromhex(txid)[::-1])
    assert below == {txid: one_by_one[txid] for txid in chain[1:]}
    assert above == {txid: one_by_one[txid] for txid in chain[:-1]}


def test_a_block_that_is_gone_is_not_answered_from_memory(running: Running) -> None:
    name = running.call("generatetodescriptor", 1, "raw(52)")[0]
    txid = running.call("getblock", name)["tx"][0]
    for _ in range(2):
        assert running.call("getrawtransaction", txid, 1, name)["in_active_chain"]
    files = running.parts.chain.driver.chainstate.store.files
    files.block_path(0).rename(files.directory / "elsewhere")
    assert running.call("getblock", name, 2)["message"].startswith("Block not found on disk")
    assert running.call("getrawtransaction", txid, 1, name)["code"] == -5
    (files.directory / "elsewhere").rename(files.block_path(0))
    assert running.call("getblock", name)["tx"] == [txid]


def test_spent_outputs_that_are_gone_are_not_answered_from_memory(running: Running) -> None:
    name = running.call("generatetodescriptor", 1, "raw(52)")[0]
    before = [running.call("getblock", name, level) for level in (1, 2, 3)] + [running.call("getblockstats", name)]
    files = running.parts.chain.driver.chainstate.store.files
    files.undo_path(0).rename(files.directory / "elsewhere")
    assert running.call("getblock", name, 1) == before[0]
    for level in (2, 3):
        assert running.call("getblock", name, level)["message"].startswith("Undo data expected but can't be read")
    assert "code" in running.call("getblockstats", name)
    (files.directory / "elsewhere").rename(files.undo_path(0))
    assert [running.call("getblock", name, level) for level in (1, 2, 3)] + [
        running.call("getblockstats", name)
    ] == before


TX = tx_of(2).raw.hex()
TXID = "11" * 32
PSBT = "cHNidP8BAD0CAAAAARERERERERERERERERERERERERERERERERERERERERERAAAAAAAAAAAAAegDAAAAAAAAAVEAAAAAAAAA"
ASIDE: list[tuple[str, list[Any], Any, str]] = [
    ("signrawtransactionwithkey", [TX, []], rawtransactions, "decode_transaction"),
    ("signrawtransactionwithkey", [TX, []], rawtransactions, "parse_secrets"),
    ("signrawtransactionwithkey", [TX, [], []], rawtransactions, "parse_prevouts"),
    ("signrawtransactionwithkey", [TX, []], rawtransactions, "sign_transaction"),
    ("combinerawtransaction", [[TX, TX]], rawtransactions, "decode_transaction"),
    ("utxoupdatepsbt", [PSBT], psbt, "parse_psbt"),
    ("utxoupdatepsbt", [PSBT], psbt, "sign_input"),
    ("utxoupdatepsbt", [PSBT], psbt, "encode_psbt"),
    ("descriptorprocesspsbt", [PSBT, []], psbt, "parse_psbt"),
    ("descriptorprocesspsbt", [PSBT, []], psbt, "encode_psbt"),
    ("generateblock", ["raw(51)", []], mining, "assemble"),
    ("generateblock", ["raw(51)", [TX]], mining, "_read_transactions"),
    ("getblocktemplate", [{"mode": "proposal", "data": "00"}], mining_template, "parse_block"),
    ("getblocktemplate", [{"rules": ["segwit"]}], mining_template, "_strings"),
    ("gettxoutproof", [[TXID]], txoutproof, "parse_hash"),
    ("verifytxoutproof", ["00"], txoutproof, "parse_hex"),
    ("gettxspendingprevout", [[{"txid": TXID, "vout": 0}]], mempool, "_outpoint"),
    ("deriveaddresses", ["addr(bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw)#v9e9qrqq"], descriptors, "parsed"),
    ("getblockcount", [], large_json, "decode_large"),
    ("getblockhash", [0], large_json, "decode_large"),
    ("gettxspendingprevout", [[{"txid": TXID, "vout": 0}]], jsonrpc, "encode_large"),
    ("echojson", ["nothing"], jsonrpc, "_written"),
    ("getblockstats", [0, ["avgfee"]], blockstats, "_each_once"),
]


@pytest.mark.parametrize(("method", "params", "module", "name"), ASIDE, ids=[f"{row[0]}-{row[3]}" for row in ASIDE])
def test_large_requests_are_worked_on_beside_the_loop(
    running: Running, method: str, params: list[Any], module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And small ones on it, without a detour; the answers are the same."""
    threads: list[str] = []
    given = getattr(module, name)

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        made = given(*args, **options)
        return list(made) if name == "_read_transactions" else made  # a generator: run it here

    monkeypatch.setattr(module, name, noted)
    body = json.dumps({"id": 1, "method": method, "params": params}).encode()
    small = running.post(body)
    on_the_loop = set(threads)
    threads.clear()
    large = running.post(body + b" " * LARGE_BODY)
    assert threads and all(thread.startswith("asyncio_") for thread in threads), threads
    assert not any(thread.startswith("asyncio_") for thread in on_the_loop), on_the_loop
    if method != "generateblock":  # each makes another one
        assert small[:2] == large[:2]


@pytest.mark.parametrize("size", [1, LARGE_BODY])
def test_an_error_is_written_beside_the_loop_when_it_repeats_much(
    running: Running, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    given = jsonrpc._called_badly

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return given(*args, **options)

    monkeypatch.setattr(jsonrpc, "_called_badly", noted)
    body = json.dumps({"id": 1, "method": "getmempoolancestors", "params": ["1" * size]}).encode()
    assert running.post(body + b" " * LARGE_BODY)[1]["error"]["code"] == -8
    assert [thread.startswith("asyncio_") for thread in threads] == [size >= LARGE_BODY]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("addnode", ["1." * 100_000, "add"], -8),
        ("setban", ["1." * 100_000, "add"], -30),
        ("setban", ["f" * 256, "add"], -30),
    ],
)
def test_names_that_are_too_long_for_any_are_not_looked_at(
    running: Running, method: str, params: list[Any], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []

    def noted(text: str, port: int) -> Any:
        looked_at.append(len(text))
        return split_host_port(text, port)

    monkeypatch.setattr("btcnode.settings.addresses.split_host_port", noted)
    _, reply, _ = running.post({"id": 1, "method": method, "params": params})
    assert reply["error"]["code"] == code and not looked_at


def test_of_a_file_name_that_is_too_long_enough_is_left_to_be_that() -> None:
    assert len(system_name("x" * 10_000_000)) == MAX_NAME
    with pytest.raises(OSError, match="too long"):
        Path(system_name("x" * 10_000_000)).stat()


def test_many_categories_are_switched_in_slices(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def noted(items: Any) -> Any:
        given.append(len(items))
        return in_slices(items)

    monkeypatch.setattr(control, "in_slices", noted)
    assert running.call("logging", ["net"] * 20_000, ["net"] * 10_000)["net"] is False
    assert given == [20_000, 10_000]


def test_what_must_be_done_on_the_loop_lets_others_have_their_turn() -> None:
    async def count() -> int:
        ended = asyncio.Event()

        async def other() -> int:
            turns = 0
            while not ended.is_set():
                turns += 1
                await asyncio.sleep(0)
            return turns

        beside = asyncio.create_task(other())
        items = [item async for item in in_slices(range(1_000))]
        assert items == list(range(1_000))
        ended.set()
        return await beside

    with pytest.MonkeyPatch.context() as patch:
        steps = itertools.count()
        patch.setattr(room, "monotonic", lambda: next(steps) * room.SLICE_MONO / 10)
        assert asyncio.run(count()) >= 80


def test_a_large_block_is_read_and_judged_while_others_large_answers_are_made(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def long(*_: object) -> str:
        begun.set()
        may_end.wait(30)
        return "made"

    method = running.server.table.methods["combinepsbt"]
    assert len(method.args) == 1  # as its own handler declares it, before there is another
    monkeypatch.setattr(method, "handler", long)
    with ThreadPoolExecutor(1) as beside:
        made = beside.submit(running.call, "combinepsbt", ["x" * LARGE_BODY])
        try:
            assert begun.wait(20)
            assert running.call("submitblock", "ff" * LARGE_BODY)["message"] == "Block decode failed"
            assert not made.done()
        finally:
            may_end.set()
        assert made.result() == "made"


def test_templates_of_much_are_made_beside_the_loop_and_on_the_tip_of_then(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = running.call("generatetodescriptor", 1, "raw(52)")
    second = running.call("generateblock", "raw(53)", [], False)
    monkeypatch.setattr("btcnode.mining.templates.FEW_CHUNKS", -1)
    threads: list[str] = []
    tips: list[int] = []
    fill = Draft._fill

    def noted(draft: Draft, chosen: Selection) -> Template:
        threads.append(threading.current_thread().name)
        tips.append(draft.tip)
        if len(tips) == 1:  # meanwhile there is another tip
            running.call("submitblock", second["hex"])
        return fill(draft, chosen)

    monkeypatch.setattr(Draft, "_fill", noted)
    template = running.call("getblocktemplate", {"rules": ["segwit"]})
    assert template["height"] == 3 and template["previousblockhash"] == second["hash"] != first[0]
    assert tips == [1, 2] and all(name.startswith("asyncio_") for name in threads), threads
    running.call("getblocktemplate", {"rules": ["segwit"]})
    assert len(tips) == 2 and running.parts.templates.made == 1  # it is kept
