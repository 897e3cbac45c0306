"""Where the coins of a loaded UTXO set lie until the chain below it is validated: a database of their own.

``chainstate_snapshot/`` holds coins and tip marker; index, file records and the coins of the validated chain stay in
the node's own database. The folder counts from the moment when its ``base_blockhash`` file stands, which is written
last. Once the chain below is validated, the next start puts the index into this database, and it in the place of the
other.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from btcnode.errors import CorruptionError, LostDatabaseError, StorageError
from btcnode.files import read_limited
from btcnode.networks.assumeutxo import AssumeUtxo, set_after
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.storage.coin_run import SUFFIX as RUN_SUFFIX
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import COINS_ADVICE, Database
from btcnode.storage.durable import remove_folder, sync_directory, sync_file, write_durably
from btcnode.storage.layout import (
    COINS_DIR,
    DATABASE_FILE,
    INVALID_SNAPSHOT_DIR,
    META_HISTORY,
    META_RUNS,
    META_TIP,
    SNAPSHOT_BASE_FILE,
    SNAPSHOT_DIR,
    SNAPSHOT_FILE,
)
from btcnode.storage.trailer import with_trailer, without_trailer

if TYPE_CHECKING:
    from btcnode.networks.parameters import NetworkParams
    from btcnode.storage.damage_reports import DamageReports

MAX_BASE_BYTES = 1024  # of the file that holds a hash
# behind the hash, for a set that the network's table does not have: height, transactions in the chain, hash of the
# set, whether the chain below counts as validated; a trailer proves it, as nothing else knows these values
_OWN_SET = Struct("<IQ32s?")

log = logging.getLogger("btcnode.validation")


class SnapshotStore:
    """The open database of a loaded set."""

    def __init__(
        self,
        directory: Path,
        known: AssumeUtxo,
        damage: DamageReports | None = None,
        *,
        own: bool = False,
        trusted: bool = False,
    ) -> None:
        """Open or make it under the network's directory; raises StorageError. ``damage`` as ``Database.open`` takes it.

        ``own``: the set was made by this node, so that no table has it; ``trusted``: nothing below is validated later.
        """
        self.known = known
        self.trusted = trusted
        self._own = own
        self._folder = directory / SNAPSHOT_DIR
        self.database = Database.open(self._folder, file=SNAPSHOT_FILE, damage=damage)
        self.coins = CoinsDb(self.database)

    def activate(self) -> None:
        """What was loaded is whole and has the right hash: from now on it counts. Raises StorageError."""
        self.database.commit(meta_puts={META_TIP: self.known.block_hash})
        known, name = self.known, bytes(self.known.block_hash)
        if self._own:
            name = with_trailer(name, _OWN_SET.pack(known.height, known.chain_tx, known.utxo_hash, self.trusted))
        write_durably(self._folder / SNAPSHOT_BASE_FILE, name)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def discard(self) -> None:
        """Close the database and delete it."""
        self.close()
        remove_folder(self._folder, as_far_as_possible=True)

    def condemn(self) -> None:
        """What was loaded is wrong: put it out of the way, where it can be looked at. Raises StorageError."""
        target = self._folder.with_name(INVALID_SNAPSHOT_DIR)
        try:
            remove_folder(target, as_far_as_possible=True)
            self._folder.rename(target)
            sync_directory(target.parent)
        except OSError as error:
            raise StorageError(f"cannot rename {self._folder}: {error.strerror}") from None


def new_snapshot(directory: Path, known: AssumeUtxo, damage: DamageReports | None = None) -> SnapshotStore:
    """An empty database for a set that is to be loaded; raises StorageError, then nothing of it stays.

    ``damage`` as ``SnapshotStore`` takes it.
    """
    remove_snapshot(directory)  # of a load that failed
    try:
        return SnapshotStore(directory, known, damage)
    except StorageError:
        remove_snapshot(directory)
        raise


def remove_snapshot(directory: Path) -> None:
    """Delete what was loaded, for a rebuild."""
    remove_folder(directory / SNAPSHOT_DIR, as_far_as_possible=True)


def find_snapshot(directory: Path, params: NetworkParams, damage: DamageReports | None = None) -> SnapshotStore | None:
    """The set that was loaded in an earlier run, None when there is none; raises StorageError.

    ``damage`` as ``Database.open`` takes it.
    What a load that was cut off has left is deleted.
    """
    folder = directory / SNAPSHOT_DIR
    path = folder / SNAPSHOT_BASE_FILE
    if not folder.is_dir():
        return None
    try:
        base = _read_note(path)
    except FileNotFoundError:
        remove_snapshot(directory)
        return None
    known, trusted = set_after(params, BlockHash(base)), False
    if len(base) == 32 + _OWN_SET.size:
        height, chain_tx, utxo_hash, trusted = _OWN_SET.unpack_from(base, 32)
        known = AssumeUtxo(height, BlockHash(base[:32]), utxo_hash, chain_tx)
    if known is None:
        text = f"Assumeutxo data not found for the given blockhash '{to_display(base)}'."
        log.error("%s %s is damaged or foreign: delete %s to go on without the set", text, path, folder)
        raise StorageError(f"A fatal internal error occurred, see debug.log for details: {text}")
    if not (folder / SNAPSHOT_FILE).exists():
        if not _was_taken_over(directory):
            raise LostDatabaseError(f"{folder / SNAPSHOT_FILE} is missing: put it back, or {COINS_ADVICE}")
        remove_snapshot(directory)
        return None
    found = SnapshotStore(directory, known, damage, own=len(base) > 32, trusted=trusted)
    if found.database.get_meta(META_TIP) is None:  # it was written before the note: what is there now is a new file
        found.close()
        raise found.database.damaged("it is empty", COINS_ADVICE)
    return found


def _was_taken_over(directory: Path) -> bool:
    """Whether a crash came just after the set was put in place: its files of coins are the node's own too."""
    own = (directory / DATABASE_FILE).parent / COINS_DIR
    return all((own / path.name).exists() for path in (directory / SNAPSHOT_DIR / COINS_DIR).glob(f"*{RUN_SUFFIX}"))


