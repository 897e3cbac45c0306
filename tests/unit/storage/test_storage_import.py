from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.errors import CorruptionError, StorageError
from btcnode.storage import block_import as module
from btcnode.storage.block_import import iter_blocks, xor_key_beside
from btcnode.storage.obfuscation import Obfuscation

MAGIC = b"\xf9\xbe\xb4\xd9"


def frame(raw: bytes, size: int | None = None) -> bytes:
    return MAGIC + (len(raw) if size is None else size).to_bytes(4, "little") + raw


def blocks_of(path: Path, content: bytes, key: bytes = bytes(8)) -> list[tuple[int, bytes]]:
    path.write_bytes(Obfuscation(key).apply(content, 0))
    return list(iter_blocks(path, MAGIC, key))


@pytest.mark.parametrize("window", [8, 100, 1000, 4 << 20])
@pytest.mark.parametrize("key", [bytes(8), bytes(range(1, 9))])
def test_every_frame_is_found_whatever_lies_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, key: bytes
) -> None:
    monkeypatch.setattr(module, "WINDOW", window)
    rng = random.Random(window)
    content = b""
    expected = []
    for _ in range(60):
        content += rng.choice((b"", bytes(rng.randrange(30)), rng.randbytes(rng.randrange(30)), MAGIC[:3], MAGIC))
        raw = rng.randbytes(rng.choice((80, 81, 300, 3000)))
        expected.append((len(content) + 8, raw))
        content += frame(raw)
    content += bytes(5000)  # a preallocated tail
    assert blocks_of(tmp_path / "blk.dat", content, key) == expected


def test_impossible_sizes_are_no_frames(tmp_path: Path) -> None:
    good = frame(b"g" * 100)
    for size in (0, 79, 4_000_001, 0xFFFFFFFF):
        content = frame(b"", size) + good
        assert blocks_of(tmp_path / "blk.dat", content) == [(16, b"g" * 100)]
    largest = random.Random(1).randbytes(4_000_000)
    assert blocks_of(tmp_path / "blk.dat", frame(largest) + good) == [(8, largest), (4_000_016, b"g" * 100)]


def test_frame_that_is_longer_than_the_file(tmp_path: Path) -> None:
    content = frame(b"a" * 100) + frame(b"t" * 50, 1000) + frame(b"b" * 90)
    assert [raw for _, raw in blocks_of(tmp_path / "blk.dat", content)] == [b"a" * 100, b"b" * 90]
    for cut in range(1, 9):
        content = frame(b"a" * 100) + frame(b"b" * 90)[:cut]
        assert [raw for _, raw in blocks_of(tmp_path / "blk.dat", content)] == [b"a" * 100]


def test_rejected_frame_is_searched_for_others(tmp_path: Path) -> None:
    """A torn frame that swallows good ones: they are found once its bytes are rejected."""
    inner = frame(b"1" * 100) + frame(b"2" * 120)
    content = frame(b"torn" + inner, 100 + len(inner)) + frame(b"3" * 200)
    path = tmp_path / "blk.dat"
    path.write_bytes(content)
    swallowed = [raw for _, raw in iter_blocks(path, MAGIC)]
    assert b"1" * 100 not in swallowed
    source = iter_blocks(path, MAGIC)
    found = []
    for _, raw in source:
        if raw.startswith(b"torn"):
            source.reject()
        else:
            found.append(raw)
    assert found == [b"1" * 100, b"2" * 120, b"3" * 200]
    assert source.progress == 1.0


def test_other_networks_and_empty_files_have_nothing(tmp_path: Path) -> None:
    path = tmp_path / "blk.dat"
    assert blocks_of(path, b"") == []
    assert blocks_of(path, MAGIC) == []
    assert blocks_of(path, b"\xfa\xbf\xb5\xda" + (80).to_bytes(4, "little") + bytes(80)) == []


def test_missing_file_is_typed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        list(iter_blocks(tmp_path / "blk.dat", MAGIC))


def test_key_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "blk00000.dat"
    assert xor_key_beside(path) == bytes(8)
    (tmp_path / "xor.dat").write_bytes(b"12345678")
    assert xor_key_beside(path) == b"12345678"
    (tmp_path / "xor.dat").write_bytes(b"1234567")
    with pytest.raises(CorruptionError, match=r"xor\.dat"):
        xor_key_beside(path)
