"""A disk that fills up under a running node: it says so and stops; with room again it goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.full_disk import fill, small_disk
from tests.lib.hints import reference_hints
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, RpcFailure, wait_until
from tests.lib.spent import told_by_hash
from tests.lib.swift_nodes import hinted, run

PARAMS = params_for("regtest")
DISK_MB = 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    with small_disk(tmp_path, DISK_MB << 20):
        yield tmp_path


def test_a_full_disk_stops_the_node_and_damages_nothing(disk: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(4000), *(generator.busy(900) for _ in range(5))]
    with NodeProcess(disk, "regtest", listen=False) as node:
        node.start()
        for raw in chain[:-4]:
            assert node.rpc("submitblock", raw.hex()) is None
        fill(disk / "ballast")
        with pytest.raises((RpcFailure, OSError)):
            for raw in chain[-4:]:
                node.rpc("submitblock", raw.hex())
        assert node.process is not None
        assert node.process.wait(30) == 1
        assert "no room left: nothing was lost, free some space" in node.output()
        assert "Traceback" not in node.output()
        (disk / "ballast").unlink()
        node.start("--checkblocks", "0", "--checklevel", "3")
        for raw in chain:
            node.rpc("submitblock", raw.hex())
        assert node.height() == len(chain)
        assert node.rpc("verifychain", 3, 0) is True
        assert node.stop() == 0


@pytest.mark.parametrize(("kind", "room"), [("assumed", 0), ("assumed", 900_000), ("full", 0), ("pruned", 0)])
def test_a_disk_that_gets_full_in_a_sync_with_hints(
    disk: Path, tmp_path_factory: pytest.TempPathFactory, kind: str, room: int
) -> None:
    """It ends the node wherever it comes, and costs nothing: the sync goes on when there is room again."""
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(1500), *(generator.busy(40) for _ in range(60))]
    words = hinted(tmp_path_factory.mktemp("hints") / "hints", chain, 5, kind)
    served, full = set[bytes](), threading.Event()

    def wait(name: bytes, raw: bytes) -> bytes:
        served.add(name)
        return raw if len(served) <= 20 or full.wait(30) else b""

    with ChainServer.of_blocks(PARAMS, chain) as server, run(disk / "node", server.address, *words) as node:
        server.spent, server.on_block = told_by_hash(chain), wait
        node.start()
        wait_until(lambda: len(served) > 20, what="some blocks")
        ballast = disk / "ballast"
        fill(ballast)
        os.truncate(ballast, ballast.stat().st_size - room)
        full.set()
        assert node.process is not None
        assert node.process.wait(60) == 1
        assert "no room left" in node.output()
        ballast.unlink()
        node.start()
        node.wait_height(len(chain))
        assert node.rpc("gettxoutsetinfo")["txouts"] == sum(map(len, reference_hints(chain)))
        assert "SwiftSync has brought the chain to height" in node.output()
        assert "SwiftSync has failed" not in node.output() and "Traceback" not in node.output()
        assert node.stop() == 0
