"""The wallet's file, and the vault around its keys."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest

from btcnode.descriptors.provider import Secret
from btcnode.errors import CorruptionError, StorageError
from btcnode.wallet.errors import WalletError, WalletLockedError
from btcnode.wallet.journal import Change
from btcnode.wallet.sqlite_store import Rows, WalletStore, application_id, kind_of_file
from btcnode.wallet.vault import SealedMaster, Vault, new_master, open_master, seal_master
from tests.lib.full_disk import no_room

MAGIC = b"\xfa\xbf\xb5\xda"


def made(path: Path) -> WalletStore:
    return WalletStore.create(path, MAGIC, (), unsafe=False)


def test_what_is_written_is_there_after_reopening(tmp_path: Path) -> None:
    store = made(tmp_path / "w")
    store.write([Change("meta", ("flags", 5)), Change("address", (b"s", "label", "receive", 0))])
    store.close()
    assert kind_of_file(tmp_path / "w/wallet.dat", MAGIC) == "ours"
    store = WalletStore.open(tmp_path / "w/wallet.dat", MAGIC, unsafe=False)
    rows = store.read()
    assert rows.meta == {"flags": 5} and rows.addresses == [(b"s", "label", "receive", 0)]
    store.close()


def test_all_changes_or_none(tmp_path: Path) -> None:
    store = made(tmp_path)
    with pytest.raises(StorageError):
        store.write([Change("meta", ("flags", 5)), Change("meta", ("too", "many", "values"))])
    assert store.read().meta == {}
    store.write([Change("meta", ("flags", 6))])
    store.close()


def test_a_wallet_is_opened_once(tmp_path: Path) -> None:
    store = made(tmp_path)
    with pytest.raises(WalletError, match=r"exclusive lock"):
        WalletStore.open(tmp_path / "wallet.dat", MAGIC, unsafe=False)
    store.close()


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    core = sqlite3.connect(tmp_path / "core.dat")
    core.execute(f"PRAGMA application_id = {int.from_bytes(MAGIC, 'big') - (1 << 32)}")
    core.execute("CREATE TABLE main (key BLOB, value BLOB)")
    core.close()
    (tmp_path / "bdb.dat").write_bytes(bytes(12) + b"\x62\x31\x05\x00" + bytes(5000))
    (tmp_path / "text").write_text("x" * 1000)
    kinds = [kind_of_file(tmp_path / name, MAGIC) for name in ("core.dat", "bdb.dat", "text", "none")]
    assert kinds == ["core", "legacy", "other", "none"]
    store = made(tmp_path / "w")
    store.close()
    assert kind_of_file(tmp_path / "w/wallet.dat", b"abcd") == "other"
    with pytest.raises(WalletError, match="Unexpected application"):
        WalletStore.open(tmp_path / "w/wallet.dat", b"abcd", unsafe=False)
    assert application_id(MAGIC) != application_id(b"abcd")


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write([Change("address", (bytes((n,)) * 40, "label" * 50, "receive", 0)) for n in range(200)])
    store.close()
    path = tmp_path / "wallet.dat"
    data = bytearray(path.read_bytes())
    data[20_000:40_000] = b"\xaa" * 20_000
    path.write_bytes(data)
    with pytest.raises(WalletError, match=r"damaged|verify"):
        WalletStore.open(path, MAGIC, unsafe=False)


def content(path: Path) -> Rows:
    store = WalletStore.open(path, MAGIC, unsafe=False)
    try:
        return store.read()
    finally:
        store.close()


def some_changes(number: int) -> list[Change]:
    """Rows of every kind."""
    return [
        Change("meta", ("flags", 5)),
        *(Change("position", (b"d" * 32, n, bytes((number, n)) * 12, b"\x21" + bytes((n,)) * 33)) for n in range(60)),
        *(Change("tx", (bytes((number, n)) * 16, bytes((n,)) * 220, 5, 6, 60 * number + n, "{}")) for n in range(60)),
        *(Change("tx_state", (bytes((number, n)) * 16, "confirmed", b"h" * 32, n, 1)) for n in range(60)),
        *(Change("address", (bytes((number, n)) * 11, "label", "receive", 0)) for n in range(30)),
        Change("key", (b"d" * 32, b"p" * 33, b"k" * 33, 0)), Change("lock", (b"o" * 36,)),
        Change("active", ("bech32", 0, b"d" * 32)), Change("descriptor", (b"d" * 32, "text", 1, 2, 3, 4)),
    ]  # fmt: skip


def flipped(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_a_flipped_bit_anywhere_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    store = made(tmp_path / "w")
    store.write(some_changes(1))
    store.close()
    whole, copy = tmp_path / "w/wallet.dat", tmp_path / "copy.dat"
    rows, random, errors = content(whole), Random(1), 0
    for _ in range(400):
        copy.write_bytes(whole.read_bytes())
        flipped(copy, random.randrange(copy.stat().st_size), random.randrange(8))
        try:
            if kind_of_file(copy, MAGIC) == "ours":
                assert content(copy) == rows
            else:
                errors += 1
        except WalletError as error:
            errors += 1
            assert (str(copy) in str(error) and "backup" in str(error)) or "version" in str(error), error
    assert errors > 100  # the rest is free space


def test_a_flipped_bit_in_the_log_undoes_nothing_silently(tmp_path: Path) -> None:
    """But in its last transaction, which may be what a crash has left."""
    store = made(tmp_path / "w")
    for number in range(4):
        store.write(some_changes(number))
    files = {end: (tmp_path / f"w/wallet.dat{end}").read_bytes() for end in ("", "-wal")}
    store.write([Change("meta", ("last", 1))])
    last = len(files["-wal"])
    files["-wal"] = (tmp_path / "w/wallet.dat-wal").read_bytes()
    store.close()
    rows, random = content(tmp_path / "w/wallet.dat"), Random(2)
    copy, log = tmp_path / "copy.dat", tmp_path / "copy.dat-wal"

    def with_log(data: bytes) -> Rows:
        copy.write_bytes(files[""])
        log.write_bytes(data)
        return content(copy)

    assert with_log(files["-wal"]) == rows
    assert "last" not in with_log(files["-wal"][: last + 100]).meta  # torn, as by a crash
    for _ in range(150):
        data = bytearray(files["-wal"])
        data[random.randrange(last)] ^= 1 << random.randrange(8)
        try:
            assert with_log(bytes(data)) == rows
        except WalletError as error:
            assert str(log) in str(error) and "backup" in str(error)


def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    store = made(tmp_path / "w")
    store.write(some_changes(1))
    before, log = store.read(), tmp_path / "w/wallet.dat-wal"
    with no_room(log.stat().st_size + 5_000), pytest.raises(StorageError, match=str(tmp_path)):
        store.write(some_changes(2))
    assert store.read() == before
    store.write(some_changes(3))
    after = store.read()
    assert len(after.txs) == 120
    store.close()
    assert content(tmp_path / "w/wallet.dat") == after


def test_a_crash_while_a_wallet_is_made_leaves_the_name_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("_fill_new", "sync_file", "put_in_place"):
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):

            def dies(*_: object, killed: pytest.MonkeyPatch = killed) -> None:
                killed.setattr(Path, "unlink", lambda *_, **__: None)  # who is killed does not tidy up
                raise KeyboardInterrupt

            killed.setattr(f"btcnode.wallet.sqlite_store.{step}", dies)
            made(tmp_path / "w")
        assert not (tmp_path / "w/wallet.dat").exists()
    store = WalletStore.create(tmp_path / "w", MAGIC, [Change("meta", ("flags", 7))], unsafe=False)
    assert store.read().meta == {"flags": 7}
    store.close()
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["wallet.dat"]


def test_the_log_of_another_wallet_is_kept_and_not_taken_in(tmp_path: Path) -> None:
    store = made(tmp_path / "w")
    store.write(some_changes(1))
    log = (tmp_path / "w/wallet.dat-wal").read_bytes()
    store.close()
    (tmp_path / "w/wallet.dat").unlink()
    (tmp_path / "w/wallet.dat-wal").write_bytes(log)
    store = made(tmp_path / "w")
    assert store.read().meta == {}
    store.close()
    assert (tmp_path / "w/wallet.dat-wal.old").read_bytes() == log


def test_a_backup_is_whole_and_not_over_itself(tmp_path: Path) -> None:
    store = made(tmp_path / "w")
    store.write([Change("meta", ("flags", 5))])
    store.backup(tmp_path / "copy.dat")
    for target in (tmp_path / "w", tmp_path / "w" / "wallet.dat"):
        with pytest.raises(StorageError):
            store.backup(target)
    store.close()
    copy = WalletStore.open(tmp_path / "copy.dat", MAGIC, unsafe=False)
    assert copy.read().meta == {"flags": 5}
    copy.close()


def test_an_older_backup_is_there_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, target = made(tmp_path / "w"), tmp_path / "copy.dat"
    store.backup(target)
    before = target.read_bytes()
    store.write([Change("meta", ("flags", 5))])

    def crash(path: Path) -> None:
        assert path.read_bytes() != before and target.read_bytes() == before
        raise OSError("crash")

    monkeypatch.setattr("btcnode.wallet.sqlite_store.sync_file", crash)
    with pytest.raises(StorageError, match="crash"):
        store.backup(target)
    assert target.read_bytes() == before and target.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.dat", "w"]
    monkeypatch.undo()
    other = made(tmp_path / "other")
    other.write([Change("meta", ("flags", 6))])
    for place in (tmp_path / "other/wallet.dat", Path("/dev/null")):
        with pytest.raises(StorageError, match="cannot be copied to"):
            store.backup(place)
    assert other.read().meta == {"flags": 6}
    other.close()
    store.close()


def test_only_the_passphrase_opens_the_master_key() -> None:
    master = new_master()
    record = seal_master(master, "secret")
    assert open_master(record, "secret") == master
    assert open_master(record, "Secret") is None and open_master(record, "secret\0") is None
    assert master not in record.sealed and master.hex() not in repr(record)
    with pytest.raises(CorruptionError):
        open_master(SealedMaster(record.salt, 1 << 40, 8, 1, record.sealed), "secret")


def test_keys_are_bound_to_their_place_and_gone_when_locked() -> None:
    vault, master = Vault(), new_master()
    assert not vault.is_encrypted and not vault.is_locked
    vault.begin(seal_master(master, "x"), master)
    sealed = vault.seal(b"key", b"here")
    assert vault.open(sealed, b"here") == b"key"
    with pytest.raises(WalletError, match="damaged"):
        vault.open(sealed, b"there")
    vault.lock()
    with pytest.raises(WalletLockedError):
        vault.open(sealed, b"here")
    vault.unlock(master)
    assert vault.open(sealed, b"here") == b"key"
    assert master.hex() not in repr(vault)


def test_private_keys_are_not_shown() -> None:
    secret = Secret(b"\x11" * 32)
    assert "11" not in repr(secret) and "x11" not in f"{secret}{[secret]}"
