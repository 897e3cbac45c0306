"""JSON as Bitcoin Core reads and writes it.

Numbers of a set form (amounts with eight decimals, doubles with sixteen digits) travel as ``Literal``: a string that
the C encoder writes quoted and marked, after which one pass over the text takes quotes and mark away. The mark is
random, so text from outside cannot pose as a number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from btcnode.primitives.amounts import format_amount

_TOKEN = os.urandom(12).hex()
_MARK = "\x00" + _TOKEN
_WRITTEN_MARK = rf'"\u0000{_TOKEN}'  # as the encoder writes it, after its quote


class Literal(str):
    """A number literal; ``text`` is what stands in the JSON."""

    __slots__ = ()

    def __new__(cls, text: str) -> Literal:
        """Mark ``text``, which must be a JSON number."""
        return super().__new__(cls, _MARK + text)

    @property
    def text(self) -> str:
        """The number as written."""
        return self[len(_MARK) :]

    def __repr__(self) -> str:
        return f"Literal({self.text})"


class DuplicateKeysDict(dict[str, Any]):
    """An object that named a key twice: the first value counts, ``duplicates`` has the names."""

    duplicates: list[str]


def amount(satoshi: int) -> Literal:
    """Satoshi as coins with eight decimals."""
    return Literal(format_amount(satoshi))


def double(value: float) -> Literal:
    """A floating point number with up to sixteen significant digits."""
    return Literal(f"{value:.16g}")


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    text = _encode(value)
    if _TOKEN in text:
        first, *others = text.split(_WRITTEN_MARK)
        text = "".join([first, *[part.replace('"', "", 1) for part in others]])
    return text.encode("utf-8", "replace")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    first = DuplicateKeysDict()
    first.duplicates = []
    for key, value in pairs:
        if key in first:
            first.duplicates.append(key)
        else:
            first[key] = value
    return first


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_decode = json.JSONDecoder(parse_float=Literal, parse_constant=_refuse, object_pairs_hook=_pairs).decode
_decode_decimal = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse).decode
_decode_kept = json.JSONDecoder(parse_float=Literal, parse_int=Literal, parse_constant=_refuse).decode


def _guarded(parse: Callable[[str], Any], data: bytes | str) -> Any:
    text = data if isinstance(data, str) else data.decode("utf-8")
    try:
        return parse(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode(data: bytes | str) -> Any:
    """Parse a request (UTF-8): whole numbers are ``int``, others stay as written. Raises ValueError."""
    return _guarded(_decode, data)


def decode_decimal(data: bytes | str) -> Any:
    """Parse an answer (UTF-8): whole numbers are ``int``, others ``Decimal``. Raises ValueError."""
    return _guarded(_decode_decimal, data)


def decode_kept(data: bytes | str) -> Any:
    """Parse with every number kept as it is written (``Literal``). Raises ValueError."""
    return _guarded(_decode_kept, data)


_ESCAPES = {
    **{chr(c): f"\\u{c:04x}" for c in (*range(0x20), 0x7F)},
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip
_ESCAPE_TABLE = str.maketrans(_ESCAPES)


def pretty(value: Any, indent: int = 2) -> str:
    """JSON with line breaks, character for character as Core's ``UniValue::write(indent)``."""
    parts: list[str] = []
    _pretty(value, indent, 1, parts)
    return "".join(parts)


def _pretty(value: Any, indent: int, level: int, out: list[str]) -> None:
    if isinstance(value, Literal):
        out.append(value.text)
    elif isinstance(value, str):
        out += ('"', value.translate(_ESCAPE_TABLE), '"')
    elif value is None:
        out.append("null")
    elif isinstance(value, bool):
        out.append("true" if value else "false")
    elif isinstance(value, dict):
        _pretty_items(list(value.items()), "{}", indent, level, out)
    elif isinstance(value, list | tuple):
        _pretty_items([(None, item) for item in value], "[]", indent, level, out)
    else:
        out.append(str(value))


def _pretty_items(items: list[tuple[str | None, Any]], braces: str, indent: int, level: int, out: list[str]) -> None:
    out += (braces[0], "\n")
    pad = " " * (indent * level)
    for n, (key, item) in enumerate(items):
        out.append(pad)
        if key is not None:
            out += ('"', key.translate(_ESCAPE_TABLE), '": ')
        _pretty(item, indent, level + 1, out)
        out.append(",\n" if n < len(items) - 1 else "\n")
    out += (" " * (indent * (level - 1)), braces[1])


def type_name(value: Any) -> str:
    """Core's name of a value's JSON type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Literal | int | float | Decimal):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"
