"""The benchmark of large UTXO sets runs: its chain is valid, and it measures what a node does with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/bench/utxo_scale.py"


def test_a_small_chain_is_imported_and_measured(tmp_path: Path) -> None:
    words = ["--coins", "0.01", "--blocks", "3", "--block-bytes", "40000", "--dbcache", "100", "--only", "btcnode"]
    command = [sys.executable, str(SCRIPT), *words, "--cache", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title, head, row = done.stdout.splitlines()
    assert title.startswith("10,") and "anon MB" in head
    name, dbcache, growth, _, spending, *_, written, _, disk, memory, _ = row.split()
    assert (name, dbcache) == ("btcnode", "100")
    assert float(growth) > 0 and float(spending) >= 0
    assert min(int(number.replace(",", "")) for number in (written, disk, memory)) > 0
