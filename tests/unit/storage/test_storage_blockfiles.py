from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.errors import CorruptionError, LostDatabaseError, StorageError
from btcnode.primitives.hashes import sha256d
from btcnode.storage import blockfiles as module
from btcnode.storage.blockfiles import BlockFiles, BlockPos, FileInfo
from btcnode.storage.database import Database
from btcnode.storage.obfuscation import SMALL, Obfuscation, open_obfuscation

MAGIC = b"\xf9\xbe\xb4\xd9"
PREV = bytes(range(32))
KEY = bytes.fromhex("0123456789abcdef")


def block(n: int, size: int = 300) -> bytes:
    """Bytes with a timestamp of ``n`` where a header has it."""
    return random.Random(n).randbytes(68) + n.to_bytes(4, "little") + random.Random(-n).randbytes(size - 72)


@pytest.fixture(params=[True, False], ids=["xor", "plain"])
def use_xor(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    yield database
    database.close()


def reopen(files: BlockFiles, database: Database, **options: object) -> BlockFiles:
    return BlockFiles.open(files.directory, MAGIC, database, **options)  # type: ignore[arg-type]


def commit(files: BlockFiles, database: Database) -> None:
    changes = files.take_changes()
    files.sync_changes(changes)
    database.commit(meta_puts=changes.records)


def test_form_is_that_of_core(tmp_path: Path, database: Database, use_xor: bool) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database, use_xor=use_xor)
    blocks = [block(n, 100 + 7 * n) for n in range(5)]
    positions = [files.append_block(raw, n) for n, raw in enumerate(blocks)]
    undos = [files.append_undo(0, b"undo %d" % n, PREV) for n in range(5)]
    key = (tmp_path / "blocks" / "xor.dat").read_bytes()
    assert len(key) == 8 and (key != bytes(8)) == use_xor and files.xor_key == key
    clear = Obfuscation(key).apply((tmp_path / "blocks" / "blk00000.dat").read_bytes(), 0)
    assert clear == b"".join(MAGIC + len(raw).to_bytes(4, "little") + raw for raw in blocks)
    assert positions[0] == BlockPos(0, 8)
    assert positions[1] == BlockPos(0, 8 + len(blocks[0]) + 8)
    clear = Obfuscation(key).apply((tmp_path / "blocks" / "rev00000.dat").read_bytes(), 0)
    assert clear == b"".join(
        MAGIC + b"\x06\x00\x00\x00" + b"undo %d" % n + sha256d(PREV + b"undo %d" % n) for n in range(5)
    )
    assert [files.read_block(position) for position in positions] == blocks
    assert [files.read_undo(position, PREV) for position in undos] == [b"undo %d" % n for n in range(5)]
    assert files.infos == [FileInfo(5, sum(map(len, blocks)) + 40, 5 * 46, 0, 4, 0, 4)]
    assert files.total_size == files.infos[0].size + 230
    files.close()


def test_next_file_is_begun_before_the_limit_is_reached(tmp_path: Path, database: Database) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database, max_file_size=1000)
    # 3 * 308 = 924 fit, a fourth does not; 992 + 8 reaches the limit, so it gets a file of its own
    positions = [files.append_block(block(n)) for n in range(4)] + [files.append_block(block(9, 992))]
    assert [position.file for position in positions] == [0, 0, 0, 1, 2]
    assert files.append_block(block(10)).file == 3
    assert files.append_undo(0, b"u", PREV) == BlockPos(0, 8)
    assert files.append_undo(2, b"u", PREV) == BlockPos(2, 8)
    assert files.append_undo(0, b"u", PREV) == BlockPos(0, 8 + 1 + 32 + 8)
    commit(files, database)
    assert [info.size for info in files.infos] == [924, 308, 1000, 308]
    again = reopen(files, database, max_file_size=1000)
    assert again.infos == files.infos
    assert again.read_block(positions[4]) == block(9, 992)
    assert again.append_block(block(10, 5000), 0) == BlockPos(4, 8)  # a large one has a file of its own
    assert again.append_block(block(11, 100), 0) == BlockPos(5, 8)


