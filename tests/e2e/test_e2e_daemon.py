"""btcnoded as a real process in bitcoind's place: background, files, exit codes, alerts, damaged data, early stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from btcnode.storage.layout import DATABASE_FILE
from tests.lib.process import NodeProcess, RpcFailure, environment, wait_until

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
UNKNOWN_BIT = 27


class Daemon(NodeProcess):
    """``btcnoded`` on regtest, with bitcoind's options."""

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "btcnode.cli.daemon", f"-datadir={self.datadir}", "-regtest", "-listen=0",
            f"-rpcport={self.rpc_port}", *self.options,
        ]  # fmt: skip

    def run(self, *more: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
        """A start that ends by itself."""
        done = subprocess.run(
            [*self.command(), *more], capture_output=True, text=True, timeout=60, check=False, env=environment()
        )
        assert done.returncode == expected, done.stderr
        return done

    def debug_log(self) -> str:
        return (self.net_dir / "debug.log").read_text()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    node = Daemon(tmp_path)
    with node:
        yield node


def mine(node: Daemon, count: int) -> list[str]:
    hashes: list[str] = node.rpc("generatetoaddress", count, ADDRESS)
    return hashes


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("option", ["-daemonwait", "-daemon"])
def test_in_the_background(daemon: Daemon, option: str) -> None:
    pid_file = daemon.net_dir / "bitcoind.pid"
    done = daemon.run(option)
    assert done.stdout == "btcnode starting\n"
    if option == "-daemonwait":
        assert daemon.height() == 0  # it is up already
    wait_until(pid_file.exists)
    wait_until(lambda: "init message: Done loading" in daemon.debug_log())
    pid = int(pid_file.read_text())
    second = daemon.run("-daemonwait", expected=1)
    assert second.stderr.startswith("Error: Cannot obtain a lock on directory")
    assert int(pid_file.read_text()) == pid
    daemon.rpc("stop")
    wait_until(lambda: ended(pid))
    assert not pid_file.exists()
    assert "Shutdown done" in daemon.debug_log()


def test_a_start_in_the_background_that_fails(daemon: Daemon) -> None:
    (daemon.datadir / "blocks").write_text("")
    done = daemon.run("-daemonwait", f"-blocksdir={daemon.datadir / 'none'}", expected=1)
    assert done.stderr == f'Error: Specified blocks directory "{daemon.datadir / "none"}" does not exist.\n'
    assert daemon.run("-nosuchoption", expected=1).stderr.startswith("Error: Error parsing command line arguments:")
    assert daemon.run("-version").stdout.startswith("btcnode daemon version v")


def test_where_options_come_from(daemon: Daemon) -> None:
    (daemon.datadir / "bitcoin.conf").write_text("includeconf=more.conf\n[regtest]\nuacomment=conf\nmaxconnections=7\n")
    (daemon.datadir / "more.conf").write_text("uacomment=included\nrpcuser=secret\n")
    daemon.net_dir.mkdir()
    (daemon.net_dir / "settings.json").write_text(json.dumps({"maxconnections": 9, "uacomment": ["settings"]}))
    daemon.start("-uacomment=line", "-norpcuser")
    name = daemon.rpc("getnetworkinfo")["subversion"]
    assert name.endswith("(line; settings; conf; included)/")
    log = daemon.debug_log()
    for line in (
        f"Config file: {daemon.datadir / 'bitcoin.conf'}",
        "Included configuration file more.conf",
        'Config file arg: [regtest] maxconnections="7"',
        "Config file arg: rpcuser=****",
        "Setting file arg: maxconnections = 9",
        'Command-line arg: uacomment="line"',
    ):
        assert line in log, line
    assert "_warning_" in json.loads((daemon.net_dir / "settings.json").read_text())
    assert daemon.stop() == 0


def test_an_alert_reaches_the_users_command(daemon: Daemon) -> None:
    told = daemon.datadir / "alerts"
    version = 0x20000000 | 1 << UNKNOWN_BIT
    daemon.start(f"-blockversion={version}", f"-alertnotify=echo %s >> {told}")
    mine(daemon, 4 * 144 + 1)
    text = f"Unknown new rules activated (versionbit {UNKNOWN_BIT})"
    wait_until(told.exists)
    wait_until(lambda: told.read_text() == f"{text}\n")
    for method in ("getblockchaininfo", "getmininginfo", "getnetworkinfo"):
        assert text in daemon.rpc(method)["warnings"]
    assert f"warning='{text}'" in daemon.debug_log()  # while the rules were locked in
    daemon.stop()
    daemon.start("-deprecatedrpc=warnings")
    mine(daemon, 1)
    assert daemon.rpc("getmininginfo")["warnings"] == text


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(150)
        file.write(b"1" * 200)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("blocks/blk00000.dat", Path.unlink, "Error loading block database"),
        ("blocks/blk00000.dat", overwrite, "Corrupted block database detected"),
        ("blocks/rev00000.dat", overwrite, "Corrupted block database detected"),
    ],
)
def test_damaged_files_are_found_at_the_start(daemon: Daemon, file: str, damage: Any, message: str) -> None:
    daemon.start()
    mine(daemon, 20)
    daemon.stop()
    path = daemon.net_dir / file
    good = path.read_bytes()
    damage(path)
    done = daemon.run("-checkblocks=0", "-checklevel=4", expected=1)
    core, named = f"{message}.\nPlease restart with -reindex or -reindex-chainstate to recover.\n", done.stderr
    assert named.startswith(core) and file in named.removeprefix(core)
    path.write_bytes(good)
    daemon.start("-checkblocks=0", "-checklevel=4")
    assert daemon.height() == 20
    daemon.stop()


