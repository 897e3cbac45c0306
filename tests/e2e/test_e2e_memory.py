"""A node in a control group with a memory limit: it stays below it, follows it, or says what it needs. Needs root."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.memory_group import LimitedGroup
from tests.lib.process import NodeProcess, environment, free_port, wait_until

MIB = 1 << 20
TOO_LITTLE = "Not enough memory: the control group"


@pytest.fixture
def limited() -> Iterator[LimitedGroup]:
    """400 MiB, set by the parent of the group that the node is in."""
    try:
        parent = LimitedGroup(400 * MIB)
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    with parent:
        try:
            inner = LimitedGroup(None, parent)
        except OSError as error:
            pytest.skip(f"no control group can be made inside another: {error}")
        with inner:
            yield inner


def test_a_node_keeps_to_the_limit_of_an_outer_group_and_follows_it(limited: LimitedGroup, tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, "regtest", "--dbcache", "10000", "--par", "16", "--maxmempool", "300")
    node.prefix = tuple(limited.enter([]))
    with node.start():
        log = (node.net_dir / "debug.log").read_text()
        assert "memory budget 3" in log and "Reducing -dbcache from 10000 to" in log
        assert "Reducing -par from 16 to 1 processes" in log
        assert 24_000_000 <= node.rpc("getmempoolinfo")["maxmempool"] < 100_000_000
        node.rpc("generatetoaddress", 120, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        limited.set_limit(380 * MIB)
        before = (node.net_dir / "debug.log").read_text().count("memory budget")
        wait_until(
            lambda: (node.net_dir / "debug.log").read_text().count("memory budget") > before, 20, "a smaller budget"
        )
        assert node.height() == 120 and limited.kills == 0
        assert node.stop() == 0


@pytest.mark.parametrize("door", ["btcnoded", "btcnode", "python"])
def test_too_little_memory_ends_every_start_with_what_is_needed(
    limited: LimitedGroup, tmp_path: Path, door: str
) -> None:
    limited.set_limit(200 * MIB)
    code = """
        import asyncio, sys, btcnode
        async def main():
            async with btcnode.Node(datadir=sys.argv[1]):
                pass
        try:
            asyncio.run(main())
        except btcnode.errors.ConfigError as error:
            sys.exit(f"Error: {error}")
    """
    words = {
        "btcnoded": ["-m", "btcnode.cli.daemon", "-regtest", f"-datadir={tmp_path}", f"-rpcport={free_port()}"],
        "btcnode": ["-m", "btcnode", "start", "--network", "regtest", "--datadir", str(tmp_path), "--no-listen"],
        "python": ["-c", textwrap.dedent(code), str(tmp_path)],
    }
    command = limited.enter([sys.executable, *words[door]])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if TOO_LITTLE in line]
    assert line.startswith(f"Error: {TOO_LITTLE}") and "MiB to this node, which needs 3" in line
    assert limited.kills == 0
    assert not list(tmp_path.rglob("btcnode.mdb"))  # nothing was made yet
