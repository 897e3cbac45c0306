"""Files of a mempool: read in steps, and what is none refused early."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.mempool import persistence
from btcnode.mempool.persistence import DumpReader, StoredTx, encode_dump
from btcnode.primitives.tx import Tx
from btcnode.services.mempool_file import ImportOptions
from btcnode.storage.trailer import TRAILER_SIZE
from btcnode.testing.blocks import coinbase_tx
from tests.lib.mempool_dump import read_dump
from tests.lib.node_parts import NodeLab, regtest_config


def some_txs(count: int, size: int = 0) -> list[StoredTx]:
    return [StoredTx(Tx.parse(coinbase_tx(n, n, bytes(size)).raw), 1_700_000_000 + n, n) for n in range(1, count + 1)]


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    node = NodeLab(regtest_config(tmp_path))
    yield node
    node.close()


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "/dev/urandom", "/dev/null", "/nonexistent", "/", "fifo"])
def test_what_is_no_file_is_refused_at_once(lab: NodeLab, tmp_path: Path, name: str) -> None:
    path = Path(name)
    if name == "fifo":
        path = tmp_path / name
        os.mkfifo(path)
    with pytest.raises(StorageError):
        lab.do(lab.parts.mempool_file.import_file(path, ImportOptions()))


def test_a_large_file_that_is_none_is_not_read(lab: NodeLab, tmp_path: Path) -> None:
    path = tmp_path / "mempool.dat"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(DecodeError, match="version 0"):
        lab.do(lab.parts.mempool_file.import_file(path, ImportOptions()))


@pytest.mark.parametrize("whose", ["ours", "core"])
def test_nothing_of_a_damaged_file_is_taken_in(lab: NodeLab, tmp_path: Path, whose: str) -> None:
    """A wrong fee delta looks like any other: what is not proven to be whole is not used at all."""
    path = tmp_path / "mempool.dat"
    seen: list[Tx] = []

    async def accept(tx: Tx, **_: object) -> object:
        seen.append(tx)
        return object()

    lab.assembled.machinery.transactions.accept = accept  # type: ignore[assignment]
    data = encode_dump(some_txs(150), {bytes(32): 5}, [], bytes(range(8)))
    if whose == "core":
        data = data[:-TRAILER_SIZE]
    damaged = [data[:-30], data + b"more"]
    if whose == "ours":
        damaged += [
            data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :] for at in range(9, len(data) - TRAILER_SIZE, 997)
        ]
    for one in damaged:
        path.write_bytes(one)
        with pytest.raises((CorruptionError, DecodeError)):
            lab.do(lab.parts.mempool_file.import_file(path, ImportOptions(use_current_time=True)))
    assert not seen
    assert not lab.assembled.machinery.transactions.pool.deltas
    path.write_bytes(data)
    lab.do(lab.parts.mempool_file.import_file(path, ImportOptions(use_current_time=True)))
    assert len(seen) == 150
    assert lab.assembled.machinery.transactions.pool.deltas[bytes(32)] == 5


@pytest.mark.parametrize("key", [None, bytes(range(8))])
def test_a_file_is_read_in_steps(key: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [*some_txs(30), *some_txs(3, 200_000)]
    wanted = [(one.tx.raw, one.time, one.delta) for one in stored]
    deltas = {bytes([n]) * 32: n for n in range(200)}
    waiting = [bytes([n]) * 32 for n in range(100)]
    data = encode_dump(stored, deltas, waiting, key)
    for step in (1, 7, 1 << 20):
        monkeypatch.setattr(persistence, "STEP_BYTES", step)
        dump = read_dump(data)
        assert [(one.tx.raw, one.time, one.delta) for one in dump.transactions] == wanted
        assert dump.deltas == deltas
        assert dump.unbroadcast == waiting
    for end in (*range(0, 60), len(data) // 2, len(data) - TRAILER_SIZE - 1):
        with pytest.raises(DecodeError):
            read_dump(data[:end])


def test_what_a_file_claims_takes_no_memory() -> None:
    asked: list[int] = []

    def zeros(head: bytes) -> Any:
        def read(size: int) -> bytes:
            asked.append(size)
            piece = bytes(size) if len(asked) > 1 else head + bytes(size - len(head))
            return piece

        return read

    reader = DumpReader(zeros(pack("<QQ", 1, 2**64 - 1) + b"\1\0\0\0\xfe\xff\xff\xff\1"))  # 33 million inputs of zeros
    assert reader.begin() == 2**64 - 1
    with pytest.raises(DecodeError):
        reader.transactions(64)
    assert sum(asked) < 16 << 20
    reader = DumpReader(io.BytesIO(pack("<QQ", 1, 0) + b"\xfe\xff\xff\xff\x01").read)
    reader.begin()
    with pytest.raises(DecodeError, match="fee deltas are more than"):
        reader.begin_deltas()


def test_others_have_a_turn_while_a_file_is_read(lab: NodeLab, tmp_path: Path) -> None:
    path = tmp_path / "mempool.dat"
    path.write_bytes(encode_dump(some_txs(2000), {}, [], None))

    async def both() -> int:
        turns = 0
        task = asyncio.create_task(
            lab.parts.mempool_file.import_file(path, ImportOptions(use_current_time=True))  # coinbases: all refused
        )
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        assert (await task).failed == 2000
        return turns

    assert lab.do(both()) > 60