def test_a_damaged_database_is_rebuilt(daemon: Daemon) -> None:
    daemon.start()
    mine(daemon, 20)
    daemon.stop()
    with (daemon.net_dir / DATABASE_FILE).open("r+b") as file:
        file.write(b"1" * 8192)
    assert "Please restart with -reindex" in daemon.run(expected=1).stderr
    daemon.start("-reindex")
    daemon.wait_height(20)


def test_a_block_that_cannot_be_disconnected(daemon: Daemon) -> None:
    daemon.start()
    mine(daemon, 3)
    (daemon.net_dir / "blocks" / "rev00000.dat").unlink()
    with contextlib.suppress(OSError, http.client.HTTPException, RpcFailure):
        daemon.rpc("invalidateblock", daemon.rpc("getbestblockhash"))
    assert daemon.process is not None and daemon.process.wait(30) == 1
    words = "A fatal internal error occurred, see debug.log for details: Failed to disconnect block."
    assert f"Error: {words}" in daemon.output()
    assert "Please restart with -reindex" in daemon.run(expected=1).stderr
    daemon.start("-reindex")


LINES = (
    "scheduler thread start",
    "Starting HTTP server",
    "init message: Loading P2P addresses",
    "Validating signatures for all blocks",
    "Checking all blk files are present",
    "Loaded best chain:",
    "init message: Verifying blocks",
    "init message: Starting network threads",
    "initload thread start",
)


def has_line(log: Path, line: str) -> bool:
    return log.exists() and line in log.read_text()


def test_a_stop_at_any_moment_of_the_start(daemon: Daemon) -> None:
    daemon.start()
    mine(daemon, 30)
    daemon.stop()
    log = daemon.net_dir / "debug.log"
    for line in LINES:
        log.unlink()
        with subprocess.Popen(daemon.command(), stdout=subprocess.DEVNULL, env=environment()) as process:
            wait_until(partial(has_line, log, line), what=line)
            process.terminate()
            assert process.wait(30) == 0, line
    daemon.start()
    assert daemon.height() == 30


def methods_in_work(daemon: Daemon) -> list[str]:
    return [call["method"] for call in daemon.rpc("getrpcinfo")["active_commands"]]


def test_who_waits_for_a_block_is_answered_at_the_stop(daemon: Daemon) -> None:
    daemon.start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(daemon.rpc, "waitforblockheight", 1)
        wait_until(
            lambda: "waitforblockheight" in [call["method"] for call in daemon.rpc("getrpcinfo")["active_commands"]]
        )
        assert daemon.stop() == 0
        assert answer.result()["height"] == 0


def test_a_stop_is_one_however_often_it_is_asked_for(tmp_path: Path) -> None:
    """A supervisor may send its signal until the very last moment: the status stays that of an orderly end."""
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            node.start()
            process = node.process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                process.send_signal(number)
                time.sleep(0.002)
            assert process.returncode == 0, number
            node.stop()


def test_a_killed_run_cannot_be_reached_any_more(tmp_path: Path) -> None:
    """Who waits for ready.json must not find the one of the run before."""
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start()
        ready = node.net_dir / "ready.json"
        node.kill()
        assert ready.exists()
        (node.net_dir / "peers.dat").write_bytes(b"damaged")  # which stops the start
        with pytest.raises(RuntimeError):
            node.start()
        assert not ready.exists()
