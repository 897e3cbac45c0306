"""``ready.json``: what it says, and when it is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from btcnode.config import NodeConfig
from btcnode.errors import BtcnodeError
from btcnode.node.ready_file import ready_path, remove_ready, write_ready


def test_written_and_removed(tmp_path: Path) -> None:
    config = NodeConfig(network="regtest", datadir=tmp_path)
    config.net_dir.mkdir()
    config.cookie_path.write_text("x:y")
    write_ready(config, [("127.0.0.1", 5)], [("0.0.0.0", 6)])
    assert json.loads(ready_path(config).read_text()) == {
        "pid": os.getpid(),
        "network": "regtest",
        "rpc": [{"host": "127.0.0.1", "port": 5}],
        "p2p": [{"host": "0.0.0.0", "port": 6}],
        "cookie": str(config.cookie_path),
    }
    remove_ready(config)
    remove_ready(config)
    assert not ready_path(config).exists()


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BtcnodeError, match=r"Cannot write .*ready\.json"):
        write_ready(NodeConfig(network="regtest", datadir=tmp_path / "none"), [], [])