def test_heights_and_times_of_a_file() -> None:
    info = FileInfo()
    for height, time in ((50, 1000), (7, 2000), (60, 500)):
        info.add_block(height, time)
    assert info == FileInfo(3, 0, 0, 7, 60, 500, 2000)
    assert FileInfo.unpack(info.pack()) == info
    with pytest.raises(CorruptionError):
        FileInfo.unpack(info.pack()[1:])


def test_what_was_not_committed_is_cut_and_overwritten(tmp_path: Path, database: Database, use_xor: bool) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database, use_xor=use_xor, max_file_size=2000)
    kept = files.append_block(block(1))
    kept_undo = files.append_undo(0, b"kept", PREV)
    commit(files, database)
    lost = [files.append_block(block(n)) for n in range(2, 12)]
    files.append_undo(0, b"lost", PREV)
    files.append_undo(1, b"lost", PREV)
    assert lost[-1].file == 1
    again = reopen(files, database, max_file_size=2000)
    assert (tmp_path / "blocks" / "blk00000.dat").stat().st_size == 308
    assert (tmp_path / "blocks" / "rev00000.dat").stat().st_size == 4 + 40
    assert again.append_block(block(20, 200)) == BlockPos(0, 316)
    assert [again.append_block(block(n)).file for n in range(21, 27)] == [0] * 4 + [1] * 2
    # the file of the lost blocks is begun anew
    assert (tmp_path / "blocks" / "blk00001.dat").stat().st_size == 616
    assert again.read_block(kept) == block(1)
    assert again.read_undo(kept_undo, PREV) == b"kept"
    assert again.read_block(BlockPos(1, 8)) == block(25)


def test_torn_write_is_overwritten(tmp_path: Path, database: Database) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database)
    first = files.append_block(block(1))
    commit(files, database)
    with (tmp_path / "blocks" / "blk00000.dat").open("ab") as torn:
        torn.write(MAGIC + b"\x00\x10")
    again = reopen(files, database)
    second = again.append_block(block(2))
    assert second == BlockPos(0, 316)
    assert (again.read_block(first), again.read_block(second)) == (block(1), block(2))


def test_lost_files_are_noticed(tmp_path: Path, database: Database) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database)
    position = files.append_block(block(1))
    undo = files.append_undo(0, b"undo", PREV)
    commit(files, database)
    path = tmp_path / "blocks" / "blk00000.dat"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CorruptionError, match=r"blk00000.dat ends at 307 of 308 bytes.*--reindex"):
        reopen(files, database)
    with pytest.raises(CorruptionError, match="ends within"):
        files.read_block(position)
    path.unlink()
    with pytest.raises(CorruptionError, match=r"blk00000.dat is missing.*--reindex"):
        reopen(files, database)
    with pytest.raises(CorruptionError, match="missing"):
        files.read_block(position)
    path.write_bytes(data)
    (tmp_path / "blocks" / "rev00000.dat").unlink()
    with pytest.raises(CorruptionError, match=r"rev00000\.dat is missing"):
        reopen(files, database)
    with pytest.raises(CorruptionError, match=r"rev00000\.dat is missing"):
        files.read_undo(undo, PREV)


def test_damage_is_noticed(tmp_path: Path, database: Database, use_xor: bool) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database, use_xor=use_xor)
    position = files.append_block(block(1))
    undo = files.append_undo(0, b"some undo data", PREV)
    for pos in (0, 7, 9, 316, 10_000):
        with pytest.raises(CorruptionError):
            files.read_block(BlockPos(0, pos))
    with pytest.raises(CorruptionError, match="damaged"):
        files.read_undo(undo, PREV[::-1])

    def flip(name: str, at: int) -> None:
        path = tmp_path / "blocks" / name
        data = bytearray(path.read_bytes())
        data[at] ^= 0x40
        path.write_bytes(data)

    for at in (0, 3, 6, 7):  # magic, size
        flip("blk00000.dat", at)
        with pytest.raises(CorruptionError):
            files.read_block(position)
        flip("blk00000.dat", at)
    for at in (1, 5, 8, 21, 22, 53):  # magic, size, payload, checksum
        flip("rev00000.dat", at)
        with pytest.raises(CorruptionError):
            files.read_undo(undo, PREV)
        flip("rev00000.dat", at)
    assert files.read_block(position) == block(1)
    assert files.read_undo(undo, PREV) == b"some undo data"


