"""A reindex that is killed goes on with the next start."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lib.process import NodeProcess, wait_until

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def test_a_killed_reindex_goes_on(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", "--fastprune", listen=False) as node:
        node.start()
        for _ in range(3):
            node.rpc("generatetoaddress", 500, ADDRESS)
        before = node.rpc("gettxoutsetinfo")
        assert node.stop() == 0
        files = sorted(path.name for path in (node.net_dir / "blocks").glob("*.dat"))
        log = node.net_dir / "debug.log"
        for options, file in ((["--reindex"], 2), ([], 1)):
            seen = len(log.read_text())
            with subprocess.Popen([*node.command(), *options], stdout=subprocess.DEVNULL) as process:
                mark = f"Reindexing block file blk0000{file}.dat"
                wait_until(lambda: mark in log.read_text()[seen:], 20, mark)  # noqa: B023
                process.kill()
        node.start()
        after = node.rpc("gettxoutsetinfo")
        assert after["bestblock"] == before["bestblock"]
        assert after["hash_serialized_3"] == before["hash_serialized_3"]
        assert sorted(path.name for path in (node.net_dir / "blocks").glob("*.dat")) == files
        assert node.stop() == 0
        assert "Reindexing finished" in log.read_text()
        node.start()
        assert node.stop() == 0
        assert log.read_text().count("Reindexing finished") <= 2
