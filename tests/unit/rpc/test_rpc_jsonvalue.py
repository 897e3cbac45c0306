"""JSON text as Bitcoin Core's UniValue reads and writes it."""

from __future__ import annotations

import json
import weakref
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.rpc import jsonvalue
from btcnode.rpc.jsonvalue import (
    DuplicateKeysDict,
    Number,
    amount,
    decode,
    decode_decimal,
    decode_kept,
    double,
    drop_large,
    encode,
    encode_large,
    pretty,
    type_name,
    value_text,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT | st.just(Number("1.50")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_comes_back(value: Any) -> None:
    assert decode(encode(value)) == value
    assert decode(pretty(value)) == value
    assert encode(decode_kept(encode(value))) == encode(value)


def test_amounts_and_doubles() -> None:
    assert encode([amount(0), amount(1), amount(-1), amount(2_100_000_000_000_000), amount(-150_000_000)]) == (
        b"[0.00000000,0.00000001,-0.00000001,21000000.00000000,-1.50000000]"
    )
    values = [1.0, 0.1, 1e300, 112149504190349.3, 1e-7, 4.656542373906925e-10, 1e15, 1e16, 1e17, -0.0, 1 / 3]
    assert encode(list(map(double, values))) == (
        b"[1,0.1,1e+300,112149504190349.3,1e-07,4.656542373906925e-10,1000000000000000,1e+16,1e+17,-0,"
        b"0.3333333333333333]"
    )
    assert decode_decimal(b'{"a":0.10}') == {"a": Decimal("0.10")}


PLACE = str(jsonvalue._PLACE)


@pytest.mark.parametrize(
    "text", [PLACE, f"[{PLACE},{PLACE}]", f"[{PLACE},\x01{PLACE}]", f"{PLACE}5", "\x005", '",5,"', "5", "Number(5)"]
)
def test_text_cannot_pose_as_a_number(text: str) -> None:
    value = {"result": [Number("5.0"), text, {text: Number("-0")}, Number("1e5")], "id": text}
    assert json.loads(encode(value)) == {"result": [5.0, text, {text: 0}, 1e5], "id": text}
    assert encode(text) == json.dumps(text).encode()
    assert not isinstance(Number("5"), str)


def test_what_cannot_be_written_is_refused() -> None:
    place = jsonvalue._PLACE
    assert encode([place, Number("5")]) == f"[{place},5]".encode()
    for value in ([[place, place], Number("5")], float("nan"), "\ud800", {"a": float("inf")}):
        with pytest.raises(ValueError):
            encode(value)
    with pytest.raises(TypeError):
        encode([b""])


def test_text_is_escaped_as_univalue_does() -> None:
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\x80\u2028\U0001f600'
    written = (
        r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014"
        r"\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\"\\/\u007f" + "\x80\u2028\U0001f600"
    )
    assert encode([text]).decode() == f'["{written}"]'
    assert pretty(text) == f'"{written}"'
    assert encode("\udcff") == b'"\xff"'  # a file name that is not UTF-8


def test_pretty_is_univalues() -> None:
    assert pretty({}) == "{\n}"
    assert pretty({"a": [], "b": {"c": [1, "x\n\x7f"]}}) == (
        '{\n  "a": [\n  ],\n  "b": {\n    "c": [\n      1,\n      "x\\n\\u007f"\n    ]\n  }\n}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "-0", "0", "-0.0", "0e5", "1E+5", "1e-05", "1.50", "-0e0", "123456789012345678901", "-18446744073709551616",
        "1e999999999", "9" * 5000, "0." + "0" * 5000 + "1", "18446744073709551615",
    ],
)  # fmt: skip
def test_numbers_stay_as_written(text: str) -> None:
    assert encode(decode(f"[{text}]")) == f"[{text}]".encode()
    assert encode(decode_kept(f"[{text}]")) == f"[{text}]".encode()
    assert type_name(decode(text)) == "number"
    assert value_text(decode(text)) == text
    assert decode_decimal(f"[{text}]") == [Decimal(text)]


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "nul", "nullx", "True", "[1,]", "[,1]", "[1 2]", '{"a":1,}', '{"a"}', '{"a":}', '{a:1}', "{,}",
        '{"a":1 "b":2}', '{"a":1:2}', "[1:2]", "]", "[}", '{"a":[}', "NaN", "Infinity", "-Infinity", "nan", "+1", "-",
        "--1", "01", "-01", "1.", ".5", "1.e5", "1e", "1e+", "1e1.5", "0x10", "1_0", "\uff11", "\u0661", "1 2", "[] x",
        '"\t"', '"\0"', '"\n"', '"\x1f"', '"a', '"\\"', '"\\x41"', '"\\u12"', '"\\u123g"', '"\\u+123"', '"\\u 123"',
        "{}{}", "\ufeff{}", "\xa0{}", "\x0b{}", "{}\0", "\0", "'a'", "/**/1", "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_json(text: str) -> None:
    for parse in (decode, decode_decimal, decode_kept):
        with pytest.raises(ValueError):
            parse(text)
        with pytest.raises(ValueError):
            parse(text.encode())


@pytest.mark.parametrize("data", [b"\xff", b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2"'])
def test_what_is_not_utf8(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@pytest.mark.parametrize(
    "text",
    [
        r'["\ud83d"]', r'["\udc00"]', r'["a\ud83d\u0041"]', r'["\ud83d\ud83d\ude00"]',
        r'["\uDBFF"]', r'["\ude00\ud83d"]',
        r'{"\ud83d":1}', r'{"a":1,"a":"\ud83d"}', r'{"a":[{"b":["\ud83d"]}]}', r'"\ud83d\\ude00"',
    ],
)  # fmt: skip
def test_half_of_a_surrogate_pair_is_no_text(text: str) -> None:
    for parse in (decode, decode_decimal, decode_kept):
        with pytest.raises(ValueError):
            parse(text)


def test_surrogate_pairs_and_backslashes() -> None:
    assert decode(r'["\ud83d\ude00", "\\ud83d", "\uD83D\uDE00"]') == ["\U0001f600", "\\ud83d", "\U0001f600"]


@pytest.mark.parametrize("depth", [1, 2, 511, 512])
def test_deepest(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)):
        assert encode(decode(text)) == text.encode()
        assert "".join(pretty(decode_kept(text)).split()) == text


KEYS = st.sampled_from(["a", "b", "a:", '"a":', "{"])
SPACE = st.sampled_from(["", " ", "\n "])


@st.composite
def texts(draw: st.DrawFn, levels: int = 3) -> str:
    """JSON in which objects name keys twice, with white space anywhere."""
    kinds = ["plain", "array", "object", "object"] if levels else ["plain"]
    kind = draw(st.sampled_from(kinds))
    if kind == "plain":
        return draw(st.sampled_from(["1", "-0", "2.50", '"a:"', '"}{"', "[]", "{}", "null", str(10**20)]))
    inner = draw(st.lists(texts(levels - 1), max_size=4))
    gap = draw(SPACE)
    if kind == "array":
        return f"[{gap}{f'{gap},'.join(inner)}]"
    return f"{{{','.join([f'{json.dumps(draw(KEYS))}{gap}:{draw(SPACE)}{value}' for value in inner])}}}"


def all_of(value: Any) -> Any:
    """A value with the members that do not count."""
    if isinstance(value, dict):
        return type(value).__name__, [(key, all_of(inner)) for key, inner in value.items()]
    return list(map(all_of, value)) if isinstance(value, list) else value


@given(texts())
def test_keys_that_come_twice_are_noticed_wherever_they_are(text: str) -> None:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        return DuplicateKeysDict(found) if len(dict(found)) < len(found) else dict(found)

    def whole(digits: str) -> Any:
        return Number(digits) if digits == "-0" or len(digits) > 20 else int(digits)

    expected = json.loads(text, object_pairs_hook=pairs, parse_int=whole, parse_float=Number)
    assert all_of(decode(text)) == all_of(expected)


@pytest.mark.parametrize("beside", ["[]", "{}", '{"a":1}', '"["', "[[[]]]"])
def test_depth_is_that_of_the_deepest_among_many(beside: str) -> None:
    for many in (1, 600):
        for depth in (510, 511, 512):
            text = f"[{','.join([beside] * many)},{'[' * depth}{']' * depth}]"
            if depth < 512:
                decode(text)
            else:
                with pytest.raises(ValueError, match="nested too deeply"):
                    decode(text)


@pytest.mark.parametrize("depth", [513, 514, 900, 100_000])
def test_too_deep(depth: int) -> None:
    for parse in (decode, decode_decimal, decode_kept):
        with pytest.raises(ValueError):
            parse("[" * depth + "]" * depth)
        with pytest.raises(ValueError):
            parse('{"a":' * depth + "1" + "}" * depth)
    with pytest.raises(ValueError):
        decode('{"a":1,"a":' + "[" * 512 + "]" * 512 + "}")


def test_brackets_in_text_and_side_by_side_are_not_depth() -> None:
    values: tuple[Any, ...] = ("[{" * 5000, [[[]] for _ in range(5000)])
    for value in values:
        assert decode(encode(value)) == value


def test_keys_that_come_twice() -> None:
    value = decode('{"a":1,"b":2,"a":3,"c":4,"b":5,"a":6}')
    assert isinstance(value, DuplicateKeysDict)
    assert dict(value) == {"a": 1, "b": 2, "c": 4}
    assert list(value) == ["a", "b", "c"]
    assert value.duplicates == ["a", "b", "a"]
    assert encode(value) == b'{"a":1,"b":2,"a":3,"c":4,"b":5,"a":6}'
    assert "".join(pretty(value).split()) == '{"a":1,"b":2,"a":3,"c":4,"b":5,"a":6}'


def test_texts_of_values() -> None:
    values = ["a", Number("1.0"), 5, True, False, None, [], {}]
    assert list(map(value_text, values)) == ["a", "1.0", "5", "1", "", "", "", ""]
    assert list(map(type_name, values)) == ["string", "number", "number", "bool", "bool", "null", "array", "object"]


def test_what_has_no_numbers_of_a_set_form_is_written_by_an_encoder_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Making one takes as long as a small answer."""
    made: list[object] = []
    maker = json.JSONEncoder

    def make(**options: Any) -> json.JSONEncoder:
        made.append(options)
        return maker(**options)

    monkeypatch.setattr(json, "JSONEncoder", make)
    assert encode({"a": [1, "é\x7f", None, True]}) == '{"a":[1,"é\\u007f",null,true]}'.encode()
    assert not made
    assert encode({"a": [1, amount(5)], "b": double(0.5)}) == b'{"a":[1,0.00000005],"b":0.5}'
    assert made
    with pytest.raises(TypeError):
        encode({"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        encode([float("nan")])


@given(JSON)
def test_large_values_are_written_as_small_ones(value: Any) -> None:
    assert encode_large(value) == encode(value)


def test_large_ones_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    value: dict[str, Any] = {
        "result": [{"n": n, "value": amount(n), "of": {str(k): [k] * 300 for k in range(n % 3)}} for n in range(1000)],
        "names": {str(n): "\u00e9\x7f" for n in range(1000)},
        "both": [DuplicateKeysDict([("a", 1), ("a", 2)])] * 150,
        "few": [[[]], {}, None],
        "long": ["\u00e9\x7f\n" * 50_000] * 3,
        "long ones among many": [{"hex": "00" * 50_000}] * 150,
    }
    whole = encode(value)
    sizes: list[int] = []
    given = jsonvalue.encode

    def noted(part: Any) -> bytes:
        sizes.append(len(given(part)))
        return given(part)

    monkeypatch.setattr(jsonvalue, "encode", noted)
    assert encode_large(value) == whole
    assert max(sizes) < 4 * jsonvalue.PIECE_BYTES < len(whole) / 10


def test_what_is_large_is_let_go_of_in_parts() -> None:
    class Part(dict[str, Any]):
        """Can be looked for."""

    inner, shared = [Part(n=n) for n in range(1_000)], {"kept": [1] * 200}
    looked_for = [weakref.ref(inner[0]), weakref.ref(inner[-1])]
    held: list[Any] = [{"result": {"few": [inner], "shared": shared}}, None]
    del inner
    drop_large(held)
    assert not held and shared == {"kept": [1] * 200}
    assert all(one() is None for one in looked_for)
