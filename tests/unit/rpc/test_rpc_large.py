"""Large arguments: parsed and decoded beside the loop, by a table of all methods that read nothing of the node."""

from __future__ import annotations

import os
import threading
from functools import wraps
from typing import Any

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.rpc import lookup
from btcnode.rpc.jsonrpc import LARGE_BODY, MAX_ARRAYS
from btcnode.rpc.lookup import LARGE_TEXT, is_large, parse_hex_or_none
from btcnode.rpc.methods import all_methods, mempool_submit, mining

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
    assert {method.name for method in all_methods() if method.pure} == set(PURE)


@pytest.mark.parametrize("method", sorted(PURE))
def test_large_arguments_are_worked_on_beside_the_loop(
    running: Running, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    declared = next(known for known in all_methods() if known.name == method)
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


def test_a_block_that_is_gone_is_not_answered_from_memory(running: Running) -> None:
    name = running.call("generatetodescriptor", 1, "raw(52)")[0]
    txid = running.call("getblock", name)["tx"][0]
    files = running.parts.chain.driver.chainstate.store.files
    files.block_path(0).rename(files.directory / "elsewhere")
    assert running.call("getblock", name, 2)["message"].startswith("Block not found on disk")
    assert running.call("getrawtransaction", txid, 1, name)["code"] == -5
    (files.directory / "elsewhere").rename(files.block_path(0))
    assert running.call("getblock", name)["tx"] == [txid]
