"""``ready.json``: what it says, and when it is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from btcnode.errors import BtcnodeError
from btcnode.node.ready_file import ready_path, remove_ready, write_ready
from tests.lib.settings import settings_of


def test_written_and_removed(tmp_path: Path) -> None:
    settings = settings_of(network="regtest", datadir=tmp_path)
    settings.net_dir.mkdir()
    assert settings.cookie_path is not None
    settings.cookie_path.write_text("x:y")
    write_ready(settings, [("127.0.0.1", 5)], [("0.0.0.0", 6)])
    assert json.loads(ready_path(settings).read_text()) == {
        "pid": os.getpid(),
        "network": "regtest",
        "rpc": [{"host": "127.0.0.1", "port": 5}],
        "p2p": [{"host": "0.0.0.0", "port": 6}],
        "cookie": str(settings.cookie_path),
    }
    remove_ready(settings)
    remove_ready(settings)
    assert not ready_path(settings).exists()


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BtcnodeError, match=r"Cannot write .*ready\.json"):
        write_ready(settings_of(network="regtest", datadir=tmp_path / "none"), [], [])
