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


def test_side_branches_have_the_status_that_core_gives_them(tmp_path: Path) -> None:
    """Stored, and never connected: a rebuild tries the chain with the most work only."""
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start()
        old = node.rpc("generatetoaddress", 4, ADDRESS)
        node.rpc("invalidateblock", old[1])
        node.rpc("generatetodescriptor", 5, "raw(51)")
        node.rpc("reconsiderblock", old[1])
        assert [tip["status"] for tip in node.rpc("getchaintips")] == ["active", "valid-fork"]
        before = node.rpc("gettxoutsetinfo")
        assert node.stop() == 0
        node.start("--reindex")
        wait_until(lambda: node.height() == 6)
        assert [tip["status"] for tip in node.rpc("getchaintips")] == ["active", "valid-headers"]
        assert node.rpc("gettxoutsetinfo")["hash_serialized_3"] == before["hash_serialized_3"]
        node.rpc("invalidateblock", node.rpc("getblockhash", 2))
        assert node.rpc("getbestblockhash") == old[-1]
        assert node.stop() == 0
