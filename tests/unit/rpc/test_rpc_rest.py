"""REST: paths, formats, errors; the probes of whoever supervises the node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.rpc import rest as rest_module
from btcnode.rpc import room

Running = Any


def fetch(running: Running, target: str, body: bytes | None = None, method: str = "") -> tuple[int, str, bytes]:
    """``(status, content type, body)``."""
    connection = running.connect()
    connection.request(method or ("GET" if body is None else "POST"), target, body)
    response = connection.getresponse()
    answer = response.status, response.headers.get("Content-Type", ""), response.read()
    connection.close()
    return answer


@pytest.fixture
def rest(run_server: Any) -> Running:
    return run_server(rest=True)


@pytest.fixture
def genesis(rest: Running) -> str:
    return to_display(rest.parts.chain.tree.hash(0))


def test_rest_is_off_unless_asked_for(running: Running) -> None:
    assert fetch(running, "/rest/chaininfo.json")[0] == 404


def test_headers_and_hash_by_height_in_all_formats(rest: Running, genesis: str) -> None:
    raw = rest.parts.chain.tree.raw(0)
    for target in (f"/rest/headers/{genesis}.%s?count=1", f"/rest/headers/1/{genesis}.%s"):
        assert fetch(rest, target % "bin") == (200, "application/octet-stream", raw)
        assert fetch(rest, target % "hex") == (200, "text/plain", raw.hex().encode() + b"\n")
        status, kind, body = fetch(rest, target % "json")
        assert (status, kind, json.loads(body)[0]["hash"]) == (200, "application/json", genesis)
    assert fetch(rest, "/rest/blockhashbyheight/0.hex")[2] == genesis.encode() + b"\n"
    assert fetch(rest, "/rest/blockhashbyheight/0.bin")[2] == bytes.fromhex(genesis)[::-1]
    assert json.loads(fetch(rest, "/rest/blockhashbyheight/0.json")[2]) == {"blockhash": genesis}


def test_many_headers_are_told_in_slices_one_request_after_the_other(
    rest: Running, genesis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest.call("generatetodescriptor", 70, "raw(51)")
    on_the_bench: list[bool] = []

    async def noted(items: Iterable[int]) -> AsyncIterator[int]:
        ticket = room._ticket.get()
        on_the_bench.append(ticket is not None and ticket.room.benches[False].locked())
        async for item in room.in_slices(items):
            yield item

    monkeypatch.setattr(rest_module, "in_slices", noted)
    found = json.loads(fetch(rest, f"/rest/headers/{genesis}.json?count=2000")[2])
    assert [header["height"] for header in found] == list(range(71))
    assert on_the_bench == [True]
    raw = fetch(rest, f"/rest/headers/{genesis}.bin?count=2000")[2]
    assert raw == b"".join(rest.parts.chain.tree.raw(rest.parts.chain.tree.ancestor(70, n)) for n in range(71))
    assert fetch(rest, f"/rest/headers/{genesis}?count=2000")[0] == 404
    assert len(json.loads(fetch(rest, f"/rest/headers/{genesis}.json?count=50")[2])) == 50
    assert len(on_the_bench) == 1  # few are told at once


def test_what_methods_say_is_said_as_well(rest: Running, genesis: str) -> None:
    for target, method in (
        ("chaininfo", "getblockchaininfo"), ("deploymentinfo", "getdeploymentinfo"),
        ("mempool/contents", "getrawmempool"),
    ):  # fmt: skip
        assert json.loads(fetch(rest, f"/rest/{target}.json")[2]) == rest.call(method, *([True] * (target[-1] == "s")))
    status, _, body = fetch(rest, "/rest/mempool/contents.json?verbose=false&mempool_sequence=true")
    assert status == 200
    assert sorted(json.loads(body)) == ["mempool_sequence", "txids"]


def test_coins_by_path_and_by_body(rest: Running) -> None:
    txid = parse_block(rest.parts.params.genesis_block).txids[0]
    asked = f"/rest/getutxos/{to_display(txid)}-0"
    found = json.loads(fetch(rest, asked + ".json")[2])
    assert (found["chainHeight"], found["bitmap"], found["utxos"]) == (0, "0", [])
    by_path = fetch(rest, asked + ".bin")
    by_body = fetch(rest, "/rest/getutxos.bin", b"\x00\x01" + txid + bytes(4))
    assert by_path == by_body
    assert by_path[2] == bytes(4) + rest.parts.chain.tree.hash(0) + b"\x01\x00\x00"


HASH = "ab" * 32


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("tx/abc.json", 400, "Invalid hash: abc"),
        (f"tx/{HASH}.json", 404, f"{HASH} not found"),
        (f"block/{HASH}.bin", 404, f"{HASH} not found"),
        (f"spenttxouts/{HASH}.bin", 404, f"{HASH} not found"),
        (f"headers/{HASH}.json?count=2001", 400, "Header count is invalid or out of acceptable range (1-2000): 2001"),
        (f"headers/{HASH}%.json", 400, "URI parsing failed, it likely contained RFC 3986 invalid characters"),
        (f"headers/{HASH}.txt", 400, f"Invalid hash: {HASH}.txt"),
        (f"headers/{HASH}", 404, "output format not found (available: .bin, .hex, .json)"),
        ("chaininfo.hex", 404, "output format not found (available: json)"),
        ("blockhashbyheight/-1.json", 400, "Invalid height: -1"),
        ("blockhashbyheight/9.json", 404, "Block height out of range"),
        ("getutxos.json", 400, "Error: empty request"),
        (f"getutxos/{HASH}-+1.json", 400, "Parse error"),
        (
            "getutxos/" + "/".join([f"{HASH}-1"] * 16) + ".json",
            400,
            "Error: max outpoints exceeded (max: 15, tried: 16)",
        ),
        (f"blockpart/{HASH}.bin?offset=1", 400, "Block part size missing or invalid"),
        (f"blockfilter/other/{HASH}.json", 400, "Unknown filtertype other"),
        (f"blockfilterheaders/basic/{HASH}.json", 400, "Index is not enabled for filtertype basic"),
        (f"deploymentinfo/{HASH}.json", 400, "Block not found"),
        ("mempool/contents.json?verbose=TRUE", 400, 'The "verbose" query parameter must be either "true" or "false".'),
    ],
)
def test_errors(rest: Running, target: str, status: int, text: str) -> None:
    assert fetch(rest, f"/rest/{target}") == (status, "text/plain", text.encode() + b"\r\n")


def test_unreadable_bodies(rest: Running) -> None:
    for body in (b"\x01", b"\x01\x02" + bytes(36), b"\x01\xff" + b"\xff" * 8):
        assert fetch(rest, "/rest/getutxos.bin", body)[2] == b"Parse error\r\n"
    assert fetch(rest, "/rest/chaininfo.json", method="DELETE")[0] == 405


def test_warm_up_and_probes(rest: Running) -> None:
    assert fetch(rest, "/ready")[0] == 200
    rest.warm_up("Loading block index…")
    assert fetch(rest, "/rest/chaininfo.json")[0] == 503
    assert fetch(rest, "/ready")[0] == 503
    assert fetch(rest, "/health")[0] == 200
