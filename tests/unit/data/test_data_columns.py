"""Columns that are made of addresses: against what Python makes of one value after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.data.columns import bodies_at, difference, list_array, number_array, sums, types_at, within
from btcnode.data.schema import SCRIPT_TYPES
from btcnode.primitives.compactsize import compact_size
from btcnode.script.solver import script_type

KEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
LONG = b"\x04" + bytes(64)
STANDARD = [
    b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", b"\xa9\x14" + bytes(20) + b"\x87", b"\x00\x14" + bytes(20),
    b"\x00\x20" + bytes(32), b"\x51\x20" + bytes(32), b"\x51\x02\x4e\x73", b"\x60\x02ab", b"\x6a\x03abc",
    b"\x21" + KEY + b"\xac", b"\x41" + LONG + b"\xac", b"\x51\x21" + KEY + b"\x51\xae", b"\x6a", b"",
]  # fmt: skip


def mutated(script: bytes, at: int, byte: int, cut: int) -> bytes:
    changed = bytearray(script)
    if changed:
        changed[at % len(changed)] = byte
    return bytes(changed[: len(changed) - cut])


SCRIPTS = (
    st.sampled_from(STANDARD)
    | st.binary(max_size=300)
    | st.builds(mutated, st.sampled_from(STANDARD), st.integers(-3, 3), st.integers(0, 255), st.integers(0, 2))
)


@given(st.lists(SCRIPTS, max_size=30))
def test_types_of_scripts_side_by_side_are_those_of_each(scripts: list[bytes]) -> None:
    raw = b"".join([compact_size(len(script)) + script for script in scripts])
    sizes = np.array([len(compact_size(len(script)) + script) for script in scripts], np.int64)
    starts, ends = bodies_at(raw, np.cumsum(sizes) - sizes)
    found = types_at(raw, starts, ends).tolist()
    assert [SCRIPT_TYPES[number] for number in found] == list(map(script_type, scripts))
    assert [raw[start:end] for start, end in zip(starts, ends, strict=True)] == scripts


VALUES = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)


@given(st.lists(st.lists(VALUES, max_size=4), max_size=8))
def test_sums_are_exact_or_refused(runs: list[list[int]]) -> None:
    values = np.array([value for run in runs for value in run], np.int64)
    counts = np.array(list(map(len, runs)), np.int64)
    expected = list(map(sum, runs))
    if all(-(2**63) <= total < 2**63 for total in expected):
        assert sums(values, counts).tolist() == expected
    else:
        with pytest.raises(OverflowError):
            sums(values, counts)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=6))
def test_differences_are_exact_or_refused(pairs: list[tuple[int, int]]) -> None:
    more, less = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    expected = [a - b for a, b in pairs]
    if all(-(2**63) <= value < 2**63 for value in expected):
        assert difference(more, less).tolist() == expected
    else:
        with pytest.raises(OverflowError):
            difference(more, less)


@given(st.lists(st.lists(st.binary(max_size=5), max_size=4), max_size=8))
def test_lists_of_items(lists: list[list[bytes]]) -> None:
    counts = np.array(list(map(len, lists)), np.int64)
    found = list_array([item for items in lists for item in items], counts)
    found.validate(full=True)
    assert found.to_pylist() == lists
    assert within(counts).tolist() == [k for items in lists for k in range(len(items))]


@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=40))
def test_numbers_with_nulls(values: list[int | None]) -> None:
    import pyarrow as pa

    mask = np.array([value is not None for value in values], np.bool_)
    there = np.array([value for value in values if value is not None], np.int64)
    found = number_array(there, pa.int32(), mask)
    found.validate(full=True)
    assert found.equals(pa.array(values, pa.int32()))
