from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import MAX_SIZE, compact_size, read_compact_size


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = compact_size(value)
    assert read_compact_size(before + encoded + after, len(before), 2**64) == (value, len(before) + len(encoded))


@pytest.mark.parametrize("text", ["fdfc00", "fd0000", "feffff0000", "fe00000000", "ffffffffff00000000"])
def test_longer_than_needed_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="non-canonical"):
        read_compact_size(bytes.fromhex(text), 0, 2**64)


@pytest.mark.parametrize("text", ["", "fd", "fdff", "fe000001", "ff00000000010000"])
def test_truncated_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="truncated"):
        read_compact_size(bytes.fromhex(text), 0)


def test_core_limit() -> None:
    assert read_compact_size(compact_size(MAX_SIZE), 0)[0] == MAX_SIZE
    with pytest.raises(DecodeError, match="above the limit"):
        read_compact_size(compact_size(MAX_SIZE + 1), 0)
