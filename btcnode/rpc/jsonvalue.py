"""JSON as Bitcoin Core reads and writes it (its UniValue): bytes to Python values and back.

Numbers of a set form (amounts with eight decimals, doubles with sixteen digits, whatever a client wrote) are
``Number`` objects, which are no strings: the encoder puts them in by their place and their count, so no text can pose
as one. Whole numbers are ``int``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import chain, islice

from btcnode.primitives.amounts import format_amount

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Any

MAX_DEPTH = 512  # arrays and objects inside one another
PIECE = 100  # items of a large array or object that are written in one go, at most
PIECE_BYTES = 65_536  # what is larger is written in several goes
INNER_BYTES = 50  # about, of what lies in items of items
PIECE_DEPTH = 8  # arrays and objects inside one another that are looked through for large ones
_INT_DIGITS = 20  # of whole numbers that are read as ``int``; no argument takes longer ones


class Number:
    """A number as it stands in JSON text; ``text`` must be a JSON number."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text})"


class Written:
    """A value that is JSON text already: ASCII in ``parts``, as ``encode`` would write it."""

    __slots__ = ("parts",)

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    @property
    def text(self) -> str:
        """The whole text."""
        return b"".join(self.parts).decode("ascii")


class DuplicateKeysDict(dict[str, "Any"]):
    """An object that named a key twice: the first value counts, ``duplicates`` has the names, ``items`` every pair."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self._pairs = pairs
        for key, value in pairs:
            self.setdefault(key, value)

    @property
    def duplicates(self) -> list[str]:
        """Keys that came again, in order."""
        seen: set[str] = set()
        return [key for key, _ in self._pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]

    def items(self) -> Any:
        """All pairs, also those that do not count."""
        return self._pairs


def amount(satoshi: int) -> Number:
    """Satoshi as coins with eight decimals."""
    return Number(format_amount(satoshi))


def double(value: float) -> Number:
    """A finite floating point number with up to sixteen significant digits."""
    return Number(f"{value:.16g}")


# ---- writing

_PLACE = -(10**24)  # stands for a number until its text is put in: such whole numbers are never read, nor answered
_PLACE_TEXT = str(_PLACE)
_READY = (Number, Written)
_CONTAINERS = (list, tuple, dict)
_NESTED = (list, dict)  # what a text can hold
_LIST_SEPARATOR = ",\x01"  # inside strings a control character is written as an escape


class _HasNumbers(Exception):
    """What is written has a ``Number``, or what is text already, in it."""


def _without_numbers(item: Any) -> Any:
    if isinstance(item, _READY):
        raise _HasNumbers
    raise TypeError(f"{type(item).__name__} is not JSON")


_write_plain = json.JSONEncoder(
    default=_without_numbers, ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


def _write(value: Any, place: Any, comma: str) -> tuple[str, list[str]]:
    """JSON text with ``place`` where a number stands, and the texts of these numbers in order."""
    numbers: list[str] = []

    def default(item: Any) -> Any:
        if not isinstance(item, _READY):
            raise TypeError(f"{type(item).__name__} is not JSON")
        numbers.append(item.text)
        return place

    encoder = json.JSONEncoder(
        default=default, ensure_ascii=False, check_circular=False, allow_nan=False, separators=(comma, ":")
    )
    return encoder.encode(value), numbers


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8; raises TypeError or ValueError for what JSON cannot hold."""
    kind = type(value)
    if kind is int:  # what is asked for most often needs no encoder
        return b"%d" % value
    if kind is Written:
        return b"".join(value.parts)
    numbers: list[str] = []
    try:
        text = _write_plain(value)
    except _HasNumbers:
        text, numbers = _write(value, _PLACE, ",")
    if numbers:
        parts = text.split(_PLACE_TEXT)
        if len(parts) != len(numbers) + 1:  # a string says the same: mark the places by what no string can contain
            text, numbers = _write(value, [_PLACE, _PLACE], _LIST_SEPARATOR)
            parts = text.split(f"[{_PLACE_TEXT}{_LIST_SEPARATOR}{_PLACE_TEXT}]")
            if len(parts) != len(numbers) + 1:
                raise ValueError(f"{_PLACE} cannot be written")
            parts = [part.replace(_LIST_SEPARATOR, ",") for part in parts]
        pieces = [""] * (2 * len(parts) - 1)
        pieces[::2] = parts
        pieces[1::2] = numbers
        text = "".join(pieces)
    if "\x7f" in text:
        text = text.replace("\x7f", "\\u007f")
    return text.encode("utf-8", "surrogateescape")  # file names of the system may be other bytes than UTF-8


