"""Base64 as Core reads it, in pieces that are never large."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode

import pytest

from btcnode.descriptors.base64 import PIECE, base64_bytes


@pytest.mark.parametrize(
    "text", ["A", "AA", "AAA", "AA=", "A===", "=AAA", "AB==", "AAB=", "AA==AAAA", "AA A", "AAA\n", "é==="]
)
def test_what_is_none(text: str) -> None:
    assert base64_bytes(text) is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, PIECE // 4 * 3 - 1, PIECE // 4 * 3, PIECE // 4 * 3 + 1, PIECE * 2 + 5])
def test_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def decode(text: str) -> bytes:
        asked.append(len(text))
        return b64decode(text)

    monkeypatch.setattr("btcnode.descriptors.base64.b64decode", decode)
    data = os.urandom(size)
    text = b64encode(data).decode()
    assert base64_bytes(text) == data
    assert max(asked, default=0) <= PIECE and sum(asked) == len(text)
    for at in (PIECE - 1, PIECE, len(text) - 5):  # padding where there is more, and what is no base64
        if 0 < at < len(text) - 4:
            assert base64_bytes(f"{text[:at]}={text[at + 1 :]}") is None
            assert base64_bytes(f"{text[:at]}-{text[at + 1 :]}") is None
