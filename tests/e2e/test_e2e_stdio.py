"""A node whose console is closed, full or gone runs on, writes its log, and ends with status 0."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lib.process import free_port, wait_until


def program(name: str, directory: Path) -> list[str]:
    """The command line of a node that talks to nobody; ``name`` is ``btcnoded`` or ``btcnode``."""
    path = str(Path(sys.executable).with_name(name))
    port = str(free_port())
    if name == "btcnoded":
        return [path, "-regtest", "-listen=0", "-connect=0", f"-rpcport={port}", f"-datadir={directory}"]
    return [
        path,
        "start",
        "--network",
        "regtest",
        "--no-listen",
        "--no-dnsseed",
        "--rpcport",
        port,
        "--datadir",
        str(directory),
    ]


def log(directory: Path) -> str:
    path = directory / "regtest/debug.log"
    return path.read_text() if path.exists() else ""


def stop(process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until the node is up, stop it, look at what it has left."""
    wait_until(lambda: "init message: Done loading" in log(directory) or process.poll() is not None, what="the start")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert log(directory).splitlines()[-1].endswith("Shutdown done")
    assert "Traceback" not in log(directory)


@pytest.mark.parametrize("name", ["btcnoded", "btcnode"])
@pytest.mark.parametrize("streams", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_closed_or_full(tmp_path: Path, name: str, streams: str) -> None:
    process = subprocess.Popen(["sh", "-c", f'exec "$@" {streams}', "sh", *program(name, tmp_path)])
    stop(process, tmp_path)


@pytest.mark.parametrize("name", ["btcnoded", "btcnode"])
def test_a_pipe_whose_reader_leaves(tmp_path: Path, name: str) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(program(name, tmp_path), stdout=writing, stderr=writing)
    os.close(writing)
    assert os.read(reading, 1)
    os.close(reading)
    stop(process, tmp_path)


@pytest.mark.parametrize("name", ["btcnoded", "btcnode"])
def test_a_terminal_that_is_gone(tmp_path: Path, name: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(program(name, tmp_path), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    stop(process, tmp_path)


EMBEDS = """
import asyncio, os, sys
import btcnode
async def main():
    async with btcnode.Node(datadir=sys.argv[1]) as node:
        assert await node.rpc.getblockcount() == 0
        return [os.readlink(f"/proc/self/fd/{n}") for n in range(3)]
assert not [link for link in asyncio.run(main()) if link.startswith(sys.argv[1])]
"""


def test_a_program_with_closed_streams_embeds_a_node(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", EMBEDS, str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
