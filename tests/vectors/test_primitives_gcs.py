"""BIP158's vectors: filters and filter headers of testnet3 blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.block import parse_block
from btcnode.primitives.gcs import (
    basic_elements,
    decode_filter,
    encode_filter,
    filter_hash,
    filter_header,
    matches_any,
)


def test_bip158(vectors: Path) -> None:
    rows = [row for row in json.loads((vectors / "core" / "blockfilters.json").read_text()) if len(row) > 1]
    assert len(rows) == 10
    for _, block_hash, raw, spent, previous, data, header, _ in rows:
        block = parse_block(bytes.fromhex(raw))
        assert block.hash[::-1].hex() == block_hash
        elements = basic_elements(block, map(bytes.fromhex, spent))
        made = encode_filter(elements, block.hash)
        assert made.hex() == data
        assert filter_header(filter_hash(made), bytes.fromhex(previous)[::-1])[::-1].hex() == header
        count, values = decode_filter(made)
        assert count == len(elements) == len(values)
        for element in elements:
            assert matches_any(made, block.hash, [element])
        assert not matches_any(made, block.hash, [b"\x00\x14" + bytes(20)])


def test_damaged_filters(vectors: Path) -> None:
    rows = json.loads((vectors / "core" / "blockfilters.json").read_text())
    data = max((bytes.fromhex(row[5]) for row in rows if len(row) > 1), key=len)
    for bad in (data[:-2], data + b"\x00\x00", b"\x05", b"\xfd\x00", b""):
        with pytest.raises(DecodeError):
            decode_filter(bad)