def encode_large(value: Any) -> bytes:
    """The same bytes as ``encode``, written in small pieces: other threads get their turns meanwhile.

    Python's own encoder writes a whole value in one go, in which no other thread runs: a second for 50 MB.
    """
    text = BytesIO()
    for piece in _pieces(value, PIECE_DEPTH):
        text.write(piece)
    return text.getvalue()


def _pieces(value: Any, depth: int) -> Iterator[bytes]:
    if depth and type(value) in (list, dict) and value:
        yield from _inner_pieces(value, depth - 1)
    elif type(value) is Written:
        yield from value.parts
    elif type(value) is str and len(value) > PIECE_BYTES:
        yield b'"'
        for at in range(0, len(value), PIECE_BYTES):
            yield encode(value[at : at + PIECE_BYTES])[1:-1]
        yield b'"'
    else:
        yield encode(value)


def _inner_pieces(value: Any, depth: int) -> Iterator[bytes]:
    """An array or object: many small items at a time, others one by one with what is in them."""
    is_dict = type(value) is dict
    inner = iter(value.items() if is_dict else value)
    before = b"{" if is_dict else b"["
    many = len(value) > PIECE
    while part := list(islice(inner, PIECE if many else 1)):
        if many and _are_small([item for _, item in part] if is_dict else part):
            yield before + encode(dict(part) if is_dict else part)[1:-1]
            before = b","
            continue
        for item in part:
            yield before
            before = b","
            if is_dict:
                yield encode({item[0]: 0})[1:-2]
            yield from _pieces(item[1] if is_dict else item, depth)
    yield b"}" if is_dict else b"]"


def _are_small(items: list[Any]) -> bool:
    """Whether items may be written in one go: what lies deep in them is only counted."""
    size = 0
    for each in (1, INNER_BYTES):
        inner = [item for item in items if type(item) in _CONTAINERS]
        size += sum(map(len, [item for item in items if type(item) is str])) + each * sum(map(len, inner))
        if size > PIECE_BYTES or not inner:
            break
        items = list(chain.from_iterable([item.values() if type(item) is dict else item for item in inner]))
    return size <= PIECE_BYTES


def drop_large(held: list[Any]) -> None:
    """Let go of the values in ``held``, a part at a time.

    Python frees what a value consists of in one go, in which no other thread runs: 0.3 s for some million objects.
    """
    while held:
        value = held.pop()
        if type(value) not in (list, dict):
            continue
        members = list(value.values()) if type(value) is dict else value[:]
        del value
        if len(members) <= PIECE:
            held += [member for member in members if type(member) in (list, dict)]
            continue
        while members:
            member = members.pop()
            if type(member) in (list, dict) and len(member) > PIECE:
                held.append(member)


# ---- reading


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    return result if len(result) == len(pairs) else DuplicateKeysDict(pairs)


def _whole(text: str) -> int | Number:
    return int(text) if len(text) <= _INT_DIGITS and text != "-0" else Number(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_request_decoder = json.JSONDecoder(
    parse_float=Number, parse_int=_whole, parse_constant=_refuse, object_pairs_hook=_pairs
)
_decode_prefix = _request_decoder.raw_decode
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    parse_float=Number, parse_int=_whole, parse_constant=_refuse
).scan_once  # type: ignore[attr-defined]
_BEGINNING = 512  # characters of a text that are looked at before it is read


def _decode(text: str) -> Any:
    """The value of a text; raises ValueError.

    Objects are first read without a look at keys that came twice, which takes half of the time.
    """
    begin = text[:_BEGINNING]
    if not (":{" in begin or ": {" in begin):
        try:
            value, end = _scan(text, 0)
            if end == len(text) and _names_no_key_twice(text, value):
                return value
        except StopIteration:
            pass
    return _request_decoder.decode(text)  # there is white space around it, or it is none, or it takes a closer look


def _names_no_key_twice(text: str, value: Any) -> bool:
    """Whether that can be told: a text has as many colons as there are members in an object, or in an array's items.

    A key that came twice has brought a colon and no member, and so has whatever lies farther inside.
    """
    colons = text.count(":")
    if not colons:
        return True
    if type(value) is dict:
        return colons == len(value)
    return type(value) is list and set(map(type, value)) == {dict} and colons == sum(map(len, value))


def _as_decimal(text: str) -> Decimal:
    from decimal import Decimal  # btcnode-cli, which keeps numbers as they are written, does without

    return Decimal(text)


_decode_decimal = json.JSONDecoder(parse_float=_as_decimal, parse_constant=_refuse).decode
_decode_long = json.JSONDecoder(parse_float=_as_decimal, parse_int=_as_decimal, parse_constant=_refuse).decode
_decode_kept = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=_refuse, object_pairs_hook=_pairs
).decode

_write_text = json.JSONEncoder(default=str, ensure_ascii=False, check_circular=False).encode
_SURROGATE = r"\\u[dD][89a-fA-F]"


