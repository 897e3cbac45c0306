"""A note of the tip, written anew with each change: how far a run had come that was killed.

The database stands at its last flush then. The note is one small write to the system's cache, which outlives the
process but not a power cut: what is torn or old then is told by its checksum, or by the flush records in the database.
It is written beside whoever has news, since a disk may take its time also for that; what came meanwhile is passed over.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from zlib import crc32

from btcnode.side_thread import SideThread
from btcnode.storage.layout import SYNC_RECORD, TIP_FILE

END_PATIENCE_S = 10.0  # that the end waits for a disk that takes nothing
_CRC_SIZE = 4

log = logging.getLogger("btcnode.storage")


class TipNote:
    """While it is open, ``write`` keeps the newest record; ``last`` is what a run has left that did not end well."""

    def __init__(self, directory: Path) -> None:
        """Begin. Without room for the note there is none: the log says so, once."""
        self._path = directory / TIP_FILE
        self.last = self._read()
        self._file: int | None = None
        self._thread = SideThread("tip")
        self._newest = b""
        self._due = False  # the thread will write the newest
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self._give_up(error)

    def _read(self) -> bytes | None:
        try:
            data = self._path.read_bytes()
        except OSError:
            return None
        record, crc = data[: SYNC_RECORD.size], data[SYNC_RECORD.size :]
        return record if crc == crc32(record).to_bytes(_CRC_SIZE, "little") else None

    def write(self, record: bytes) -> None:
        """Have the note replaced by a packed SYNC_RECORD, in a moment."""
        if self._file is None:
            return
        self._newest = record
        if not self._due:
            self._due = True
            self._thread.give(self._write_newest)

    def _write_newest(self) -> None:
        self._due = False
        file, record = self._file, self._newest
        if file is None:
            return
        try:
            os.pwrite(file, record + crc32(record).to_bytes(_CRC_SIZE, "little"), 0)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.warning(
            "%s is not written (%s): a kill will not tell how far the chain had come", self._path, error.strerror
        )
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def close(self, *, clean: bool) -> None:
        """End; a run that has ended well (``clean``) leaves nothing."""
        self._thread.give(self._close)
        if not self._thread.close(END_PATIENCE_S):
            return  # the disk stands still: the note is the next run's to judge
        if clean:
            self._path.unlink(missing_ok=True)
