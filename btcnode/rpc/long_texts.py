"""Large JSON read without holding up other threads: long texts are cut out before it is parsed, and put back after.

Python's parser reads a text of 30 MB (a transaction or block in hex, a PSBT in base64) in one go, in which no other
thread runs. What is cut out are texts of letters, digits, "+", "/" and "=" only: they stand for themselves in JSON.
"""

from __future__ import annotations

import re
from typing import Any

from btcnode.rpc.jsonvalue import DuplicateKeysDict, decode

LONG_TEXT = 65_536  # bytes at least; what is shorter is parsed in less than a millisecond
_PLAIN = re.compile(rb"[A-Za-z0-9+/=]*")
_BEFORE = b"[,: \t\r\n"  # what may stand before the quote that begins a text; a backslash would make it another one


def decode_large(data: bytes) -> Any:
    """The same as ``decode``; raises ValueError."""
    texts: list[str] = []
    parts: list[bytes] = []
    done = seen = 0
    for at in range(0, len(data) - LONG_TEXT, LONG_TEXT):
        if at < seen or data.find(b'"', at, at + LONG_TEXT) >= 0:
            continue
        begin, end = data.rfind(b'"', done, at) + 1, data.find(b'"', at)
        seen = end if end >= 0 else len(data)
        if begin and end >= 0 and data[begin - 2 : begin - 1] in _BEFORE and _is_plain(data, begin, end):
            parts += (data[done:begin], _name(len(texts)).encode())
            texts.append(data[begin:end].decode("ascii"))
            done = end
    if not texts:
        return decode(data)
    put = _Texts(texts)
    value = put.back(decode(b"".join((*parts, data[done:]))))
    return value if put.all_back else decode(data)


def _name(number: int) -> str:
    return f"a long text that was cut out, {number}"


def _is_plain(data: bytes, begin: int, end: int) -> bool:
    """Whether there is nothing but what stands for itself, looked at piece by piece."""
    return all(_PLAIN.fullmatch(data, at, min(at + LONG_TEXT, end)) is not None for at in range(begin, end, LONG_TEXT))


class _Texts:
    """Puts texts back into a value."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = {_name(n): text for n, text in enumerate(texts)}
        self._found = 0

    @property
    def all_back(self) -> bool:
        """Whether each has been found once: no text of the client looked like the name of one."""
        return self._found == len(self._texts)

    def back(self, value: Any) -> Any:
        """The value with its texts."""
        if isinstance(value, str):
            text = self._texts.get(value)
            self._found += text is not None
            return value if text is None else text
        if isinstance(value, list):
            return [self.back(item) if isinstance(item, str | list | dict) else item for item in value]
        if isinstance(value, DuplicateKeysDict):
            return DuplicateKeysDict([(self.back(key), self.back(item)) for key, item in value.items()])
        if isinstance(value, dict):
            return {self.back(key): self.back(item) for key, item in value.items()}
        return value
