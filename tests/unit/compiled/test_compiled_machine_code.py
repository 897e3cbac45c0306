"""Where the kernels' machine code comes from, and what becomes of files that are damaged or somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode import compiled
from btcnode.compiled import machine_code
from btcnode.compiled.kernels import Kernels, check_kernels, load_kernels
from btcnode.compiled.machine_code import NoMachineCode, folder, is_possible, load, make, path
from tests.lib.kernels import compiled_kernels

needs_numba = pytest.mark.skipif(not is_possible(), reason="numba is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own with the code in it."""
    code = make().read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = path()
    assert file.parent == tmp_path / "btcnode" == folder()
    file.parent.mkdir()
    file.write_bytes(code)
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
    monkeypatch.setattr("btcnode.compiled.translate.translate", lambda machine: b"code")
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
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NoMachineCode, match="No space left"):
        make()
    assert list((tmp_path / "btcnode").iterdir()) == []


@needs_numba
def test_what_others_can_write_to_and_pipes_are_not_loaded(cache: Path) -> None:
    cache.chmod(0o646)
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()
    cache.unlink()
    os.mkfifo(cache)
    with pytest.raises(NoMachineCode, match="not one that this user has made"):
        load()
