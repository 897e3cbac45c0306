"""Hints: the encoding of a block's indices, and the index over a file; both take exactly what the writer makes."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.errors import DecodeError
from btcnode.swiftsync.elias_fano import MAX_INDEX, decode_indices, encode_indices, encoded_size
from btcnode.swiftsync.hints import HEADER_SIZE, HintsError, HintsIndex, pack_header, read_index

INDICES = st.one_of(
    st.sets(st.integers(0, 60), max_size=60),
    st.sets(st.integers(0, MAX_INDEX), max_size=40),
    st.integers(0, 3000).map(lambda n: set(range(n))),
).map(sorted)


def test_the_worked_example_of_the_draft() -> None:
    assert encode_indices([3, 7, 12]) == bytes((3, 12, 0b11110000, 0b10100100))


@given(INDICES)
def test_what_is_encoded_is_decoded(indices: list[int]) -> None:
    data = encode_indices(indices)
    assert decode_indices(data) == indices
    assert encoded_size(data + bytes(20)) == len(data)


@given(INDICES, st.data())
def test_no_two_encodings_mean_the_same(indices: list[int], data: st.DataObject) -> None:
    encoding = bytearray(encode_indices(indices))
    at = data.draw(st.integers(0, 8 * len(encoding) - 1))
    encoding[at // 8] ^= 1 << at % 8
    try:
        found = decode_indices(bytes(encoding))
    except DecodeError:
        return
    assert found != indices
    assert encode_indices(found) == bytes(encoding)


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        indices = decode_indices(data)
    except DecodeError:
        return
    assert encode_indices(indices) == data


@pytest.mark.parametrize("indices", [[1, 1], [2, 1], [-1], [MAX_INDEX + 1]])
def test_what_no_block_has_is_not_encoded(indices: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        encode_indices(indices)


@pytest.mark.parametrize("head", ["05 03", "01 fe ffffffff", "fe ffffffff fe ffffffff", "fd 0100 05"])
def test_sizes_that_no_block_has_are_refused_before_anything_is_read(head: str) -> None:
    with pytest.raises(DecodeError):
        encoded_size(bytes.fromhex(head))


# -- files -----------------------------------------------------------------------------------------------------------


def index_of(data: bytes) -> HintsIndex:
    return read_index(io.BytesIO(data), len(data))


def hints_file(blocks: list[list[int]]) -> bytes:
    return pack_header(len(blocks)) + b"".join(map(encode_indices, blocks))


@given(st.lists(INDICES, min_size=1, max_size=8))
def test_every_entry_is_found(blocks: list[list[int]]) -> None:
    data = hints_file(blocks)
    index = index_of(data)
    assert index.height == len(blocks)
    for height, indices in enumerate(blocks, 1):
        start, size = index.place(height)
        assert decode_indices(data[start : start + size]) == indices


def test_a_file_longer_than_one_read() -> None:
    rng = random.Random(1)
    blocks = [sorted(rng.sample(range(100_000), rng.choice((0, 3, 30_000)))) for _ in range(360)]
    data = hints_file(blocks)
    assert len(data) > 1 << 20
    index = index_of(data)
    for height in (1, 2, 60, 359, 360):
        start, size = index.place(height)
        assert decode_indices(data[start : start + size]) == blocks[height - 1]


@given(st.lists(INDICES, min_size=1, max_size=4), st.data())
def test_a_cut_or_longer_file_is_refused(blocks: list[list[int]], data: st.DataObject) -> None:
    whole = hints_file(blocks)
    with pytest.raises(HintsError):
        index_of(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(HintsError):
        index_of(whole + b"\x00")


@given(st.binary(max_size=80))
def test_any_file_is_read_or_refused(tail: bytes) -> None:
    for data in (tail, pack_header(3) + tail, pack_header(0xFFFFFFFF) + tail):
        try:
            index = index_of(data)
        except HintsError:
            continue
        assert index.place(index.height)[0] + index.place(index.height)[1] == len(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no hintsfile"),
        (b"PSBT" + bytes(9), "no hintsfile"),
        (b"UTXO\x01" + bytes(9), "version 1"),
        (pack_header(0), "no blocks"),
        (pack_header(0xFFFFFFFF), "no chain is that long"),
        (pack_header(5) + bytes(4), "truncated"),
        (pack_header(2) + bytes(3), "more behind"),
        (pack_header(1) + b"\x05\x03", "damaged"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, says: str) -> None:
    with pytest.raises(HintsError, match=says):
        index_of(data)
    assert HEADER_SIZE == 9
