"""Where the kernels' machine code comes from, and what becomes of files that are damaged or somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from btcnode import compiled
from btcnode.compiled import machine_code, making
from btcnode.compiled.kernels import Kernels, check_kernels, load_kernels
from btcnode.compiled.machine_code import NoMachineCode, folder, is_possible, load, path
from btcnode.compiled.making import make
from tests.lib.kernels import compiled_kernels

needs_numba = pytest.mark.skipif(not is_possible(), reason="numba is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own with the code in it."""
    code = make().read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = path()
    assert file.parent == tmp_path / "btcnode" == folder()
    file.parent.mkdir(mode=0o700)
    file.write_bytes(code)
    file.chmod(0o600)
    return file


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_kernels", None), ("_allowed", False), ("_may_make", False), ("_making", None)):
        monkeypatch.setattr(compiled, name, value)
    monkeypatch.setattr(compiled, "_next_look", 0.0)


@needs_numba
def test_a_file_is_loaded(cache: Path) -> None:
    check_kernels(load_kernels())
    assert make() == cache  # it is there


@needs_numba
@pytest.mark.parametrize("at", [0, 20, 60, 5_000, -1])
def test_a_flipped_bit_is_seen_and_the_file_made_again(cache: Path, at: int) -> None:
    data = bytearray(cache.read_bytes())
    data[at] ^= 4
    cache.write_bytes(data)
    with pytest.raises(NoMachineCode, match="is damaged"):
        load()
    assert not cache.exists()


@needs_numba
@pytest.mark.parametrize("size", [0, 10, 49, 50, 3_000])
def test_a_cut_file_is_damaged(cache: Path, size: int) -> None:
    cache.write_bytes(cache.read_bytes()[:size])
    with pytest.raises(NoMachineCode, match="is damaged"):
        load()


@needs_numba
def test_what_is_no_file_of_ours_is_left_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "MAX_SIZE", 1_000)
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    cache.unlink()
    cache.mkdir()
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()
    cache.rmdir()
    with pytest.raises(NoMachineCode, match="No such file"):
        load()


@needs_numba
def test_code_that_judges_otherwise_is_not_used() -> None:
    found = compiled_kernels()
    assert found is not None
    for name in ("merkle_root", "scan_block", "verify_spends"):
        with pytest.raises(NoMachineCode):
            check_kernels(_Wrong(found, name))


class _Wrong(Kernels):
    """Kernels of which one answers what another one would."""

    def __init__(self, good: Kernels, wrong: str) -> None:
        self.__dict__.update(good.__dict__)
        entry = {"merkle_root": "_fold_merkle_tree", "scan_block": "_scan_block", "verify_spends": "_verify_spends"}
        setattr(self, entry[wrong], lambda *arguments: 0)


@needs_numba
def test_nothing_is_loaded_before_it_is_allowed(cache: Path) -> None:
    assert compiled.look_for() is None and compiled.current() is None
    compiled.allow(make=False)
    assert compiled.look_for() is not None and compiled.current() is compiled.look_for()


@needs_numba
def test_it_is_made_where_that_is_allowed_and_looked_for_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = cache.read_bytes()
    cache.unlink()
    started: list[int] = []

    class Process:
        def poll(self) -> int | None:
            return None

    def start() -> Process:
        started.append(1)
        return Process()

    monkeypatch.setattr(machine_code, "start_making", start)
    compiled.allow(make=False)
    assert compiled.look_for() is None and not started
    compiled.allow(make=True)
    monkeypatch.setattr(compiled, "_next_look", 0.0)
    assert compiled.look_for() is None and started == [1]
    cache.write_bytes(code)
    assert compiled.look_for() is None  # a moment ago there was none
    monkeypatch.setattr(compiled, "_next_look", 0.0)
    assert compiled.look_for() is not None and started == [1]


