"""A disk that fills up under a running node: it says so and stops; with room again it goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.process import NodeProcess, RpcFailure

PARAMS = params_for("regtest")
DISK_MB = 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_stops_the_node_and_damages_nothing(small_disk: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(4000), *(generator.busy(900) for _ in range(5))]
    with NodeProcess(small_disk, "regtest", listen=False) as node:
        node.start()
        for raw in chain[:-4]:
            assert node.rpc("submitblock", raw.hex()) is None
        fill(small_disk / "ballast")
        with pytest.raises((RpcFailure, OSError)):
            for raw in chain[-4:]:
                node.rpc("submitblock", raw.hex())
        assert node.process is not None
        assert node.process.wait(30) == 1
        assert "no room left: nothing was lost, free some space" in node.output()
        assert "Traceback" not in node.output()
        (small_disk / "ballast").unlink()
        node.start("--checkblocks", "0", "--checklevel", "3")
        for raw in chain:
            node.rpc("submitblock", raw.hex())
        assert node.height() == len(chain)
        assert node.rpc("verifychain", 3, 0) is True
        assert node.stop() == 0
