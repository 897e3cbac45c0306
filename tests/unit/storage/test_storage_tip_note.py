"""The note of the tip: what a killed run leaves, and what a torn write does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from btcnode.storage.layout import SYNC_RECORD, TIP_FILE
from btcnode.storage.tip_note import TipNote

RECORD = SYNC_RECORD.pack(1_700_000_000, 3, 77, bytes(range(32)))
OTHER = SYNC_RECORD.pack(1_700_000_001, 3, 78, bytes(32))


def test_a_killed_run_leaves_its_newest_record(tmp_path: Path) -> None:
    note = TipNote(tmp_path)
    assert note.last is None
    note.write(RECORD)
    note.write(OTHER)
    assert TipNote(tmp_path).last == OTHER  # nothing was closed
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
    assert caplog.text.count("No space left on device") == 1
    note.close(clean=True)


def test_a_place_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / TIP_FILE).mkdir()
    note = TipNote(tmp_path)
    note.write(RECORD)
    assert caplog.text.count("is not written") == 1
    note.close(clean=False)
