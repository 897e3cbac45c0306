"""Numbers as users give them: amounts and feerates in coins, as numbers or strings, and real numbers."""

from __future__ import annotations

from math import isfinite
from typing import Any

from btcnode.primitives import amounts
from btcnode.primitives.amounts import COIN, AmountError
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import type_name, value_text


def parse_amount(value: Any, decimals: int = 8) -> int:
    """Satoshi of an amount; raises RpcError as Core's AmountFromValue."""
    if type_name(value) not in ("number", "string"):
        raise RpcError(RpcCode.TYPE_ERROR, "Amount is not a number or string")
    try:
        return amounts.parse_amount(value_text(value), decimals)
    except AmountError as error:
        raise RpcError(RpcCode.TYPE_ERROR, str(error)) from None


def parse_feerate(value: Any) -> int:
    """Satoshi per kvB of a feerate in BTC/kvB; raises RpcError as Core's ParseFeeRate."""
    rate = parse_amount(value)
    if rate >= COIN:
        text = "Fee rates larger than or equal to 1BTC/kvB are not accepted"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    return rate


def real_number(value: Any) -> float:
    """A JSON number as a double; raises RpcError when it is none (Core's ``get_real``)."""
    if type_name(value) != "number":
        raise RpcError(RpcCode.TYPE_ERROR, f"JSON value of type {type_name(value)} is not of expected type number")
    number = float(value_text(value))
    if not isfinite(number):
        raise RpcError(RpcCode.MISC_ERROR, "JSON double out of range")
    return number
