"""Small files that are replaced: whole or as they were, with nothing left beside them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from btcnode.errors import DiskFullError, StorageError
from btcnode.storage import durable
from btcnode.storage.durable import write_durably


def test_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"the second"):
        write_durably(path, content)
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


@pytest.mark.parametrize("moment", ["write_all", "os.fsync", "sync_directory"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """What was written of the new file goes: it takes room that somebody else may need."""
    path = tmp_path / "file"
    write_durably(path, b"old")

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"{durable.__name__}.{moment}", fail)
    with pytest.raises(DiskFullError, match="no room left"):
        write_durably(path, b"new", temporary=tmp_path / "fresh")
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
    assert path.read_bytes() == (b"new" if moment == "sync_directory" else b"old")


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write_durably(tmp_path / "file", b"new", temporary=tmp_path / "fresh")
    assert (tmp_path / "fresh").is_dir()
