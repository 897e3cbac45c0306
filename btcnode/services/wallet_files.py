"""Where wallets lie, and how one is made of its file. Runs beside the loop."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from btcnode.descriptors.descriptor import OutputType
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.errors import ConfigError, CorruptionError
from btcnode.networks.parameters import NetworkParams
from btcnode.settings.groups.wallet import WalletSettings
from btcnode.settings.settings import Settings
from btcnode.storage.durable import sync_file
from btcnode.wallet.book import BookEntry
from btcnode.wallet.descriptor_keys import DescriptorKeys
from btcnode.wallet.errors import Trouble, WalletError
from btcnode.wallet.flags import MUST_BE_KNOWN, WalletFlag
from btcnode.wallet.sqlite_store import (
    DAMAGED,
    FILE_NAME,
    IN_USE,
    UNFINISHED,
    Rows,
    WalletStore,
    begin_file,
    kind_of_file,
    put_in_place,
    remove_if_empty,
)
from btcnode.wallet.tx_records import read_tx
from btcnode.wallet.vault import SealedMaster
from btcnode.wallet.wallet import Surroundings, Wallet

log = logging.getLogger("btcnode.wallet")

_KNOWN = WalletFlag(0)
for _flag in WalletFlag:
    _KNOWN |= _flag


def wallets_dir(settings: Settings) -> Path:
    """The directory of the network's wallets; raises ConfigError for one that was named and cannot be."""
    named = settings.wallet.walletdir
    if named is None:
        usual = settings.net_dir / "wallets"
        return usual if usual.is_dir() else settings.net_dir
    if not named.exists():
        raise ConfigError(f'Specified -walletdir "{named}" does not exist')
    if not named.is_dir():
        raise ConfigError(f'Specified -walletdir "{named}" is not a directory')
    if not named.is_absolute():
        raise ConfigError(f'Specified -walletdir "{named}" is a relative path')
    return named.resolve()


def wallet_path(directory: Path, name: str) -> Path:
    """Where the wallet of this name lies, or would; raises WalletError for what cannot be one's name."""
    path = directory / name  # as it was named: behind a link ".." leads elsewhere than its text says
    try:
        path.resolve()
        is_plain = path.is_file() and not path.is_symlink() and "/" not in name
        can_be = path.is_dir() or is_plain or not (path.exists() or path.is_symlink())
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
        can_be = False
    if not can_be:
        raise WalletError(
            f"Invalid -wallet path '{name}'. -wallet path should point to a directory where wallet.dat and"
            " database/log.?????????? files can be stored, a location where such a directory could be created, or (for"
            f' backwards compatibility) the name of an existing data file in -walletdir ("{directory}")'
        )
    return path


def check_existing(path: Path, magic: bytes, loaded: Collection[Path]) -> Path:
    """The file of the wallet at a path; raises WalletError where there is none that can be opened.

    ``loaded`` files are not looked at: who opens and closes a file takes the locks away that SQLite has on it.
    """
    if not (path.exists() or path.is_symlink()):
        raise WalletError(f"Failed to load database path '{path}'. Path does not exist.", Trouble.NOT_FOUND)
    file = path / FILE_NAME
    if file.resolve() in loaded:
        raise WalletError(IN_USE)
    try:
        kind = kind_of_file(path if path.is_file() else file, magic)
        kind = "other" if kind == "ours" and path.is_file() else kind
    except OSError as error:
        raise WalletError(f"Failed to access database path '{path}': {error.strerror}") from None
    if kind == "legacy":
        raise WalletError(
            f"Failed to open database path '{path}'. The wallet appears to be a Legacy wallet, please use the wallet"
            " migration tool (migratewallet RPC or the GUI option).",
            Trouble.LEGACY,
        )
    if kind == "core":
        raise WalletError(
            f"Failed to load database path '{path}'. Data is not in recognized format. It is a wallet of Bitcoin Core:"
            " its descriptors (listdescriptors true) can be imported here (importdescriptors).",
            Trouble.BAD_FORMAT,
        )
    if kind != "ours":
        text = f"Failed to load database path '{path}'. Data is not in recognized format."
        text += "" if kind == "none" else f" If it has been a wallet, it is damaged. {DAMAGED}"
        raise WalletError(text, Trouble.BAD_FORMAT)
    return file