@pytest.mark.parametrize("name", ["blk00000.dat", "blk04711.dat"])  # the second: of a pruned node
@pytest.mark.parametrize("tidy", [False, True])
def test_files_of_somebody_else_are_neither_touched_nor_used(
    tmp_path: Path, database: Database, name: str, tidy: bool
) -> None:
    """A database without records beside a blocks directory: nothing may be overwritten."""
    directory = tmp_path / "blocks"
    directory.mkdir()
    (directory / name).write_bytes(b"precious")
    with pytest.raises(LostDatabaseError, match=r"does not know.*put it back.*--reindex"):
        BlockFiles.open(directory, MAGIC, database, tidy=tidy)
    assert (directory / name).read_bytes() == b"precious"
    assert database.meta_items(b"file") == []


def test_files_of_core_are_named_as_such(tmp_path: Path, database: Database) -> None:
    directory = tmp_path / "blocks"
    (directory / "index").mkdir(parents=True)
    (directory / "index" / "CURRENT").write_bytes(b"MANIFEST-000002\n")
    (directory / "blk00001.dat").write_bytes(b"precious")
    with pytest.raises(LostDatabaseError, match=r"Bitcoin Core's: start with --reindex .*another --datadir"):
        BlockFiles.open(directory, MAGIC, database)


def test_files_behind_a_gap_are_told_of_when_others_are_adopted(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "blocks"
    directory.mkdir()
    for name in ("blk00002.dat", "blk00003.dat", "blk0000x.dat"):
        (directory / name).write_bytes(b"unread")
    BlockFiles.open(directory, MAGIC, database, adopt=True).close()
    assert "blk00000.dat is missing: 2 block files with higher numbers are not read" in caplog.text


def test_adopted_files_are_appended_to(tmp_path: Path, database: Database) -> None:
    directory = tmp_path / "blocks"
    others = BlockFiles(directory, MAGIC, use_xor=True, max_file_size=1000)
    positions = [others.append_block(block(n)) for n in range(5)]
    others.close()
    (directory / "blk00003.dat").write_bytes(b"after a gap")
    files = BlockFiles.open(directory, MAGIC, database, adopt=True, max_file_size=1000)
    assert [info.size for info in files.infos] == [924, 616]
    for n, position in enumerate(positions):
        raw = files.read_block(position)
        assert raw == block(n)
        files.note_block(position, raw, n)
    assert files.infos[1] == FileInfo(2, 616, 0, 3, 4, 3, 4)
    assert files.append_undo(0, b"undo", PREV) == BlockPos(0, 8)
    assert files.append_block(block(5), 5) == BlockPos(1, 624)
    commit(files, database)
    again = reopen(files, database)
    assert again.infos == files.infos
    assert (directory / "blk00003.dat").read_bytes() == b"after a gap"


def test_records_with_a_gap_are_noticed(tmp_path: Path, database: Database) -> None:
    record = FileInfo().pack()
    database.commit(meta_puts={b"file\0\0\0\0": record, b"file\0\0\0\x02": record})
    with pytest.raises(CorruptionError, match="gaps"):
        BlockFiles.open(tmp_path / "blocks", MAGIC, database)


def test_sync_reaches_every_file_and_the_directory(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database, max_file_size=700)
    synced: list[str] = []
    monkeypatch.setattr(module, "sync_file", lambda path: synced.append(path.name))
    monkeypatch.setattr(module, "sync_directory", lambda path: synced.append(path.name))
    for n in range(3):
        files.append_block(block(n))
    files.append_undo(0, b"u", PREV)
    files.sync_changes(files.take_changes())
    assert sorted(synced) == ["blk00000.dat", "blk00001.dat", "blocks", "rev00000.dat"]
    assert synced[-1] == "blocks"
    synced.clear()
    files.sync_changes(files.take_changes())
    assert synced == []
    files.append_block(block(3))
    changes = files.take_changes()
    files.put_back(changes)
    assert files.take_changes() == changes
    files.sync_changes(changes)
    assert synced == ["blk00001.dat"]


def test_full_disk_is_typed_and_the_append_can_be_repeated(tmp_path: Path) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from btcnode.errors import DiskFullError
        from btcnode.storage.blockfiles import BlockFiles

        files = BlockFiles(Path(sys.argv[1]), b"magi")
        first = files.append_block(bytes(5000))
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        for limit in (5008, 6000):  # nothing of the frame fits, or a part of it
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                files.append_block(b"x" * 5000)
            except DiskFullError as error:
                assert "blk00000.dat" in str(error) and "free some space" in str(error)
            else:
                raise SystemExit("no error")
            assert files.infos[0].size == 5008 and files.infos[0].blocks == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        second = files.append_block(b"x" * 5000)
        assert second.pos == 5016
        assert files.read_block(first) == bytes(5000) and files.read_block(second) == b"x" * 5000
        files.close()
        print("fine")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert child.stdout == "fine\n", child.stderr


# -- obfuscation


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL + 5])
def test_xor_is_by_absolute_position(size: int) -> None:
    data = random.Random(size).randbytes(size)
    xor = Obfuscation(KEY)
    for position in (0, 1, 5, 8, 8191, 2**31 + 3):
        expected = bytes(byte ^ KEY[(position + i) % 8] for i, byte in enumerate(data))
        assert xor.apply(data, position) == expected
        assert xor.apply(expected, position) == data
    assert Obfuscation().apply(data, 3) == data