def _read_note(path: Path) -> bytes:
    """What the note of a set says; raises StorageError, FileNotFoundError."""
    try:
        return without_trailer(read_limited(path, MAX_BASE_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    except CorruptionError as error:
        raise CorruptionError(f"{path} is damaged ({error}): {COINS_ADVICE}") from None


def _is_trusted(directory: Path) -> bool:
    """Whether the chain below the set counts as validated from the beginning; raises StorageError."""
    base = _read_note(directory / SNAPSHOT_DIR / SNAPSHOT_BASE_FILE)
    return len(base) == 32 + _OWN_SET.size and bool(_OWN_SET.unpack_from(base, 32)[3])


def take_snapshot_over(directory: Path, params: NetworkParams) -> None:
    """Make a set whose chain was validated the node's coins, in place of those that validated it.

    The index goes into its database first, so that a crash leaves either the one or the other in place.
    Raises StorageError.
    """
    if not (directory / SNAPSHOT_DIR / SNAPSHOT_BASE_FILE).exists() or not (directory / DATABASE_FILE).exists():
        return
    own = Database.open(directory)
    try:
        validated = own.get_meta(META_HISTORY) is not None or _is_trusted(directory)
        snapshot = find_snapshot(directory, params) if validated else None
        if snapshot is None:
            return
        log.info("[snapshot] cleaning up unneeded background chainstate, then reinitializing")
        try:
            snapshot.database.take_over(own, keep=(META_TIP, META_HISTORY, META_RUNS))
        finally:
            snapshot.close()
    finally:
        own.close()
    try:
        _link_runs(directory / SNAPSHOT_DIR / COINS_DIR, (directory / DATABASE_FILE).parent / COINS_DIR)
        (directory / f"{DATABASE_FILE}-lock").unlink(missing_ok=True)
        (directory / SNAPSHOT_DIR / SNAPSHOT_FILE).replace(directory / DATABASE_FILE)
        sync_directory((directory / DATABASE_FILE).parent)
    except OSError as error:
        raise StorageError(f"cannot put the coins of the loaded UTXO set in place: {error.strerror}") from None
    remove_snapshot(directory)


def _link_runs(source: Path, target: Path) -> None:
    """Give the files of coins a second name in the other folder, where no manifest knows them yet; raises OSError."""
    for path in source.iterdir():
        try:
            os.link(path, target / path.name)
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            import shutil

            shutil.copyfile(path, target / path.name)
            sync_file(target / path.name)
    sync_directory(target)
