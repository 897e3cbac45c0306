"""Checksums behind the data of files."""

from __future__ import annotations

import io
from random import Random

import pytest

from btcnode.errors import CorruptionError
from btcnode.storage.trailer import TRAILER_SIZE, check_trailer, with_trailer, without_trailer


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 5000, (1 << 20) + 7])
def test_data_come_back_and_changed_ones_do_not(size: int) -> None:
    rng = Random(size)
    data = rng.randbytes(size)
    stored = with_trailer(data[: size // 3], data[size // 3 :])
    file = io.BytesIO(stored)
    assert without_trailer(stored) == data
    assert check_trailer(file)
    assert file.read() == stored
    for at in {rng.randrange(len(stored) - TRAILER_SIZE + 1) for _ in range(20)} - {size}:
        spoiled = stored[:at] + bytes((stored[at] ^ rng.randrange(1, 256),)) + stored[at + 1 :]
        with pytest.raises(CorruptionError):
            without_trailer(spoiled)
        with pytest.raises(CorruptionError):
            check_trailer(io.BytesIO(spoiled))


def test_what_has_none_is_as_it_is() -> None:
    for data in (b"", b"short", bytes(5000), with_trailer(b"data")[:-1]):
        assert without_trailer(data) == data
        assert not check_trailer(io.BytesIO(data))
