"""Amounts as text: Bitcoin Core's two grammars, byte for byte."""

from __future__ import annotations

import random
import re
from decimal import Decimal

import pytest

from btcnode.primitives.amounts import COIN, MAX_MONEY, AmountError, format_amount, parse_amount, parse_money

# other scripts' digits, spaces, signs and underscores are what Python's own number parsers take
FOREIGN = ["\u0967", "\uff11", "\u0661", "1\u0660", "\u00a01", "1\u2009", "1_000", "_1_", "1_0", "+1", "0x1", "1\0"]
NOT_JSON = [
    "",
    " ",
    " 1",
    "1 ",
    "1\n",
    "\t1",
    "1.",
    ".1",
    ".",
    "-",
    "01",
    "00.1",
    "-01",
    "1e",
    "1e+",
    "1.e1",
    "e1",
    "1,0",
]
NAMES = ["NaN", "nan", "inf", "-Infinity", "Infinity", "sNaN", "null", "true"]


@pytest.mark.parametrize("text", FOREIGN + NOT_JSON + NAMES)
def test_what_is_no_json_number_is_no_amount(text: str) -> None:
    with pytest.raises(AmountError, match="Invalid amount"):
        parse_amount(text)


@pytest.mark.parametrize(
    ("text", "satoshi"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.000", 0),
        ("0.00000001", 1),
        ("0.10", COIN // 10),
        ("1", COIN),
        ("1.000000000000000000000000000", COIN),
        ("1e-8", 1),
        ("1E-08", 1),
        ("100000000e-16", 1),
        ("0.00000000000000001e+9", 1),
        ("1e+6", 1_000_000 * COIN),
        ("20999999.99999999", MAX_MONEY - 1),
        ("21000000", MAX_MONEY),
        ("0e9", 0),
        ("0e-8", 0),
        ("0.000e-8", 0),
        ("1e-00000000000000000000000000000008", 1),
    ],
)
def test_amounts(text: str, satoshi: int) -> None:
    assert parse_amount(text) == satoshi


@pytest.mark.parametrize(
    "text",
    [
        "0.000000001",
        "1e-9",
        "0e-9",  # even nothing has at most eight decimals
        "0e10",  # and less than 18 digits
        "0e1000000",
        "0e99999999",
        "1e999999",
        "1e-999999999",
        "1e9999999999999999999999",
        "1e-9999999999999999999999",
        "9" * 19,
        "1" + "0" * 10,
        "9" * 5000,
        "0." + "0" * 5000 + "1",
        "1e" + "9" * 5000,
    ],
)
def test_what_cannot_be_held_is_no_amount(text: str) -> None:
    with pytest.raises(AmountError, match="Invalid amount"):
        parse_amount(text)


@pytest.mark.parametrize("text", ["-1", "-0.00000001", "21000000.00000001", "9999999999.99999999", "1e9"])
def test_amounts_beyond_all_money(text: str) -> None:
    with pytest.raises(AmountError, match="Amount out of range"):
        parse_amount(text)


def test_random_amounts_agree_with_arithmetic() -> None:
    rng = random.Random(13)
    number = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
    taken = 0
    for _ in range(20_000):
        text = "".join(rng.choices("0012589.e-+", k=rng.randint(1, 12)))
        try:
            satoshi = parse_amount(text)
        except AmountError as error:
            match = number.fullmatch(text)
            if match is None or len((match[3] or "").lstrip("eE+-0")) > 4:
                assert str(error) == "Invalid amount"
                continue
            value = Decimal(text).scaleb(8)
            if str(error) == "Amount out of range":
                assert not 0 <= value <= MAX_MONEY
            else:
                mantissa = Decimal(text.lower().partition("e")[0])
                assert not mantissa or value != int(value) or abs(value) >= 10**18
            continue
        taken += 1
        assert number.fullmatch(text)
        assert satoshi == Decimal(text).scaleb(8)
    assert taken > 1000


@pytest.mark.parametrize(
    "text", [*FOREIGN[:5], *FOREIGN[6:], *NAMES, "", " ", "-1", "-0", "1e-5", "1 0", "1..", "1.-1"]
)
def test_what_options_do_not_take(text: str) -> None:
    with pytest.raises(AmountError, match="Invalid amount"):
        parse_money(text)


@pytest.mark.parametrize(
    "text", ["0.000010000", "00000000001", "21000000.00000001", "99999999999", "9" * 5000, "1." + "0" * 9, "\u00a01"]
)
def test_what_is_too_long_or_too_much_for_options(text: str) -> None:
    with pytest.raises(AmountError, match="Invalid amount"):
        parse_money(text)


@pytest.mark.parametrize(
    ("text", "satoshi"),
    [
        ("0", 0),
        (".", 0),
        ("1.", COIN),
        (".1", COIN // 10),
        (" 0.00001\n", 1000),
        ("\v\f\r1\t", COIN),
        ("0000000001", COIN),
        ("0.00001000", 1000),
        ("21000000", MAX_MONEY),
    ],
)
def test_amounts_of_options(text: str, satoshi: int) -> None:
    assert parse_money(text) == satoshi


@pytest.mark.parametrize(
    ("satoshi", "text"),
    [
        (0, "0.00000000"),
        (1, "0.00000001"),
        (-1, "-0.00000001"),
        (MAX_MONEY, "21000000.00000000"),
        (-COIN, "-1.00000000"),
    ],
)
def test_amounts_as_text(satoshi: int, text: str) -> None:
    assert format_amount(satoshi) == text
