"""Files that are not what their names promise."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from btcnode import files
from btcnode.errors import CorruptionError, StorageError
from btcnode.files import open_regular, parse_json, read_limited
from btcnode.networks.parameters import params_for
from btcnode.rpc.cookie import read_cookie
from btcnode.services.ban_file import BanFile
from btcnode.services.fees import load_estimator
from btcnode.services.peers_file import read_anchors
from btcnode.settings.conf_files import _read_json
from btcnode.storage.block_import import iter_blocks, xor_key_beside


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, 99, 100):
        path.write_bytes(bytes(size))
        assert read_limited(path, 100) == bytes(size)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    for limit in (100, files.STEP_BYTES):
        with pytest.raises(OSError) as caught:
            read_limited(path, limit)
        assert caught.value.errno == errno.EFBIG


def test_a_file_that_grows_while_it_is_read_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    stat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: _grown(path, stat(fd)))
    with pytest.raises(OSError, match="too large"):
        read_limited(path, 1000)


def _grown(path: Path, found: os.stat_result) -> os.stat_result:
    with path.open("ab") as file:
        file.write(bytes(5000))
    return found


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/tty", "fifo", "link", "."])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError):
        open_regular(tmp_path / name)


def test_json_that_is_nested_too_deeply_is_none() -> None:
    for text in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        with pytest.raises(ValueError):
            parse_json(text)


def test_every_file_of_the_node_is_read_so(tmp_path: Path) -> None:
    """A FIFO under any name makes nobody wait for a writer."""
    done = threading.Event()

    def read_all() -> None:
        for name in (
            "banlist.json",
            "anchors.dat",
            "fee_estimates.dat",
            ".cookie",
            "xor.dat",
            "blk00000.dat",
            "s.json",
        ):
            os.mkfifo(tmp_path / name)
        assert not BanFile(tmp_path, 0).bans.all()
        assert read_anchors(tmp_path, params_for("regtest").magic) == ()
        assert load_estimator(tmp_path / "fee_estimates.dat", accept_stale=True).best_height == 0
        assert read_cookie(tmp_path / ".cookie") == ("", "")
        assert not list(iter_blocks(tmp_path / "blk00000.dat", b"abcd"))
        with pytest.raises((StorageError, CorruptionError)):
            xor_key_beside(tmp_path / "blk00000.dat")
        with pytest.raises(Exception, match="Settings file could not be read"):
            _read_json(tmp_path / "s.json")
        done.set()

    thread = threading.Thread(target=read_all, daemon=True)
    thread.start()
    thread.join(60)
    assert done.is_set()
