"""Every benchmark and every fuzzer starts, works through its smallest size and prints figures.

What benchmarks say is not judged here; fuzzers find nothing in so little.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "scripts" / "bench"
FUZZERS = BENCHES.parent / "fuzz"
CHAIN = ("--blocks", "1", "--txs", "20", "--small", "2", "--cache", "CACHE")
SAME = str(Path(sys.executable).with_name("btcnoded"))  # beside itself, where there is no bitcoind
LIMIT = 240  # seconds, less than a test may take: it tells what was printed
SMALLEST: dict[str, tuple[str, ...]] = {
    "beside": (
        "--bitcoind",
        SAME,
        "--runs",
        "1",
        "--only",
        "sync,pool,rpc",
        "--blocks",
        "1",
        "--txs",
        "20",
        "--tip-blocks",
        "2",
        "--rpc-txs",
        "5",
        "--seconds",
        "0.01",
        "--cache",
        "CACHE",
        "--json",
        "CACHE/beside.json",
    ),
    "block_relay": ("--transactions", "20", "--blocks", "1", "--hops", "1"),
    "compact_memory": ("--headers", "3000", *CHAIN),
    "damage": ("--bytes", "1", "--pages", "1", "--processes", "1"),
    "affinity": ("--runs", "1", "--busy", "1", "--only", "flood", "--txs", "10"),
    "data": (
        *("--blocks", "1", "--txs", "20", "--workers", "1,2", "--dask", "1", "--large", "1", "--part", "1"),
        *("--cache", "CACHE", "--plot", "CACHE/workers.svg", "--json", "CACHE/data.json"),
    ),
    "dashboard": ("--viewers", "2", "--runs", "1", "--blocks", "1", "--txs", "20", "--loose", "60"),
    "dos": ("--scale", "0.01"),
    "eviction": ("--traces", "market", "--hours", "0.5"),
    "headers": ("--headers", "2000", "--flood", "100"),
    "hostile": (
        "--kinds",
        "ping, never read",
        "--peers",
        "2",
        "--seconds",
        "0.2",
        "--pool",
        "10",
        "--json",
        "CACHE/h.json",
    ),
    "ibd": (*CHAIN, "--only", "kernel,scripts,par1,assumed,load", "--plot", "CACHE/memory.png"),
    "inbound": ("--minutes", "0.05", "--peers", "10", "--hostile", "5", "--plot", "CACHE/inbound.png"),
    "large_block": ("--transactions", "40", "--par", "1,2", "--runs", "1"),
    "mempool": ("--txs", "50", "--pool", "200"),
    "parse": ("--rounds", "1"),
    "peer_learning": ("--seeds", "1", "--worlds", "honest", "--ways", "fixed"),
    "peers": (*CHAIN, "--repeat", "1"),
    "relay": ("--transactions", "50", "--pool", "200"),
    "rpc_large": ("--kinds", "nothing", "--seconds", "0.2"),
    "rpc_loaded": (
        *("--pool", "10", "--peers", "2", "--addresses", "2000", "--bans", "1000"),
        *("--kinds", "getorphantxs", "getpeerinfo"),
    ),
    "rpc": ("--seconds", "0.05", "--clients", "2", "--blocks", "2", "--txs", "10", "--only", "btcnode"),
    "scripts": ("--inputs", "4", "--rounds", "1"),
    "simulate": ("--nodes", "4", "--seconds", "20"),
    "start": ("--runs", "1"),
    "stress": ("--rate", "20", "--seconds", "3", "--shape", "burst", "--block-interval", "2", "--out", "CACHE/stress"),
    "swiftsync": ("--blocks", "1", "--txs", "20", "--small", "110", "--cache", "CACHE", "--only", "swift1,usual,full1"),
    "sync": ("--blocks", "1", "--txs", "20", "--small", "2", "--runs", "1"),
    "transport": ("--megabytes", "1", "--repeat", "1"),
    "user_lane": ("--txs", "100", "--peers", "2", "--calls", "3", "--par", "1"),
    "wallet": ("--addresses", "80", "--own", "0,3", "--rounds", "2", "--blocks", "2", "--block-txs", "5"),
    "utreexo": (*CHAIN, "--par", "1"),
    "utxo_sets": ("--coins", "3000", "--chunk", "10000"),
    "utxo": ("--coins", "2000", "--batch", "200"),
}
FUZZED: dict[str, tuple[str, ...]] = {
    "beside_core": ("--bitcoind", SAME, "--lives", "pool,chain", "--worlds", "1", "--steps", "4"),
    "blocks": ("--cases", "3", "--keep", "CACHE/block.bin"),
    "kills": ("sync", "--random", "1"),
    "options": ("--bitcoind", SAME, "--cases", "2"),
    "peers": ("--events", "300", "--world", "300"),
    "rpc": ("--cases", "1", "--random-only", "--seconds", "3", "--passes", "bare", "--methods", "uptime"),
    "scripts": ("--cases", "20", "--mixtures", "20", "--out", "CACHE/scripts"),
    "swiftsync": ("--rounds", "20"),
    "utreexo": ("--operations", "200"),
    "wallets": ("--kills", "1", "--seconds", "0.5"),
}
OF_REAL_BLOCKS = {"parse"}
ELSEWHERE = {"utxo_scale"}  # test_e2e_utxo_scale.py reads its rows


def test_each_benchmark_has_its_smallest_size() -> None:
    assert {path.stem for path in BENCHES.glob("*.py")} == SMALLEST.keys() | ELSEWHERE
    assert {path.stem for path in FUZZERS.glob("*.py")} == FUZZED.keys()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benches")


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs(name: str, cache: Path, request: pytest.FixtureRequest) -> None:
    if name in OF_REAL_BLOCKS:
        request.getfixturevalue("vectors")
    done = run(BENCHES / f"{name}.py", SMALLEST[name], cache)
    assert done.returncode in (0, 1), done.stderr  # 1: a figure of so small a run is not the one asked for


@pytest.mark.parametrize("name", FUZZED)
def test_a_fuzzer_runs(name: str, cache: Path) -> None:
    done = run(FUZZERS / f"{name}.py", FUZZED[name], cache)
    assert done.returncode == 0, done.stdout + done.stderr


def run(script: Path, arguments: tuple[str, ...], cache: Path) -> subprocess.CompletedProcess[str]:
    """Run it; it has to end without a traceback and to print some figure."""
    words = [word.replace("CACHE", str(cache)) for word in arguments]
    environment = {key: value for key, value in os.environ.items() if key != "BTCNODE_BITCOIND"}
    command = [sys.executable, str(script), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment, cwd=cache)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"not at its end after {LIMIT} s: {late.stdout!r} {late.stderr!r}")
    assert "Traceback" not in done.stderr, done.stderr
    assert re.search(r"\d", done.stdout), done.stdout
    return done
