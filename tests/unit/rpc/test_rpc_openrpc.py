"""The OpenRPC document and the typed client say what the declarations say."""

from __future__ import annotations

import ast
import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import pytest

import btcnode.rpc.typed
from btcnode.cli.client import run
from btcnode.rpc.client import RpcConnectionError
from btcnode.rpc.declare import AnyAmount, Bits, Coins, Hex, Hint, Named, Real, When, rpc
from btcnode.rpc.errors import RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.methods import every_method
from btcnode.rpc.openrpc import OPENRPC_VERSION, document, method_object, result_schema, sample
from btcnode.rpc.typed import NodeClient, NodeRpc

Running = Any


class Long(TypedDict):
    n: Annotated[int, "Whole"]
    r: Annotated[NotRequired[Real], "Not whole"]


@rpc("testing", examples=((1, ["00"]),))
def saysomething(
    node: Any,
    first: Annotated[int, "A number", Bits(-32), Named("|one")],
    list: Annotated[Items[Annotated[Hex, Named("item"), "One"]] | None, "Several"] = None,
    fee: Annotated[AnyAmount, "An amount", Hint("a tenth")] = "0.1",
) -> Annotated[Long, When("long")] | Annotated[str, "Text", When("short")]:
    """Say something.
    And more.
    """
    return ""


def test_a_method_is_described_in_full() -> None:
    assert method_object(saysomething) == {
        "name": "saysomething",
        "summary": "Say something.",
        "description": "Say something.\nAnd more.",
        "tags": [{"name": "testing"}],
        "paramStructure": "either",
        "params": [
            {
                "name": "first",
                "description": "A number",
                "required": True,
                "schema": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "description": "A number"},
                "x-aliases": ["one"],
            },
            {
                "name": "list",
                "description": "Several",
                "required": False,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "format": "hex", "description": "One"},
                    "description": "Several",
                },
            },
            {
                "name": "fee",
                "description": "An amount",
                "required": False,
                "schema": {"type": ["number", "string"], "default": "0.1", "description": "An amount"},
                "x-default": "a tenth",
            },
        ],
        "result": {
            "name": "result",
            "schema": {
                "oneOf": [
                    {
                        "title": "long",
                        "type": "object",
                        "properties": {
                            "n": {"type": "number", "description": "Whole"},
                            "r": {"type": "number", "description": "Not whole"},
                        },
                        "additionalProperties": False,
                        "required": ["n"],
                    },
                    {"title": "short", "type": "string", "description": "Text"},
                ]
            },
        },
        "examples": [
            {
                "name": "saysomething 1",
                "params": [{"name": "first", "value": 1}, {"name": "list", "value": ["00"]}],
                "result": {"name": "result", "value": {"n": 1, "r": 0.5}},
            }
        ],
    }


class Valued(TypedDict):
    value: Coins


@rpc("testing")
def saysmore(node: Any) -> dict[str, Annotated[list[Valued], Named("txid")]] | Hex:
    """Say more."""
    return {}


def test_results_of_every_form() -> None:
    declared, text = saysmore.results
    assert result_schema(declared)["additionalProperties"]["items"] == {
        "type": "object",
        "properties": {"value": {"type": "number"}},
        "additionalProperties": False,
        "required": ["value"],
    }
    assert sample(declared) == {"txid": [{"value": 0.1}]}
    assert result_schema(text) == {"type": "string", "format": "hex"}


def test_the_document_has_every_method(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(every_method())
    assert found["openrpc"] == OPENRPC_VERSION
    assert {method["name"] for method in found["methods"]} == set(running.table.methods)
    assert running.call("getopenrpcinfo") == json.loads(json.dumps(found))
    assert run(["help", "--openrpc"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))


def test_examples_name_declared_parameters() -> None:
    for method in every_method():
        for example in method.examples:
            assert len(example) <= len(method.args), method.name


def test_the_stub_of_the_client_has_the_declared_parameters() -> None:
    tree = ast.parse(Path(btcnode.rpc.typed.__file__).with_suffix(".pyi").read_text())
    (client,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "NodeRpc")
    found = {
        node.name: ([arg.arg for arg in node.args.args[1:]], len(node.args.args) - 1 - len(node.args.defaults))
        for node in client.body
        if isinstance(node, ast.AsyncFunctionDef)
    }
    declared = {m.name: ([arg.names[0] for arg in m.args], m.required) for m in every_method()}
    assert found == declared, "run scripts/docs"


async def calls(running: Running) -> None:
    async with NodeClient.from_cookie(running.cookie_path, port=running.port) as client:
        assert await client.getblockcount() == 0
        genesis = await client.getblockhash(height=0)
        block = await client.getblock(genesis, verbosity=1)
        assert isinstance(block, dict)
        assert block["height"] == 0
        assert await client.getdifficulty() < Decimal("0.001")
        with pytest.raises(RpcError) as caught:
            await client.getblockhash(10**6)
        assert caught.value.code == -8
        assert await client.echojson(Decimal("0.10"), [Decimal(1)]) == [Decimal("0.10"), [1]]


def test_calls_over_http(running: Running) -> None:
    asyncio.run(calls(running))


def test_no_cookie_is_told(tmp_path: Path) -> None:
    with pytest.raises(RpcConnectionError, match="the node is not running"):
        NodeClient.from_cookie(tmp_path / ".cookie", port=1)


def test_private_names_are_no_methods() -> None:
    async def call(name: str, *params: Any) -> Any:
        return name

    rpc = NodeRpc(call)
    called: Any = asyncio.run(rpc.getblockcount())
    assert called == "getblockcount"
    with pytest.raises(AttributeError):
        _ = rpc._nothing  # type: ignore[attr-defined]
