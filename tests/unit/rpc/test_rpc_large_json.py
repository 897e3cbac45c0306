"""Large JSON is read as small JSON is, in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.rpc import large_json
from btcnode.rpc.jsonvalue import decode, encode
from btcnode.rpc.large_json import WINDOW, decode_large

LONG = "aB0+/=" * WINDOW
TEXTS = [
    f'["{LONG}"]',
    f'{{"method":"x","params":["{LONG}", "short", ["{LONG}", {{"{LONG}": "{LONG}1"}}]]}}',
    f'{{"a": "{LONG}", "a": "{LONG}"}}',
    f'["{LONG}\\n{LONG}"]',
    f'["\\"{LONG}"]',
    f'["\\\\", "{LONG}"]',
    f'["x", {"1" * len(LONG)}]',
    f'[{"1" * (WINDOW - 1)}e+5, 1{"0" * (WINDOW - 2)}.5, -{"1" * (WINDOW - 1)}]',
    f'["\u00e9{LONG}\U0001f600"]',
    f'["{LONG} {LONG}"]',
    " " * len(LONG) + '"x"' + " " * len(LONG),
    "[]" + " " * len(LONG),
    "[" + "[1],\n" * WINDOW + "[]]",
    '[{"a": [1, {"b": "},"}], "c": {}} ,' + '{"a":"\\"},"},' * WINDOW + "true,null , -0, 1.50]",
    '["\\u00e9\\ud83d\\ude00' + "\\ud83d\\ude00\\\\\\u0041" * WINDOW + '"]',
    '["' + '","'.join(["a", '\\"', "],", "b,"] * WINDOW) + '"]',
    "{" + ",".join(f'"{n}":{n}' for n in range(WINDOW)) + ', "5": [6], "x" : {"y" : ",\\""}}',
    "{" + ", ".join(f'"{n}": {{"n":[{n},",\\""]}}' for n in range(WINDOW // 4)) + "}",
    "[" * 400 + LONG.replace("aB0+/=", "1,") + "1" + "]" * 400,
    '{"a":' * 512 + "1" + "}" * 512,
    "[" * 511 + '"' + LONG + '"' + "]" * 511,
    "[]", "{}", "[ ]", " { } ", "5", '""', "null",
]  # fmt: skip
NO_JSON = [
    f'["x"{LONG}"y"]',
    f'["x", {LONG}"y"]',
    f'["{LONG}',
    f'"{LONG}',
    f'[" "{LONG}"]',
    f'["{LONG}\n"]',
    f'["{LONG}\\x"]',
    f'["{LONG}\\ud83d"]',
    f'["{LONG}\\ud83d{LONG}\\ude00"]',
    f'{{"{LONG}"}}',
    f'{{"{LONG}": 1, 2: 3}}',
    f'{{"{LONG}": 1, "a"; 3}}',
    "[" + "1," * WINDOW + "]",
    "[" + "1," * WINDOW + "1",
    "[" + "1," * WINDOW + "1]]",
    "[" + "1," * WINDOW + "1}",
    "[" + "1," * WINDOW + "NaN]",
    "[" + "1," * WINDOW + "\u00e91]",
    "[" * 513 + "]" * 513,
    "[" * 512 + LONG.replace("aB0+/=", "1,") + "[]" + "]" * 512,
    "[" + "1," * WINDOW + "[" * 512 + "]" * 512 + "]",
    "[" * 100_000,
    " " * len(LONG),
    "[]" + " " * len(LONG) + "[]",
    "",
    " ",
    "[",
]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few characters."""
    monkeypatch.setattr(large_json, "WINDOW", 48)
    monkeypatch.setattr(large_json, "MIN_WINDOW", 12)


def same(left: Any, right: Any) -> bool:
    """Equal, also in the form of numbers, the order of keys and those that came twice."""
    return encode(left) == encode(right)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_large_texts_are_read_as_small_ones(text: str) -> None:
    assert same(decode_large(text.encode()), decode(text.encode()))


@pytest.mark.parametrize("text", NO_JSON, ids=range(len(NO_JSON)))
def test_what_is_no_json_is_none_when_it_is_large(text: str) -> None:
    for read in (decode, decode_large):
        with pytest.raises(ValueError):
            read(text.encode())


def test_bytes_that_are_no_text() -> None:
    for data in (b'["' + b"\xc3" * 3_000_000 + b'"]', b'"\xff"', b'["' + "é".encode() * (1 << 20) + b'\xc3"]'):
        with pytest.raises(ValueError, match="utf-8"):
            decode_large(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=90),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=4), inner, max_size=30),
    max_leaves=60,
)


@pytest.mark.usefixtures("small_pieces")
@given(JSON, st.booleans(), st.sampled_from([None, 0, 1]), st.data())
def test_any_text_is_read_as_in_one_go(value: Any, plain: bool, indent: int | None, data: st.DataObject) -> None:
    """And one with a character too few, or another one, is what it is in one go."""
    text = json.dumps([value], ensure_ascii=plain, indent=indent)
    assert same(decode_large(text.encode()), decode(text))
    at = data.draw(st.integers(0, len(text) - 1))
    for bent in (text[:at] + text[at + 1 :], text[:at] + data.draw(st.sampled_from('",:[]{}1\\ ')) + text[at:]):
        try:
            expected = decode(bent)
        except ValueError:
            with pytest.raises(ValueError):
                decode_large(bent.encode())
        else:
            assert same(decode_large(bent.encode()), expected)


@pytest.mark.parametrize(
    "value",
    [
        ["11" * 32] * 30_000,
        [{"txid": "11" * 32, "vout": n} for n in range(10_000)],
        {"params": [{"a": [1, 2, {"b": str(n)}]} for n in range(20_000)]},
        {f"{n}": n for n in range(100_000)},
        [[LONG] * 10],
        ["\n\u00e9" * 500_000],
        [[[[[[[1]] * 100_000]]]]],
    ],
    ids=range(7),
)
def test_nothing_large_is_parsed_in_one_go(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(value)
    sizes: list[int] = []
    for name in ("decode", "decode_prefix"):
        given_one = getattr(large_json, name)

        def noted(part: str, *args: Any, read: Any = given_one) -> Any:
            sizes.append(len(part))
            return read(part, *args)

        monkeypatch.setattr(large_json, name, noted)
    assert decode_large(text.encode()) == value
    assert max(sizes) <= WINDOW + 2 and sum(sizes) < 4 * len(text)
