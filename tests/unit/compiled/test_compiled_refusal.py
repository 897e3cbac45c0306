"""A run that kernels have ended is the last one with that machine code, and nothing else is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode import compiled
from btcnode.compiled import machine_code
from btcnode.compiled.kernels import load_kernels
from btcnode.compiled.machine_code import is_possible
from btcnode.compiled.making import make
from btcnode.compiled.refusal import Refusal, ended_in_kernels
from btcnode.node.opening import _allow_kernels
from btcnode.storage.fault_note import FaultNote, last_fault
from btcnode.storage.layout import FAULT_FILE, KERNELS_FAULT_FILE

needs_numba = pytest.mark.skipif(not is_possible(), reason="numba is not installed")

# a run whose note of faults is in the folder sys.argv[1]
_RUN = """
import faulthandler, os, signal, sys, threading
from pathlib import Path
from btcnode.compiled import kernels
from btcnode.storage.fault_note import FaultNote
note = FaultNote(Path(sys.argv[1]))
threading.Thread(target=threading.Event().wait, daemon=True).start()
def end(): os.kill(os.getpid(), int(sys.argv[2]))
"""
_IN_KERNELS = _RUN + "kernels.load = end; kernels.load_kernels()"
_ELSEWHERE = _RUN + "end()"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of machine code that is older than all that happens in the test."""
    data = make().read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = machine_code.path()
    file.parent.mkdir(mode=0o700)
    file.write_bytes(data)
    file.chmod(0o600)
    os.utime(file, (1_000_000_000, 1_000_000_000))
    return file


@pytest.fixture
def net_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "regtest"
    directory.mkdir()
    return directory


def end(run: str, net_dir: Path, number: signal.Signals) -> None:
    ended = subprocess.run([sys.executable, "-c", run, str(net_dir), str(int(number))], check=False)
    assert ended.returncode == -number


def start(net_dir: Path) -> bool:
    """Whether a start allows kernels; each is a process of its own in truth."""
    compiled._allowed = False
    note = FaultNote(net_dir)
    _allow_kernels(net_dir, make=False)
    note._file.close()
    return compiled.is_allowed()


@needs_numba
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL, signal.SIGABRT, signal.SIGBUS])
def test_machine_code_in_which_a_run_has_ended_is_not_used_again(
    code: Path, net_dir: Path, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    assert start(net_dir)
    end(_IN_KERNELS, net_dir, number)
    assert not start(net_dir) and not start(net_dir)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2 and said[0] == said[1]
    assert "a run has ended in them (" in said[0] and str(code) in said[0] and KERNELS_FAULT_FILE in said[0]
    FaultNote(net_dir).close()  # a run has ended well meanwhile
    assert not (net_dir / FAULT_FILE).exists() and not start(net_dir)


@needs_numba
@pytest.mark.parametrize("cure", ["made again", "note deleted", "another version"])
def test_what_the_log_advises_helps(code: Path, net_dir: Path, monkeypatch: pytest.MonkeyPatch, cure: str) -> None:
    end(_IN_KERNELS, net_dir, signal.SIGILL)
    assert not start(net_dir)
    FaultNote(net_dir).close()
    if cure == "made again":
        data = code.read_bytes()
        code.unlink()
        assert start(net_dir)  # which may make it
        code.write_bytes(data)
    elif cure == "note deleted":
        (net_dir / KERNELS_FAULT_FILE).unlink()
    else:
        monkeypatch.setattr(machine_code, "_numba_version", lambda: b"99")
    assert start(net_dir)


@needs_numba
def test_kills_and_faults_of_others_refuse_nothing(code: Path, net_dir: Path) -> None:
    for run, number in ((_IN_KERNELS, signal.SIGKILL), (_ELSEWHERE, signal.SIGSEGV), (_IN_KERNELS, signal.SIGTERM)):
        end(run, net_dir, number)
        assert start(net_dir)
    assert not (net_dir / KERNELS_FAULT_FILE).exists()
    (net_dir / FAULT_FILE).write_bytes(b"\xff" * 5_000)
    assert start(net_dir)


@needs_numba
def test_the_last_of_several_faults_counts(code: Path, net_dir: Path) -> None:
    end(_IN_KERNELS, net_dir, signal.SIGSEGV)
    end(_ELSEWHERE, net_dir, signal.SIGABRT)
    fault = last_fault(net_dir)
    assert fault is not None and fault.what == "Aborted" and not ended_in_kernels(fault.stack)
    end(_IN_KERNELS, net_dir, signal.SIGSEGV)
    fault = last_fault(net_dir)
    assert fault is not None and fault.what == "Segmentation fault" and ended_in_kernels(fault.stack)


@needs_numba
def test_a_worker_that_kernels_have_ended_is_remembered(
    code: Path, net_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert start(net_dir)
    compiled._kernels = load_kernels()
    compiled.give_up("a worker process was ended by SIGILL")
    compiled.give_up("a worker process was ended by SIGILL")
    assert compiled.current() is None and not compiled.is_allowed() and compiled.look_for() is None
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "no compiled kernels any more, plain Python does their work: a worker process was ended by SIGILL"
    ]
    assert not start(net_dir)


@needs_numba
def test_a_folder_that_cannot_be_written_to_is_said(
    code: Path, net_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert start(net_dir)
    (net_dir / KERNELS_FAULT_FILE).mkdir()
    compiled.give_up("a worker process was ended by SIGILL")
    assert "the next start will try compiled kernels again" in caplog.text
    assert start(net_dir)
    end(_IN_KERNELS, net_dir, signal.SIGSEGV)
    assert not start(net_dir)  # not by a file, but as long as the fault is noted


def test_nothing_is_refused_without_numba(net_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Refusal(net_dir / KERNELS_FAULT_FILE).note("a run has ended in them")
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    assert start(net_dir)  # there is nothing to refuse, and nothing to load