@needs_numba
@pytest.mark.parametrize("error", [RuntimeError("of llvmlite"), AttributeError("of coincurve"), NoMachineCode("ours")])
def test_whatever_fails_is_said_once_and_no_error_of_the_caller(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    tries: list[int] = []

    def fail() -> Kernels:
        tries.append(1)
        raise error

    monkeypatch.setattr("btcnode.compiled.kernels.load_kernels", fail)
    compiled.allow(make=True)
    for _ in range(3):
        monkeypatch.setattr(compiled, "_next_look", 0.0)
        assert compiled.look_for() is None and compiled.current() is None
    assert tries == [1] and not compiled.is_allowed() and compiled._making is None
    assert [record.message for record in caplog.records] == [
        f"no compiled kernels, plain Python does their work: {type(error).__name__}: {error}"
    ]


@needs_numba
@pytest.mark.parametrize("start", ["ends", "never begins"])
def test_a_making_that_fails_is_said_and_not_tried_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, start: str
) -> None:
    cache.unlink()
    started: list[int] = []

    class Failed:
        def poll(self) -> int | None:
            return 1

    def begin() -> Failed | None:
        started.append(1)
        return Failed() if start == "ends" else None

    monkeypatch.setattr(machine_code, "start_making", begin)
    compiled.allow(make=True)
    for _ in range(4):
        monkeypatch.setattr(compiled, "_next_look", 0.0)
        assert compiled.look_for() is None
    assert started == [1] and compiled.is_allowed()  # another process may make them
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["kernels cannot be compiled: python -m btcnode.compiled says why"]


def test_without_numba_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "find_spec", lambda name: None)
    compiled.allow(make=True)
    assert compiled.look_for() is None and compiled._making is None


@needs_numba
def test_the_command_says_where_it_is(cache: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "btcnode.compiled"], capture_output=True, text=True, check=True)
    assert done.stdout == f"Kernels: {cache}\n"


@needs_numba
def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("btcnode.compiled.translate.translate", lambda machine: pytest.fail("compiled in vain"))
    with pytest.raises(NoMachineCode, match="cannot be kept"):
        make()


@needs_numba
def test_a_compiler_that_fails_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(machine: object) -> bytes:
        raise AttributeError("module 'numpy' has no attribute 'trapz'")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("btcnode.compiled.translate.translate", fail)
    with pytest.raises(NoMachineCode, match="cannot be compiled: AttributeError: module 'numpy'"):
        make()


@needs_numba
def test_a_disk_that_is_full_keeps_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("btcnode.compiled.translate.translate", lambda machine: b"code")
    monkeypatch.setattr(making, "kernels_of", lambda code: None)
    monkeypatch.setattr(making, "MachineCode", lambda code: code)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NoMachineCode, match="No space left"):
        make()
    assert list((tmp_path / "btcnode").iterdir()) == []


@needs_numba
@pytest.mark.parametrize("mode", [0o646, 0o664])
def test_a_file_that_others_can_write_to_is_not_loaded(cache: Path, mode: int) -> None:
    cache.chmod(mode)
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()


@needs_numba
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_that_others_can_write_to_is_not_used(cache: Path, mode: int) -> None:
    cache.parent.chmod(mode)
    for use in (load, make):
        with pytest.raises(NoMachineCode, match="not a folder that only this user can write to"):
            use()
    cache.unlink()
    with pytest.raises(NoMachineCode, match="not a folder that only this user can write to"):
        make()
    assert list(cache.parent.iterdir()) == []


@needs_numba
@pytest.mark.parametrize("owner", ["file", "folder"])
def test_what_belongs_to_another_user_is_not_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """A user who can guess the place (a cache folder below /tmp) may have been there first."""
    theirs = cache if owner == "file" else cache.parent
    inode, stat, fstat = theirs.stat().st_ino, Path.stat, os.fstat

    def seen(facts: os.stat_result) -> os.stat_result:
        return os.stat_result((*facts[:4], 12_345, *facts[5:])) if facts.st_ino == inode else facts

    monkeypatch.setattr(Path, "stat", lambda self, **options: seen(stat(self, **options)))
    monkeypatch.setattr(os, "fstat", lambda handle: seen(fstat(handle)))
    with pytest.raises(NoMachineCode, match=r"not one that this user|not a folder that only this user"):
        load()


@needs_numba
def test_links_are_what_they_lead_to(cache: Path, tmp_path: Path) -> None:
    """The user may have his cache elsewhere; a file of everybody's stays one."""
    elsewhere = tmp_path / "elsewhere"
    cache.parent.rename(elsewhere)
    cache.parent.symlink_to(elsewhere)
    load()
    everybodys = tmp_path / "everybodys"
    everybodys.write_bytes(cache.read_bytes())
    everybodys.chmod(0o666)
    cache.unlink()
    cache.symlink_to(everybodys)
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()


@needs_numba
def test_pipes_are_not_loaded(cache: Path) -> None:
    cache.unlink()
    os.mkfifo(cache)
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()