def test_key_is_random_only_in_a_new_directory(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"")
    key = open_obfuscation(tmp_path).key
    assert key != bytes(8)
    assert open_obfuscation(tmp_path).key == key
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "xor.dat"]
    with pytest.raises(StorageError, match=r"^Failed to initialize ChainstateManager: The blocksdir XOR-key can not"):
        open_obfuscation(tmp_path, use_xor=False)
    (tmp_path / "xor.dat").unlink()
    (tmp_path / "blk00000.dat").write_bytes(b"")
    assert open_obfuscation(tmp_path).key == bytes(8)
    assert (tmp_path / "xor.dat").read_bytes() == bytes(8)
    assert not open_obfuscation(tmp_path, use_xor=False)


@pytest.mark.parametrize("content", [None, b"", b"12345678", bytes(8), b"nine byte"])
def test_the_key_of_known_files_comes_back(tmp_path: Path, database: Database, content: bytes | None) -> None:
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database)
    position = files.append_block(block(1))
    commit(files, database)
    key, path = files.xor_key, tmp_path / "blocks" / "xor.dat"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    files = reopen(files, database)
    assert path.read_bytes() == files.xor_key == key
    assert files.read_block(position) == block(1)
    files.close()


@pytest.mark.parametrize("new_key", [bytes(8), b"12345678"])
def test_files_may_be_rewritten_with_another_key(tmp_path: Path, database: Database, new_key: bytes) -> None:
    """As Core allows it, also with the file of the key left out where it is zero: not only at the next start."""
    files = BlockFiles.open(tmp_path / "blocks", MAGIC, database)
    position = files.append_block(block(1))
    commit(files, database)
    key, path = files.xor_key, tmp_path / "blocks" / "blk00000.dat"
    path.write_bytes(Obfuscation(new_key).apply(Obfuscation(key).apply(path.read_bytes(), 0), 0))
    key_path = tmp_path / "blocks" / "xor.dat"
    key_path.unlink()
    if any(new_key):
        key_path.write_bytes(new_key)
    for _ in range(2):
        files = reopen(files, database, use_xor=any(new_key))
        assert key_path.read_bytes() == files.xor_key == new_key
        assert files.read_block(position) == block(1)
    files.close()


@pytest.mark.parametrize("content", [b"", b"seven b", b"nine byte"])
def test_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "xor.dat").write_bytes(content)
    with pytest.raises(CorruptionError, match=r"xor\.dat"):
        open_obfuscation(tmp_path)
