"""Amounts as people write them: coins with up to eight decimals, read byte for byte as Bitcoin Core reads them.

Two grammars, both ASCII only: ``parse_amount`` is that of JSON-RPC (Core's ``ParseFixedPoint``: a JSON number, in
a number or in a string), ``parse_money`` that of options (``ParseMoney``: digits with at most one point).
"""

from __future__ import annotations

import re

from btcnode.errors import BtcnodeError

COIN = 100_000_000  # satoshi
MAX_MONEY = 21_000_000 * COIN  # satoshi; no amount and no sum of amounts may be above

_DECIMALS = 8
_DIGITS = 18  # that fit in 63 bits whatever they are
_NUMBER = re.compile(r"(-?)(?:0|([1-9][0-9]*))(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_MONEY = re.compile(r"([0-9]{0,10})(?:\.([0-9]{0,8}))?")
_SPACE = " \f\n\r\t\v"


class AmountError(BtcnodeError, ValueError):
    """A text that is no amount, or one outside of 0 to 21 million coins."""


def parse_amount(text: str, decimals: int = _DECIMALS) -> int:
    """Satoshi (0 to MAX_MONEY) of coins written as a JSON number, ``0.1`` or ``1e-8``.

    With other ``decimals`` it is another unit that has so many: sat/kvB of sat/vB, with three. Raises AmountError,
    whose text is Core's: "Invalid amount" or "Amount out of range" (``AmountFromValue``).
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise AmountError("Invalid amount")
    sign, whole, part, exponent_sign, exponent = match.groups(default="")
    digits = whole + part
    significant = digits.rstrip("0")
    power = len(digits) - len(significant) - len(part) + decimals
    significant, exponent = significant.lstrip("0"), exponent.lstrip("0")
    if len(significant) > _DIGITS or len(exponent) > _DIGITS:
        raise AmountError("Invalid amount")
    power += int(exponent_sign + (exponent or "0"))
    if not 0 <= power < _DIGITS:
        raise AmountError("Invalid amount")
    satoshi: int = int(significant or "0") * 10**power
    if satoshi >= 10**_DIGITS:
        raise AmountError("Invalid amount")
    if satoshi > MAX_MONEY or (sign and satoshi):
        raise AmountError("Amount out of range")
    return satoshi


def parse_money(text: str) -> int:
    """Satoshi (0 to MAX_MONEY) of coins written plainly, ``0.1``, ``.1`` or ``1.``, white space around them allowed.

    Raises AmountError ("Invalid amount") for anything else, exponents and signs among it (``ParseMoney``).
    """
    inner = text.strip(_SPACE)
    match = _MONEY.fullmatch(inner)
    if match is None or not inner:
        raise AmountError("Invalid amount")
    whole, part = match.groups(default="")
    satoshi = int(whole or "0") * COIN + int(part.ljust(_DECIMALS, "0"))
    if satoshi > MAX_MONEY:
        raise AmountError("Invalid amount")
    return satoshi


def format_amount(satoshi: int) -> str:
    """Coins with eight decimals, as a JSON number: ``-0.00000001``."""
    whole, part = divmod(abs(satoshi), COIN)
    return f"{'-' if satoshi < 0 else ''}{whole}.{part:08d}"


def format_money(satoshi: int) -> str:
    """Coins as Core's messages have them (``FormatMoney``): no trailing zeros behind the second decimal."""
    text = format_amount(satoshi)
    return text[:-6] + text[-6:].rstrip("0")
