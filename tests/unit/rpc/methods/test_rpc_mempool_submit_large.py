"""Large transactions of the user's: what takes long is done beside the loop."""

from __future__ import annotations

import asyncio
from threading import current_thread, main_thread

import pytest

from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcError
from btcnode.rpc.lookup import is_large
from btcnode.rpc.methods import mempool_submit as methods


def tx_of(outputs: int, script: bytes = b"") -> Tx:
    txout = (7).to_bytes(8, "little") + bytes([len(script)]) + script
    return Tx(2, [bytes(32) + b"\1\0\0\0"], [b""], [0], [txout] * outputs)


@pytest.mark.parametrize(("outputs", "beside"), [(1, False), (20_000, True)])
def test_outputs_are_looked_at_and_hashes_made_where_the_text_is_read(
    outputs: int, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    real = methods._check_burn

    def check(tx: Tx, limit: int) -> None:
        seen.append(current_thread() is not main_thread())
        real(tx, limit)

    monkeypatch.setattr(methods, "_check_burn", check)
    text = tx_of(outputs).raw.hex()
    assert is_large(text) is beside
    tx = asyncio.run(methods._decoded(text, 0))
    assert tx is not None and len(tx.txouts) == outputs and seen == [beside]


@pytest.mark.parametrize("outputs", [1, 20_000])
def test_what_may_not_be_burnt_is_told(outputs: int) -> None:
    text = tx_of(outputs, b"\x6a").raw.hex()
    with pytest.raises(RpcError, match="maxburnamount"):
        asyncio.run(methods._decoded(text, 6))
    assert asyncio.run(methods._decoded(text, 7)) is not None
    assert asyncio.run(methods._decoded(text)) is not None
    assert asyncio.run(methods._decoded("00" * outputs, 0)) is None
