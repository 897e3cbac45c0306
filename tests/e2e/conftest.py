"""Programs that other people wrote for bitcoind, in an environment of their own."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ("python-bitcoinrpc==1.0", "bitcoin-utils==0.8.8", "bitcoinlib==0.7.10", "e-x[leveldb]==2.0.0")
WALLET_CLIENTS = ("pyln-testing==26.6.9", "python-bitcoinlib==0.12.2", "bdkpython==3.1.1")


def install_clients(folder: Path, clients: tuple[str, ...]) -> str | None:
    """Make the environment when it is not there; returns what went wrong."""
    stamp = folder / ".stamp"
    wanted = "\n".join(clients)
    if stamp.is_file() and stamp.read_text() == wanted:
        return None
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", folder], capture_output=True, text=True, check=False
    )
    if made.returncode == 0:
        words = ("--quiet", "--disable-pip-version-check", "--no-compile")  # who imports a module compiles it
        pip = [str(folder / "bin/python"), "-m", "pip", "install", *words, *clients]
        made = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=280)
    if made.returncode != 0:
        return made.stderr.strip().rpartition("\n")[2] or f"status {made.returncode}"
    stamp.write_text(wanted)
    return None


def python_with(name: str, clients: tuple[str, ...]) -> Path:
    """The interpreter of an environment with clients from PyPI; skips where they cannot be installed."""
    folder = ROOT / name
    with (ROOT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        problem = install_clients(folder, clients)
    if problem is not None:
        pytest.skip(f"clients cannot be installed from PyPI: {problem}")
    return folder / "bin/python"


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The interpreter of ``.venv-clients``, which has what speaks to a node."""
    return python_with(".venv-clients", CLIENTS)


@pytest.fixture(scope="session")
def wallet_clients_python() -> Path:
    """The interpreter of ``.venv-wallet-clients``, which has what uses a node's wallet."""
    return python_with(".venv-wallet-clients", WALLET_CLIENTS)