@needs_numba
def test_all_that_the_code_follows_from_is_in_its_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite
    from llvmlite import binding

    names = {path()}
    for where, name, value in (
        (machine_code, "_numba_version", lambda: b"99"),
        (llvmlite, "__version__", "99"),
        (sys, "version", "3.99"),
        (binding, "get_host_cpu_name", lambda: "another"),
        (binding, "get_host_cpu_features", lambda: SimpleNamespace(flatten=lambda: "-avx2")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            names.add(path())
    assert len(names) == 6 and path() == cache and b"version" in machine_code._numba_version()


@needs_numba
def test_files_that_nobody_uses_go_when_one_is_made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled_in_no_time() -> bytes:
        return b"code"

    monkeypatch.setattr(making, "_compile", compiled_in_no_time)
    monkeypatch.setattr(making, "MOST_FILES", 4)
    now, day = time.time(), 86_400.0
    ages = {
        "kernels-used.o": (1, 300), "kernels-young.o": (50, 50), "kernels-old.o": (70, 70), "kernels-a.part": (2, 2),
        "kernels-b.part": (0.5, 0.5), "kernels-4.o": (20, 20), "kernels-5.o": (55, 55), "of_mine": (900, 900),
    }  # fmt: skip
    cache.unlink()
    for name, (used, made) in ages.items():
        (cache.parent / name).write_bytes(b"")
        os.utime(cache.parent / name, (now - used * day, now - made * day))
    make()
    left = {file.name for file in cache.parent.iterdir()}
    assert left == {cache.name, "kernels-used.o", "kernels-4.o", "kernels-young.o", "kernels-b.part", "of_mine"}


@needs_numba
def test_who_loads_a_file_keeps_it_and_its_age(cache: Path) -> None:
    long_ago = time.time() - 50 * 86_400
    os.utime(cache, (long_ago, long_ago))
    load()
    facts = cache.stat()
    assert facts.st_atime > long_ago + 86_400 and abs(facts.st_mtime - long_ago) < 1
    cache.parent.chmod(0o500)
    load()  # where nothing can be written
    cache.parent.chmod(0o700)


@needs_numba
def test_what_does_not_judge_as_it_should_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.unlink()

    def other_code(machine: object) -> bytes:
        return b"code"

    def wrong(found: object) -> None:
        raise NoMachineCode("the kernel of merkle trees gives another root")

    monkeypatch.setattr("btcnode.compiled.translate.translate", other_code)
    monkeypatch.setattr(making, "MachineCode", lambda data: data)
    monkeypatch.setattr(making, "kernels_of", wrong)
    with pytest.raises(NoMachineCode, match="another root"):
        make()
    assert list(cache.parent.iterdir()) == []


# a process in which no memory becomes executable, as with systemd's MemoryDenyWriteExecute
_IN_A_SANDBOX = "import ctypes, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0"


def _sandboxes() -> bool:
    child = "import ctypes, os; os._exit(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0)"
    return sys.platform == "linux" and subprocess.run([sys.executable, "-c", child], check=False).returncode == 0


@needs_numba
@pytest.mark.skipif(not _sandboxes(), reason="the system knows no PR_SET_MDWE")
def test_code_that_does_not_run_here_is_kept_by_nobody(cache: Path) -> None:
    """The process that has made it dies of it, before any node can."""
    object_file = cache.read_bytes()[50:]
    cache.unlink()
    child = _IN_A_SANDBOX + "; from types import SimpleNamespace; from llvmlite import binding"
    child += "; binding.check_jit_execution = lambda: None"  # as if the system had said nothing
    child += "; translate = SimpleNamespace(translate=lambda machine: sys.stdin.buffer.read())"
    child += "; sys.modules['btcnode.compiled.translate'] = translate"
    child += "; from btcnode.compiled.making import make; make()"
    ended = subprocess.run([sys.executable, "-c", child], input=object_file, capture_output=True, check=False)
    assert ended.returncode < 0, ended
    assert [file.suffix for file in cache.parent.iterdir()] == [".part"]  # which goes in a day
    with pytest.raises(NoMachineCode, match="No such file"):
        load()


@needs_numba
@pytest.mark.skipif(not _sandboxes(), reason="the system knows no PR_SET_MDWE")
def test_where_no_code_may_be_made_there_are_no_kernels_and_no_crash(cache: Path) -> None:
    child = _IN_A_SANDBOX + "; import logging; logging.basicConfig(); from btcnode import compiled"
    child += "; compiled.allow(make=True); print(compiled.look_for(), compiled.is_allowed())"
    ended = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert ended.stdout == "None False\n"
    assert "no compiled kernels, plain Python does their work: PermissionError: " in ended.stderr
