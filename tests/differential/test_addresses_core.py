"""peers.dat of Bitcoin Core and of this node are each other's: every address in the same place, without and with a map.

Needs a ``bitcoind`` with ``bitcoin-cli`` beside it: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lib.asmap_maker import random_map
from tests.lib.process import NodeProcess, free_port

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
HOSTS = [f"{20 + i}.{i}.3.4" for i in range(60)] + ["2a00:1450:1::5", "2001:470:1f0b::1", ONION]


class Core:
    """A bitcoind that talks to nobody."""

    def __init__(self, daemon: Path, directory: Path, *options: str) -> None:
        common = ["-regtest", f"-datadir={directory}", f"-rpcport={free_port()}"]
        alone = ["-listen=0", "-connect=0", "-dnsseed=0", "-fixedseeds=0", "-checkaddrman=1"]
        self._cli = [str(daemon.with_name("bitcoin-cli")), *common, "-rpcwait", "-rpcwaittimeout=60"]
        self._process = subprocess.Popen(
            [str(daemon), *common, *alone, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def call(self, *words: str) -> Any:
        done = subprocess.run([*self._cli, *words], capture_output=True, text=True, timeout=120, check=True)
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    def stop(self) -> None:
        self.call("stop")
        self._process.wait(60)


@pytest.mark.parametrize("options", [(), ("-asmap=systems.dat",)], ids=["prefixes", "asmap"])
def test_the_book_goes_both_ways(tmp_path: Path, options: tuple[str, ...]) -> None:
    found = os.environ.get("BTCNODE_BITCOIND") or shutil.which("bitcoind")
    if not found:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    theirs, ours = tmp_path / "core", tmp_path / "node"
    for home in (theirs, ours):
        (home / "regtest").mkdir(parents=True)
        (home / "regtest/systems.dat").write_bytes(random_map(1))
    core = Core(Path(found), theirs, *options)
    for number, host in enumerate(HOSTS):
        core.call("addpeeraddress", host, "8333", "true" if number % 3 == 0 else "false")
    tables = core.call("getrawaddrman")
    core.stop()
    shutil.copy(theirs / "regtest/peers.dat", ours / "regtest/peers.dat")

    with NodeProcess(ours, listen=False) as node:
        node.start("--connect", "0", "--checkaddrman", "1", *(f"-{option}" for option in options))
        assert node.rpc("getrawaddrman") == tables
        node.rpc("addpeeraddress", "99.1.2.3", 8333, True)
        tables = node.rpc("getrawaddrman")
        node.stop()
    shutil.copy(ours / "regtest/peers.dat", theirs / "regtest/peers.dat")

    core = Core(Path(found), theirs, *options)
    assert core.call("getrawaddrman") == tables
    core.stop()
