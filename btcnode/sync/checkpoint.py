"""The record of what the node was about to do to its disk, so that a start can tell how the last run ended.

It is written before the node begins to connect blocks, and before it flushes at the end. Coins, tip marker and index
are written so that they fit each other anyway: after a crash the database stands at the tip of its last flush, and
blocks above it are connected again. The record says how far the last run had come and what it was doing.
"""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.errors import CorruptionError
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
}
_STATES = {code: state for state, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """At ``time`` (Unix seconds) the node was about to enter ``state``, its tip at ``height`` being ``tip_hash``."""

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


def write_checkpoint(database: Database, checkpoint: Checkpoint) -> None:
    """Store the record, durably; waits for a flush under way. Raises StorageError."""
    database.commit(meta_puts={META_SYNC: checkpoint.pack()})


def read_checkpoint(database: Database) -> Checkpoint | None:
    """The record of the last run, None for a new database. Raises CorruptionError."""
    record = database.get_meta(META_SYNC)
    return None if record is None else Checkpoint.unpack(record)


def how_it_ended(checkpoint: Checkpoint, tip_hash: bytes, height: int, *, same_branch: bool) -> str | None:
    """One line on how the last run ended, None when it ended well.

    The database stands at ``tip_hash``, ``height``; ``same_branch``: as far as is known, one of the two tips is an
    ancestor of the other.
    """
    if checkpoint.state is SyncState.SHUTTING_DOWN and checkpoint.tip_hash == tip_hash:
        return None
    what = "while shutting down" if checkpoint.state is SyncState.SHUTTING_DOWN else "without a shutdown"
    ahead = checkpoint.height - height
    if not same_branch:
        where = "stands on another branch than then"
    elif ahead > 0:
        where = f"has gone back by {ahead} blocks, which are connected again"
    elif ahead < 0:
        where = f"has come {-ahead} blocks further since"
    else:
        where = "stands where it stood then"
    return f"the last run ended {what}, in state {checkpoint.state}: the database {where}; nothing is lost"
