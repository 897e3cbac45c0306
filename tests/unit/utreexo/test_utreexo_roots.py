"""The record of roots after a block."""

from __future__ import annotations

import pytest

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import BlockHash
from btcnode.utreexo.roots import RootsAt
from btcnode.utreexo.stump import Stump


def test_round_trip() -> None:
    roots = RootsAt(7, BlockHash(b"a" * 32), BlockHash(b"b" * 32), Stump(5, (b"c" * 32, None)))
    assert RootsAt.unpack(roots.pack()) == roots
    assert len(roots.pack()) == 4 + 64 + 8 + 64


@pytest.mark.parametrize("size", [0, 67, 68, 75, 139, 141])
def test_what_is_no_record(size: int) -> None:
    packed = RootsAt(7, BlockHash(b"a" * 32), BlockHash(b"b" * 32), Stump(5, (b"c" * 32, None))).pack()
    with pytest.raises(DecodeError):
        RootsAt.unpack((packed + b"\0")[:size])
