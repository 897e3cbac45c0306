"""Records of what the node was about to do to its disk and of what it flushed: a start tells how the last run ended.

One is written before the node begins to connect blocks, after each flush, and before it flushes at the end; the last
few are kept. Coins, tip marker and index are written so that they fit each other anyway: after a crash the database
stands at the tip of its last flush, and blocks above it are connected again. How far the chain had come is in a note of
its own (``storage/tip_note.py``), which has the same form.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from btcnode.errors import CorruptionError
from btcnode.record import record
from btcnode.storage.database import Database
from btcnode.storage.layout import META_SYNC, SYNC_RECORD
from btcnode.sync.state_machine import SyncState

_CODES = {
    SyncState.IDLE: 0,
    SyncState.HEADERS_PRESYNC: 1,
    SyncState.HEADERS: 2,
    SyncState.BLOCKS: 3,
    SyncState.CATCHING_UP: 4,
    SyncState.SYNCED: 5,
    SyncState.STALLED: 6,
    SyncState.SHUTTING_DOWN: 7,
    SyncState.IMPORT: 8,
}
KEPT = 8  # records
_STATES = {code: state for state, code in _CODES.items()}


@record
class Checkpoint:
    """At ``time`` (Unix seconds) the node was in ``state`` or about to enter it, its tip at ``height`` ``tip_hash``."""

    time: int
    state: SyncState
    height: int
    tip_hash: bytes

    def pack(self) -> bytes:
        """The record."""
        return SYNC_RECORD.pack(self.time, _CODES[self.state], self.height, self.tip_hash)

    @classmethod
    def unpack(cls, record: bytes) -> Checkpoint:
        """Decode a record; raises CorruptionError."""
        if len(record) != SYNC_RECORD.size:
            raise CorruptionError("the record of the last run has a wrong size: start with --reindex")
        time, code, height, tip_hash = SYNC_RECORD.unpack(record)
        if code not in _STATES:
            raise CorruptionError("the record of the last run names no state: start with --reindex")
        return cls(time, _STATES[code], height, tip_hash)


def write_checkpoints(database: Database, checkpoints: Iterable[Checkpoint]) -> None:
    """Store the records, oldest first, durably; waits for a flush under way. Raises StorageError."""
    database.commit(meta_puts={META_SYNC: b"".join(checkpoint.pack() for checkpoint in checkpoints)})


def read_checkpoints(database: Database) -> list[Checkpoint]:
    """The records of the last run, oldest first; none for a new database. Raises CorruptionError."""
    records = database.get_meta(META_SYNC)
    if records is None:
        return []
    size = SYNC_RECORD.size
    return [Checkpoint.unpack(records[at : at + size]) for at in range(0, max(size, len(records)), size)]


def how_it_ended(
    last: Checkpoint, tip_hash: bytes, height: int, *, same_branch: bool, flushed: Checkpoint | None = None
) -> str | None:
    """One line on how the last run ended, None when it ended well.

    ``last`` is the newest that is known of it. The database stands at ``tip_hash``, ``height``, and ``flushed`` is the
    record of that; ``same_branch``: as far as is known, one of the two tips is an ancestor of the other.
    """
    if last.state is SyncState.SHUTTING_DOWN and last.tip_hash == tip_hash:
        return None
    what = "while shutting down" if last.state is SyncState.SHUTTING_DOWN else "without a shutdown"
    ahead = last.height - height
    if not same_branch:
        where = "stands on another branch than then"
    elif ahead > 0:
        where = f"has gone back by {ahead} blocks, which are done again"
    elif ahead < 0:
        where = f"has come {-ahead} blocks further since"
    else:
        where = "stands where it stood then"
    begun = f"the last run ended {what}, in state {last.state} at height {last.height}, {_utc(last.time)}"
    since = f" (height {height}, as written {_utc(flushed.time)})" if flushed is not None and ahead else ""
    return f"{begun}: the database {where}{since}; nothing is lost"


def _utc(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
