"""The note of the tip: what a killed run leaves, and what a torn write does."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from btcnode.storage.layout import SYNC_RECORD, TIP_FILE
from btcnode.storage.tip_note import TipNote
from tests.lib.process import wait_until

RECORD = SYNC_RECORD.pack(1_700_000_000, 3, 77, bytes(range(32)))
OTHER = SYNC_RECORD.pack(1_700_000_001, 3, 78, bytes(32))


def left_in(directory: Path) -> bytes | None:
    """What a run that was killed now would leave."""
    note = TipNote(directory)
    note.close(clean=False)
    return note.last


def test_a_killed_run_leaves_its_newest_record(tmp_path: Path) -> None:
    note = TipNote(tmp_path)
    assert note.last is None
    note.write(RECORD)
    note.write(OTHER)
    wait_until(lambda: left_in(tmp_path) == OTHER)  # nothing was closed
    note.close(clean=False)
    again = TipNote(tmp_path)
    assert again.last == OTHER
    again.close(clean=True)
    assert not (tmp_path / TIP_FILE).exists() and TipNote(tmp_path).last is None


@pytest.mark.parametrize("left", [b"", b"x", RECORD, RECORD + bytes(4), bytes(49), OTHER[:20] + RECORD[20:] + b"1234"])
def test_what_is_torn_counts_for_nothing(tmp_path: Path, left: bytes) -> None:
    (tmp_path / TIP_FILE).write_bytes(left)
    note = TipNote(tmp_path)
    assert note.last is None
    note.write(RECORD)
    note.close(clean=False)
    assert TipNote(tmp_path).last == RECORD


def test_no_room_ends_the_note_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    note = TipNote(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(3):
        note.write(RECORD)
        wait_until(lambda: "No space left on device" in caplog.text)
    note.close(clean=True)
    assert caplog.text.count("No space left on device") == 1


def test_a_disk_that_stands_still_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, writes, real = threading.Event(), [], os.pwrite

    def slow(file: int, data: bytes, at: int) -> int:
        writes.append(data)
        goes_on.wait()
        return real(file, data, at)

    monkeypatch.setattr(os, "pwrite", slow)
    note = TipNote(tmp_path)
    note.write(RECORD)
    wait_until(lambda: bool(writes))
    for _ in range(1_000):  # nobody waits for the first, and the last is what counts
        note.write(RECORD)
    note.write(OTHER)
    goes_on.set()
    note.close(clean=False)
    assert len(writes) == 2 and left_in(tmp_path) == OTHER


def test_a_place_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / TIP_FILE).mkdir()
    note = TipNote(tmp_path)
    note.write(RECORD)
    assert caplog.text.count("is not written") == 1
    note.close(clean=False)
