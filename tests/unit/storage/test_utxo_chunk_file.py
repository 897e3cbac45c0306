"""Files of UTXO sets in chunks: shared ones, and one that is fetched, over kills, damage and full disks."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from btcnode.errors import DiskFullError, StorageError
from btcnode.primitives.chunk_tree import CHUNK_SIZE, chunk_hash
from btcnode.storage import utxo_chunk_file
from btcnode.storage.durable import write_all
from btcnode.storage.utxo_chunk_file import (
    ChunkTree,
    PartFile,
    discard,
    part_path,
    read_chunk,
    read_tree,
    tree_of,
    tree_path,
)

LENGTH = 2 * CHUNK_SIZE + 1234


@pytest.fixture(scope="module")
def data() -> bytes:
    return Random(5).randbytes(LENGTH)


def split(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)]


def tree_for(data: bytes) -> ChunkTree:
    return ChunkTree(len(data), b"".join(map(chunk_hash, split(data))))


def nothing() -> None:
    """Go on."""


def test_the_hashes_of_a_file_are_worked_out_once(tmp_path: Path, data: bytes) -> None:
    path, calls = tmp_path / "set.dat", list[int]()
    path.write_bytes(data)
    assert tree_of(path, lambda: calls.append(1)) == tree_for(data)
    assert len(calls) == 3
    assert tree_of(path, lambda: calls.append(1)) == tree_for(data)
    assert len(calls) == 3  # they lay beside it
    assert [read_chunk(path, tree_for(data), n) for n in range(4)] == [*split(data), None]


@pytest.mark.parametrize("damage", ["cut", "bent", "empty", "gone", "other"])
def test_hashes_that_do_not_fit_are_worked_out_anew(tmp_path: Path, data: bytes, damage: str) -> None:
    path = tmp_path / "set.dat"
    path.write_bytes(data)
    tree_of(path, nothing)
    beside = tree_path(path)
    raw = beside.read_bytes()
    if damage == "cut":
        beside.write_bytes(raw[:-5])
    elif damage == "bent":
        beside.write_bytes(raw[:40] + bytes([raw[40] ^ 1]) + raw[41:])
    elif damage == "empty":
        beside.write_bytes(b"")
    elif damage == "gone":
        beside.unlink()
    else:
        data = data[:5] + b"?" + data[6:]
        path.write_bytes(data)
        os.utime(path, ns=(1, 1))
    assert tree_of(path, nothing) == tree_for(data)


def test_a_shared_file_that_was_changed_is_not_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.dat"
    path.write_bytes(data)
    tree = tree_of(path, nothing)
    with path.open("r+b") as file:
        file.seek(CHUNK_SIZE + 5)
        file.write(b"?")
    assert read_chunk(path, tree, 0) == split(data)[0]
    with pytest.raises(StorageError, match="chunk 1 does not have its hash"):
        read_chunk(path, tree, 1)


def test_a_file_that_is_no_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.dat"
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="0 bytes"):
        tree_of(path, nothing)
    with path.open("wb") as file:
        file.truncate(CHUNK_SIZE * ((1 << 14) + 1))
    with pytest.raises(StorageError, match="at most"):
        tree_of(path, nothing)
    with pytest.raises(OSError, match="directory"):
        tree_of(tmp_path, nothing)


def test_a_set_is_put_together_in_any_order(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.dat"
    part = PartFile.begin(path, tree_for(data))
    assert [part.has(n) for n in range(3)] == [False] * 3
    for n in (2, 0, 1):
        assert part.fits(n, split(data)[n])
        part.write(n, split(data)[n])
    part.finish()
    assert path.read_bytes() == data
    assert sorted(found.name for found in tmp_path.iterdir()) == ["set.dat", "set.dat.tree"]
    assert tree_of(path, lambda: pytest.fail("the hashes are known")) == tree_for(data)
    discard(path)
    assert not list(tmp_path.iterdir())


def test_what_a_kill_leaves_is_gone_on_with(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.dat"
    assert PartFile.resume(path) is None
    part = PartFile.begin(path, tree_for(data))
    part.write(1, split(data)[1])
    part.write(2, split(data)[2][:100] + b"?" + split(data)[2][101:])  # half written when the power went
    again = PartFile.resume(path)
    assert again is not None and again.tree == tree_for(data)
    assert [again.has(n) for n in range(3)] == [False, True, False]
    again.close()
    part.close()


def test_another_set_of_the_same_name_begins_anew(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.dat"
    PartFile.begin(path, tree_for(data)).write(1, split(data)[1])
    other = tree_for(data[::-1])
    part = PartFile.begin(path, other)
    assert read_tree(part_path(path), 0) == other
    assert not any(part.has(n) for n in range(3))


def test_chunks_of_another_size_do_not_fit(tmp_path: Path, data: bytes) -> None:
    part = PartFile.begin(tmp_path / "set.dat", tree_for(data))
    chunk = split(data)[2]
    for wrong in (b"", chunk + b"?", chunk[:-1], split(data)[1]):
        assert not part.fits(2, wrong)


def test_a_full_disk_is_told_and_costs_nothing_that_is_here(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.dat"
    part = PartFile.begin(path, tree_for(data))
    part.write(0, split(data)[0])

    def full(fd: int, chunk: bytes, position: int) -> None:
        write_all(fd, chunk[:10], position)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(utxo_chunk_file, "write_all", full)
    with pytest.raises(DiskFullError, match=r"set\.dat\.part"):
        part.write(1, split(data)[1])
    assert [part.has(n) for n in range(3)] == [True, False, False]
