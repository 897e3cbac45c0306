"""``btcnode status`` and what is said at a terminal, of real node processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.lib.process import NodeProcess, wait_until

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"


def status(datadir: Path, *options: str) -> tuple[int, str]:
    """Exit status, and everything that was printed."""
    command = [sys.executable, "-m", "btcnode", "status", "--network", "regtest", "--datadir", str(datadir), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_node_that_runs_and_one_that_does_not(tmp_path: Path) -> None:
    code, text = status(tmp_path)
    assert code == 1 and "No running node found" in text
    with NodeProcess(tmp_path, "regtest") as node:
        node.start()
        node.rpc("generatetoaddress", 3, ADDRESS)
        wait_until(lambda: node.rpc("getsyncstate")["state"] == "synced", 20, "the state")
        code, text = status(tmp_path)
        assert code == 0, text
        assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 120
        for part in ("has all blocks that its peers know", "3 of 3", "0 out, 0 in", node.rpc("getbestblockhash")):
            assert part in text
        code, text = status(tmp_path, "--rpcuser", "somebody", "--rpcpassword", "wrong")
        assert code == 1 and "does not take these credentials" in text and "Traceback" not in text
        port = node.rpc_port
        place = node.net_dir / ".cookie"
        cookie = place.read_bytes()
        assert node.stop() == 0
    place.write_bytes(cookie)  # as a killed node leaves it
    code, text = status(tmp_path, "--rpcport", str(port))
    assert code == 1 and f"No node answers at 127.0.0.1:{port}" in text


def test_a_stop_says_what_is_done_and_that_it_is(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", "--progress") as node:
        node.start()
        node.rpc("generatetoaddress", 3, ADDRESS)
        assert node.stop(signal.SIGINT) == 0
        text = node.output()
        assert "Stopping: open requests are answered, " in text
        assert text.splitlines()[-1] == "Stopped: everything is on disk, the chain at height 3."
