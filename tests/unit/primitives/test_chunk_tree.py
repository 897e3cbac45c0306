"""Merkle trees over the chunks of a file, as BIP 452 (draft) has them."""

from __future__ import annotations

import pytest

from btcnode.primitives.chunk_tree import CHUNK_SIZE, chunk_count, chunk_hash, chunk_root, chunk_size, split_hashes
from btcnode.primitives.hashes import sha256d


def test_sizes_of_chunks() -> None:
    assert [chunk_count(length) for length in (0, 1, CHUNK_SIZE, CHUNK_SIZE + 1)] == [0, 1, 1, 2]
    assert [chunk_size(CHUNK_SIZE + 7, chunk) for chunk in range(3)] == [CHUNK_SIZE, 7, 7 - CHUNK_SIZE]
    assert chunk_hash(b"abc") == sha256d(b"abc")


def test_the_last_of_an_odd_level_goes_up_as_it_is() -> None:
    a, b, c, d, e = (bytes([n]) * 32 for n in range(5))
    assert chunk_root([a]) == a
    assert chunk_root([a, b]) == sha256d(a + b)
    assert chunk_root([a, b, c]) == sha256d(sha256d(a + b) + c)
    assert chunk_root([a, b, c, d, e]) == sha256d(sha256d(sha256d(a + b) + sha256d(c + d)) + e)
    assert chunk_root([a, b, c]) != chunk_root([a, b, c, c])  # other than in a block's tree
    assert split_hashes(a + b + c) == [a, b, c]
    with pytest.raises(ValueError, match="no chunks"):
        chunk_root([])