def _guarded(parse: Callable[[str], Any], data: bytes | str, depth: int = MAX_DEPTH) -> Any:
    text = data if isinstance(data, str) else data.decode("utf-8")
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if len(text) > depth:
        brackets = text.count("[") + text.count("{")
        if brackets > depth:
            _check_depth(value, depth, brackets)
    if "\\" in text and "\\u" in text and re.search(_SURROGATE, text):
        _write_text(value).encode("utf-8")  # raises for half of a pair
    return value


def _parts(item: Any) -> Iterable[Any]:
    """The items of an array, the values of an object, also of those members that do not count."""
    if type(item) is list:
        return item
    return item.values() if type(item) is dict else [part for _, part in item.items()]


def _check_depth(value: Any, depth: int, most: int) -> None:
    """Raise ValueError when more than ``depth`` arrays and objects, of at most ``most``, lie inside one another."""
    level = [value] if isinstance(value, _NESTED) else []
    for above in range(1, depth + 1):
        most -= len(level)
        if not level or above + most <= depth:  # all others in one another would not be too deep
            return
        level = [part for part in chain.from_iterable(map(_parts, level)) if isinstance(part, _NESTED)]
    if not level:
        return
    raise ValueError("nested too deeply")


def decode(data: bytes | str, depth: int = MAX_DEPTH) -> Any:
    """Parse a request (UTF-8): whole numbers are ``int``, others stay as written (``Number``).

    So do whole numbers of more than 20 characters, and -0. Raises ValueError for what is not JSON, is nested more
    than ``depth`` deep or contains half of a surrogate pair.
    """
    return _guarded(_decode, data, depth)


def decode_prefix(text: str, depth: int = MAX_DEPTH) -> tuple[Any, int]:
    """The value that a text begins with, as ``decode`` reads it, and where it ends; raises ValueError.

    A number may go on where the text ends. What follows the value may make ``depth`` count for more than it is.
    """
    end = 0

    def parse(text: str) -> Any:
        nonlocal end
        value, end = _decode_prefix(text)
        return value

    return _guarded(parse, text, depth), end


def decode_decimal(data: bytes | str) -> Any:
    """Parse an answer (UTF-8): whole numbers are ``int``, others ``Decimal``. Raises ValueError.

    An answer with a whole number of thousands of digits, which is never one of the node's own, is all ``Decimal``.
    Bytes that are no UTF-8, as in names of files, become what ``os.fsdecode`` makes of them.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    try:
        return _guarded(_decode_decimal, text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _guarded(_decode_long, text)


def decode_kept(data: bytes | str) -> Any:
    """Parse with every number kept as it is written (``Number``). Raises ValueError."""
    return _guarded(_decode_kept, data)


# ---- for people

_ESCAPES = {
    **{chr(c): f"\\u{c:04x}" for c in (*range(0x20), 0x7F)},
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip
_ESCAPE_TABLE = str.maketrans(_ESCAPES)
_NAMES = {None: "null", True: "true", False: "false"}


def pretty(value: Any, indent: int = 2) -> str:
    """JSON with line breaks, character for character as Core's ``UniValue::write(indent)``."""
    parts: list[str] = []
    _pretty(value, indent, 1, parts)
    return "".join(parts)


def _pretty(value: Any, indent: int, level: int, out: list[str]) -> None:
    if isinstance(value, str):
        out += ('"', value.translate(_ESCAPE_TABLE), '"')
    elif isinstance(value, dict | list | tuple):
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        out.append(opening)
        separator = "\n"
        for item in value.items() if isinstance(value, dict) else value:
            out += (separator, " " * (indent * level))
            separator = ",\n"
            if isinstance(value, dict):
                key, item = item
                out += ('"', key.translate(_ESCAPE_TABLE), '": ')
            _pretty(item, indent, level + 1, out)
        out += ("\n", " " * (indent * (level - 1)), closing)
    elif isinstance(value, Number):
        out.append(value.text)
    else:
        out.append(_NAMES[value] if value is None or isinstance(value, bool) else str(value))


def value_text(value: Any) -> str:
    """The text in a string or a number (and "1" for true), as Core's ``getValStr``; "" for what has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return value.text
    if isinstance(value, bool):
        return "1" if value else ""
    return str(value) if isinstance(value, int | float) or _is_decimal(value) else ""


def _is_decimal(value: Any) -> bool:
    loaded = sys.modules.get("decimal")  # if it is not, nothing is one
    return loaded is not None and isinstance(value, loaded.Decimal)


def type_name(value: Any) -> str:
    """Core's name of a value's JSON type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | Number | float) or _is_decimal(value):
        return "number"
    return "object" if isinstance(value, dict) else "array"
