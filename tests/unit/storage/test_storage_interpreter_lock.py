"""What is said where Python could run without its global lock; those that have no such build try it with a stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from btcnode.errors import ConfigError
from btcnode.storage.database import Database
from btcnode.storage.interpreter_lock import is_free_threaded

START = [sys.executable, "-m", "btcnode.cli.daemon", "-regtest", "-listen=0", "-server=0", "-stopafterblockimport"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="always has the lock")
def test_a_database_is_not_opened_without_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False)
    with pytest.raises(ConfigError, match="PYTHON_GIL=0"):
        Database.open(tmp_path / "chainstate")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not is_free_threaded(), reason="a Python with the lock")
def test_a_node_without_the_lock_ends_with_one_line(tmp_path: Path) -> None:
    command = [*START, f"-datadir={tmp_path}"]
    done = subprocess.run(command, env=os.environ | {"PYTHON_GIL": "0"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "PYTHON_GIL=0" in done.stderr
    assert "lock on" not in (tmp_path / "regtest/debug.log").read_text()


@pytest.mark.skipif(not is_free_threaded(), reason="a Python with the lock")
def test_a_node_with_the_lock_says_so_once(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    command = [*START, f"-datadir={tmp_path}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "regtest/debug.log").read_text().count("global interpreter lock") == 1
