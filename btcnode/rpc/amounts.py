"""Amounts and feerates as users give them: coins with up to eight decimals, as numbers or strings."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from btcnode.consensus.subsidy import MAX_MONEY
from btcnode.params import COIN
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import Literal, type_name


def parse_amount(value: Any) -> int:
    """Satoshi of an amount; raises RpcError as Core's AmountFromValue."""
    if type_name(value) not in ("number", "string"):
        raise RpcError(RpcCode.TYPE_ERROR, "Amount is not a number or string")
    text = value.text if isinstance(value, Literal) else value if isinstance(value, str) else repr(value)
    try:
        scaled = Decimal(text).scaleb(8)
        whole = int(scaled)
    except (InvalidOperation, ValueError, OverflowError):
        raise RpcError(RpcCode.TYPE_ERROR, "Invalid amount") from None
    if scaled != whole:
        raise RpcError(RpcCode.TYPE_ERROR, "Invalid amount")
    if not 0 <= whole <= MAX_MONEY:
        raise RpcError(RpcCode.TYPE_ERROR, "Amount out of range")
    return whole


def parse_feerate(value: Any) -> int:
    """Satoshi per kvB of a feerate in BTC/kvB; raises RpcError as Core's ParseFeeRate."""
    rate = parse_amount(value)
    if rate >= COIN:
        text = "Fee rates larger than or equal to 1BTC/kvB are not accepted"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    return rate
