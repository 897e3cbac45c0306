"""The benchmark of large UTXO sets runs: its chain is valid, and it measures what a node does with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lib.memory_group import LimitedGroup

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/bench/utxo_scale.py"


def test_a_small_chain_is_imported_and_measured(tmp_path: Path) -> None:
    picture = tmp_path / "cost.svg"
    words = ["--coins", "0.01", "--blocks", "3", "--block-bytes", "40000", "--dbcache", "100", "--only", "btcnode"]
    command = [sys.executable, str(SCRIPT), *words, "--cache", str(tmp_path), "--plot", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title, head, _, row = (line for line in done.stdout.splitlines() if line)
    assert title.startswith("10,") and "no memory limit" in title and "memory MB" in head
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    name, dbcache, _, growing, _, spending, _, written, _, disk, memory, _, failure = cells
    assert (name, dbcache, failure) == ("btcnode", "100", "")
    assert min(int(number.replace(",", "")) for number in (growing, spending, written, disk, memory)) > 0
    assert picture.read_text().count("<polyline") == 3


def test_who_is_refused_under_a_memory_limit_is_a_row_without_figures(tmp_path: Path) -> None:
    try:
        LimitedGroup(1 << 30).close()
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    words = ["--coins", "0.001", "--blocks", "1", "--block-bytes", "40000", "--dbcache", "100", "--only", "btcnode"]
    command = [sys.executable, str(SCRIPT), *words, "--cache", str(tmp_path), "--memory-limit", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "memory limit 200 MiB" in done.stdout and "ended with 1 at height -1" in done.stdout
    assert "Not enough memory" in done.stderr