def check_new(path: Path) -> None:
    """Raise WalletError where a wallet is already, or any other file of that name."""
    file = path / FILE_NAME
    try:
        taken = file.exists() or file.is_symlink()
    except OSError as error:
        raise WalletError(f"Failed to access database path '{path}': {error.strerror}") from None
    if taken:
        text = f"Failed to create database path '{path}'. Database already exists."
        raise WalletError(text, Trouble.ALREADY_EXISTS)
    if path.is_file():
        raise WalletError(f"Failed to create database path '{path}'. Database already exists.", Trouble.ALREADY_EXISTS)


def check_backup(backup: Path) -> None:
    """Raise WalletError where there is no backup."""
    try:
        exists = backup.exists()
    except OSError as error:
        raise WalletError(
            f"Unexpected exception: filesystem error: status: {error.strerror} [{backup}]", Trouble.OTHER
        ) from None
    if not exists:
        raise WalletError("Backup file does not exist", Trouble.INVALID_BACKUP)


def free_path(directory: Path, name: str) -> Path:
    """Where the restored wallet of this name is to lie; raises WalletError where a file is, or nothing can be."""
    path = directory / name
    with suppress(OSError, ValueError):  # told below
        if path.exists() and not path.is_dir():
            raise WalletError(f"Failed to restore wallet. Database file exists '{path}'.", Trouble.ALREADY_EXISTS)
    return wallet_path(directory, name)


def place_backup(path: Path, backup: Path) -> Callable[[], None]:
    """Copy a backup to where the wallet at a path has its file; returns what takes that back. Raises WalletError."""
    file, unfinished, made = path / FILE_NAME, path / UNFINISHED, not path.exists()
    try:
        if file.exists():
            raise FileExistsError(file)
        if not backup.is_file():  # there is no end to some devices
            raise WalletError(f"Backup file '{backup}' is no file")
        path.mkdir(parents=True, exist_ok=True)
        begin_file(unfinished)
        shutil.copyfile(backup, unfinished)
        sync_file(unfinished)
        put_in_place(unfinished, file)
    except FileExistsError:
        text = f"Failed to restore wallet. Database file exists in '{file}'."
        raise WalletError(text, Trouble.ALREADY_EXISTS) from None
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        remove_if_empty(path, made=made)
        raise WalletError(f"Failed to restore database path '{path}'. {error.strerror}") from None

    def undo() -> None:
        for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
            (path / name).unlink(missing_ok=True)
        if made:
            path.rmdir()

    return undo


def list_wallets(directory: Path, magic: bytes, loaded: Collection[Path]) -> list[tuple[str, list[str]]]:
    """Names of all wallets below the directory, each with warnings; ``loaded`` files are not looked at."""
    legacy = ["This wallet is a legacy wallet and will need to be migrated with migratewallet before it can be loaded"]
    found = []
    for path in _candidates(directory):
        try:
            kind = "ours" if path.resolve() in loaded else kind_of_file(path, magic)
        except (OSError, RuntimeError) as error:  # a RuntimeError: links that lead to each other
            log.warning("Error while scanning wallet dir item: %s [%s].", error, path)
            continue
        place = path.relative_to(directory)
        name = str(place.parent) if path.name == FILE_NAME else str(place)
        if kind == "legacy" or (kind == "ours" and path.name == FILE_NAME):
            found.append(("" if name == "." else name, legacy if kind == "legacy" else []))
    return found


