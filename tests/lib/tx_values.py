"""Transactions of blocks as values for the JSON encoder: what their text is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value
from btcnode.primitives.tx import Tx
from btcnode.rpc.decode import script_json, tx_json
from btcnode.rpc.jsonvalue import amount


def block_tx_value(tx: Tx, params: NetworkParams, spent: Sequence[bytes] | None, *, prevouts: bool) -> dict[str, Any]:
    """A transaction of a block as ``getblock`` tells of it; ``spent``: the packed coins that it spends."""
    value: dict[str, Any] = {**tx_json(tx, params)}
    if spent:
        if prevouts:
            value["vin"] = [_with_prevout(*pair, params) for pair in zip(value["vin"], spent, strict=True)]
        value["fee"] = amount(sum(map(coin_value, spent)) - sum(output.value for output in tx.outputs))
    value["hex"] = tx.raw.hex()
    return value


def _with_prevout(told: dict[str, Any], coin: bytes, params: NetworkParams) -> dict[str, Any]:
    sequence = told.pop("sequence")
    prevout = {
        "generated": coin_is_coinbase(coin),
        "height": coin_height(coin),
        "value": amount(coin_value(coin)),
        "scriptPubKey": script_json(coin_script(coin), params),
    }
    return {**told, "prevout": prevout, "sequence": sequence}
