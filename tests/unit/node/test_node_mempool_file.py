"""Files of a mempool that are none: devices without an end, and files without a beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.errors import DecodeError, StorageError
from btcnode.mempool.persistence import encode_dump
from btcnode.services import mempool_file
from btcnode.services.mempool_file import read_dump


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "/dev/urandom", "/dev/null"])
def test_a_device_without_an_end_is_read_no_farther_than_its_version(name: str) -> None:
    with pytest.raises(DecodeError):
        read_dump(Path(name))


@pytest.mark.parametrize("name", ["/nonexistent", "/", "/dev/null/x"])
def test_what_cannot_be_read(name: str) -> None:
    with pytest.raises(StorageError):
        read_dump(Path(name))


@pytest.mark.parametrize("key", [None, bytes(range(8))])
def test_a_file_is_read_whole_and_another_thing_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: bytes | None
) -> None:
    path = tmp_path / "mempool.dat"
    path.write_bytes(encode_dump([], {bytes([n]) * 32: n for n in range(200)}, set(), key))
    monkeypatch.setattr(mempool_file, "MAX_OTHER_BYTES", 100)
    assert len(read_dump(path).deltas) == 200
    monkeypatch.setattr("btcnode.services.mempool_file.stat.S_ISREG", lambda mode: False)
    with pytest.raises(DecodeError):
        read_dump(path)
