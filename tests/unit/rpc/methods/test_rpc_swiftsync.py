"""``dumphints``: the hints for any block of the active chain, made beside the chain; how far a sync with them is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.chain_generator import benchmark_chain
from tests.lib.hints import pack_hints, reference_hints
from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

PARAMS = params_for("regtest")


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    return list(benchmark_chain(PARAMS, big_blocks=6, big_txs=30, small_blocks=6))


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, chain: list[bytes]) -> Iterator[Running]:
    node = Running(regtest_config(tmp_path_factory.mktemp("hints")))
    for raw in chain:
        node.do(node.parts.chain.driver.store_block(raw, node.now, requested=True))
    node.do(node.parts.chain.driver.settled())
    yield node
    node.close()


def test_the_hints_for_the_tip(synced: Running, chain: list[bytes]) -> None:
    written = synced.call("dumphints", "tip.hints")
    data = Path(written["path"]).read_bytes()
    assert data == pack_hints(reference_hints(chain))
    assert Path(written["path"]).parent == synced.settings.net_dir
    assert written["height"] == len(chain)
    assert written["blockhash"] == header_hash(chain[-1][:HEADER_SIZE])[::-1].hex()
    assert written["size"] == len(data)
    assert written["coins"] == synced.call("gettxoutsetinfo")["txouts"]


@pytest.mark.parametrize("back", [1, 5, 11])
def test_the_hints_for_an_earlier_block(synced: Running, chain: list[bytes], back: int) -> None:
    height = len(chain) - back
    written = synced.call("dumphints", f"{height}.hints", height)
    assert Path(written["path"]).read_bytes() == pack_hints(reference_hints(chain[:height]))
    assert written["height"] == height
    assert not list(synced.settings.net_dir.glob("*temp_hints*"))


def test_what_cannot_be_written_is_said(synced: Running, chain: list[bytes]) -> None:
    for height in (0, -2, len(chain) + 1):
        assert "not between 1" in synced.call("dumphints", "wrong.hints", height)["message"]
    (synced.settings.net_dir / "there.hints").write_bytes(b"mine")
    assert "already exists" in synced.call("dumphints", "there.hints")["message"]
    assert "Couldn't open" in synced.call("dumphints", "nowhere/there.hints")["message"]
    assert (synced.settings.net_dir / "there.hints").read_bytes() == b"mine"
    assert not list(synced.settings.net_dir.glob("*incomplete*"))


def test_a_chain_without_blocks_has_no_hints(tmp_path: Path) -> None:
    node = Running(regtest_config(tmp_path))
    try:
        assert "no blocks above genesis" in node.call("dumphints", "none.hints")["message"]
        assert not (node.settings.net_dir / "none.hints").exists()
    finally:
        node.close()


def test_how_far_a_sync_with_hints_is(tmp_path: Path, synced: Running, chain: list[bytes]) -> None:
    none = synced.call("getswiftsyncinfo")
    assert (none["running"], none["height"], none["blocks"], none["progress"]) == (False, 0, 0, 0.0)
    (tmp_path / "hints").write_bytes(pack_hints(reference_hints(chain)))
    named = header_hash(chain[-1][:HEADER_SIZE])[::-1].hex()
    node = Running(regtest_config(tmp_path / "node", swiftsync=str(tmp_path / "hints"), swiftsyncblock=named))
    try:
        swift = node.parts.swiftsync
        assert swift is not None
        node.do(swift.open())
        before = node.call("getswiftsyncinfo")
        assert (before["running"], before["full"], before["height"]) == (True, False, len(chain))
        for raw in chain:
            node.do(node.parts.chain.driver.store_block(raw, node.now, requested=True))
        node.until(lambda: not swift.running)
        after = node.call("getswiftsyncinfo")
        assert (after["running"], after["blocks"], after["blockhash"]) == (False, len(chain), named)
        assert after["progress"] == 1.0
        assert after["coins"] == synced.call("gettxoutsetinfo")["txouts"]
        assert "failure" not in after and "seconds_left" not in after
    finally:
        node.close()


def test_hints_of_a_node_that_does_not_run(tmp_path: Path, chain: list[bytes]) -> None:
    """From its directory, with the progress on standard error; one that is not there is named."""

    def make(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "btcnode", "hints", "make", "--network", "regtest", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)

    node = Running(regtest_config(tmp_path / "node"))
    for raw in chain:
        node.do(node.parts.chain.driver.store_block(raw, node.now, requested=True))
    node.do(node.parts.chain.driver.settled())
    node.close()
    height = len(chain) - 3
    made = make("--datadir", str(tmp_path / "node"), "--height", str(height), "made.hints")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "made.hints").read_bytes() == pack_hints(reference_hints(chain[:height]))
    assert f"coins at height {height}" in made.stdout
    assert "hints: 100%" in made.stderr
    again = make("--datadir", str(tmp_path / "node"), "made.hints")
    assert again.returncode != 0 and "already exists" in again.stderr and "Traceback" not in again.stderr
    nowhere = make("--datadir", str(tmp_path / "nowhere"), "other.hints")
    assert nowhere.returncode != 0 and "no node's directory" in nowhere.stderr and "Traceback" not in nowhere.stderr