def _candidates(directory: Path) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        if error.filename == str(directory):
            log.warning("Error scanning directory entries under %s: %s", directory, error.strerror)
        else:
            log.warning("Error while scanning wallet dir item: %s [%s].", error.strerror, error.filename)

    for root, folders, files in os.walk(directory, onerror=failed):
        folders.sort()
        top = root == str(directory)
        for name in sorted(files):
            path = Path(root, name)
            if (name == FILE_NAME and not top) or (top and path.suffix != ".bak" and not path.is_symlink()):
                yield path
        for name in folders:  # a link to a folder is not gone into
            path = Path(root, name)
            if path.is_symlink() and (path / FILE_NAME).is_file():
                yield path / FILE_NAME


def open_store(path: Path, magic: bytes, options: WalletSettings, loaded: Collection[Path]) -> WalletStore:
    """Open the file at a path; raises WalletError."""
    return WalletStore.open(check_existing(path, magic, loaded), magic, unsafe=options.unsafesqlitesync)


def read_wallet(
    name: str, store: WalletStore, params: NetworkParams, options: WalletSettings, node: Surroundings
) -> tuple[Wallet, Rows]:
    """The wallet of a file; raises WalletError."""
    rows = store.read()
    flags = rows.meta.get("flags")
    if not isinstance(flags, int):
        raise WalletError(f"Error loading {store.path}: Wallet corrupted. {DAMAGED}")
    if flags & MUST_BE_KNOWN & ~int(_KNOWN):
        raise WalletError(f"Error loading {store.path}: Wallet requires newer version of btcnode")
    record = SealedMaster(*rows.master) if rows.master is not None else None
    wallet = Wallet(name, params, options, node, WalletFlag(flags), record)
    try:
        _fill(wallet, rows)
    except DescriptorError:
        raise WalletError(
            f"Unrecognized descriptor found. Loading wallet {store.path}\n\nThe wallet might have been created on a"
            " newer version.\nPlease try running the latest software version.\n"
        ) from None
    except (CorruptionError, KeyError, ValueError, TypeError) as error:
        raise WalletError(f"Error loading {store.path}: Wallet corrupted ({error}). {DAMAGED}") from None
    wallet.journal.take()  # what is on disk is not written again
    return wallet, rows


def _fill(wallet: Wallet, rows: Rows) -> None:
    """Raises CorruptionError, DescriptorError, KeyError, ValueError and TypeError for what is no wallet's."""
    found: dict[bytes, DescriptorKeys] = {}
    for key, text, created, start, end, next_index in rows.descriptors:
        descriptor = parse_descriptor(text, wallet.params, SigningProvider(), need_checksum=True)[0]
        found[key] = DescriptorKeys(
            descriptor, wallet.journal, created=created, start=start, end=end, next_index=next_index
        )
        if found[key].id != key:
            raise CorruptionError("a descriptor is damaged")
    for key, number, position, derived in rows.derived_keys:
        found[key].load_derived_key(number, position, derived)
    for key, position, scripts, pubkeys in rows.positions:
        found[key].load_position(position, scripts, pubkeys)
    for key, pubkey, data, sealed in rows.keys:
        found[key].load_key(pubkey, data, sealed=bool(sealed))
    for keys in found.values():
        wallet.add_keys(keys)
    for kind, internal, key in rows.active:
        wallet.active[OutputType(kind), bool(internal)] = found[key]
    for script, label, purpose, used in rows.addresses:
        wallet.book.load(script, BookEntry(label, purpose, bool(used)))
    for row in rows.txs:
        entry = read_tx(row)
        wallet.ledger.load(entry)
        wallet.birth_time = min(wallet.birth_time, entry.time)
    for (outpoint,) in rows.locked:
        wallet.ledger.locked[outpoint] = True


def locator_of(rows: Rows) -> list[bytes]:
    """Hashes of blocks that the wallet knew, newest first; the last is the genesis block's."""
    data = rows.meta.get("best_block")
    data = data if isinstance(data, bytes) else b""
    return [data[at : at + 32] for at in range(0, len(data), 32)]
