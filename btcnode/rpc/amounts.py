"""Amounts and feerates as users give them: coins with up to eight decimals, as numbers or strings."""

from __future__ import annotations

from typing import Any

from btcnode.primitives import amounts
from btcnode.primitives.amounts import COIN, AmountError
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import Literal, type_name


def parse_amount(value: Any) -> int:
    """Satoshi of an amount; raises RpcError as Core's AmountFromValue."""
    if type_name(value) not in ("number", "string"):
        raise RpcError(RpcCode.TYPE_ERROR, "Amount is not a number or string")
    text = value.text if isinstance(value, Literal) else value if isinstance(value, str) else repr(value)
    try:
        return amounts.parse_amount(text)
    except AmountError as error:
        raise RpcError(RpcCode.TYPE_ERROR, str(error)) from None


def parse_feerate(value: Any) -> int:
    """Satoshi per kvB of a feerate in BTC/kvB; raises RpcError as Core's ParseFeeRate."""
    rate = parse_amount(value)
    if rate >= COIN:
        text = "Fee rates larger than or equal to 1BTC/kvB are not accepted"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    return rate
