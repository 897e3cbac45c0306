"""Values of Python programs as arguments of methods: as JSON would have brought them, or one typed error."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

import btcnode
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import Number, decode, decode_decimal, encode
from btcnode.rpc.python_values import arguments, as_json


class Height(IntEnum):
    FIRST = 0


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


LOOP: list[Any] = []
LOOP.append(LOOP)

NOT_JSON = (
    b"x", {1, 2}, object(), Path("/x"), {1: 2}, {None: 0}, "\ud800", {"\ud83d": 1}, float("nan"), float("inf"),
    Decimal("NaN"), Decimal("-Infinity"), LOOP, nested(511), nested(5000), [[{"a": (b"",)}]], 1j,
)  # fmt: skip


@pytest.mark.parametrize("value", NOT_JSON, ids=[str(number) for number in range(len(NOT_JSON))])
def test_what_json_has_not(value: Any) -> None:
    for given in (((value,), {}), ((), {"name": value}), ((value,), {"name": 1})):
        with pytest.raises(RpcError) as caught:
            arguments(*given)
        assert caught.value.code == RpcCode.TYPE_ERROR


JSON: tuple[Any, ...] = (
        None, True, 0, -5, 10**19, -(10**20), 10**5000, Height.FIRST, 0.1, 1e300, "", "a\0b\udc80", {"a": {}},
        Decimal(5), Decimal("5.0"), Decimal("-0"), Decimal("0.00000001"), Decimal("1E-8"), Decimal("1E+3"),
        Decimal("1e999999999"), Decimal("1e-999999999"), (), (1, [2, (3,)]), nested(510), Number("1.50"),
)  # fmt: skip


@pytest.mark.parametrize("value", JSON, ids=[str(number) for number in range(len(JSON))])
def test_the_same_as_over_http(value: Any) -> None:
    given = as_json(value)
    if value == "a\0b\udc80":  # the name of a file, whose bytes are no UTF-8
        assert given == value
        return
    written = encode(given)
    assert len(written) < 6000
    if not isinstance(value, float):  # those are written by Python, with the digits that they need
        assert decode(written, 510) == given


def test_a_decimal_number_that_is_whole_is_an_integer() -> None:
    assert type(as_json(Decimal(5))) is type(as_json(Decimal("5E+2"))) is int
    assert as_json(Decimal("5.0")) == Number("5.0")  # of which bitcoind says that it is none


def test_named_and_positional() -> None:
    assert arguments((1, (2,)), {}) == [1, [2]]
    assert arguments((), {"a": Decimal(1)}) == {"a": 1}
    assert arguments((1,), {"a": 2}) == {"a": 2, "args": [1]}


def test_wrong_arguments_of_a_node_are_told_as_errors_of_its_methods() -> None:
    async def work() -> None:
        async with btcnode.Node() as node:
            rpc: Any = node.rpc
            for value in NOT_JSON:
                with pytest.raises(RpcError):
                    await rpc.echo(value)
                with pytest.raises(RpcError):
                    await rpc.createrawtransaction([], {"data": value})
            assert await rpc.getblockhash(Decimal(0)) == await rpc.getblockhash(Height.FIRST)
            with pytest.raises(RpcError, match="JSON integer out of range"):
                await rpc.getblockhash(10**5000)

    asyncio.run(work())


def test_names_of_files_that_are_no_utf8(tmp_path: Path) -> None:
    assert decode_decimal(b'["\x80"]') == ["\udc80"]

    async def work() -> None:
        async with btcnode.Node(datadir=tmp_path) as node:
            wanted = str(tmp_path / "\udc80")
            assert (await node.rpc.dumptxoutset(wanted, "latest"))["path"] == wanted

    asyncio.run(work())
