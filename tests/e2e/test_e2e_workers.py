"""Worker processes of a real node: killed during a sync, and gone with the node."""

from __future__ import annotations

import os
import random
import signal
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, free_port, wait_until

PARAMS = params_for("regtest")


def has_two_workers(pid: int) -> bool:
    return len(children(pid)) == 2


def all_are_gone(workers: list[int]) -> bool:
    return all(map(is_gone, workers))


def children(pid: int) -> list[int]:
    """Living children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(path.parent.name))
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.timeout(240)
def test_workers_are_killed_during_a_sync_and_end_with_the_node(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(9000), *(generator.busy(600) for _ in range(16))]
    results = []
    with ChainServer.of_blocks(PARAMS, chain) as server:
        for par in ("1", "3"):
            datadir = tmp_path / par
            datadir.mkdir()
            options = ("--par", par, "--connect", server.address)
            with NodeProcess(datadir, "regtest", *options, listen=False) as node:
                node.start()
                assert node.process is not None
                pid = node.process.pid
                killed: set[int] = set()
                rng = random.Random(3)
                while node.height() < len(chain):
                    workers = children(pid)
                    assert par == "3" or not workers
                    if workers:
                        killed.add(victim := rng.choice(workers))
                        os.kill(victim, signal.SIGKILL)
                    time.sleep(0.4)
                results.append(node.rpc("gettxoutsetinfo"))
                if par == "1":
                    assert node.stop() == 0
                    continue
                assert killed
                wait_until(partial(has_two_workers, pid), 20, "two workers")
                workers = children(pid)
                node.kill()
                wait_until(partial(all_are_gone, workers), 20, "the end of the workers")
                assert "is replaced" in node.output() or "did not get to work" in node.output()
    for result in results:
        del result["disk_size"]
    assert results[0] == results[1]


@pytest.mark.timeout(120)
def test_a_stop_during_a_sync_takes_the_workers_along(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(9000), *(generator.busy(600) for _ in range(16))]
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        NodeProcess(tmp_path, "regtest", "--par", "2", "--connect", server.address, listen=False) as node,
    ):
        node.start()
        assert node.process is not None
        pid = node.process.pid
        wait_until(lambda: bool(children(pid)) and node.height() > len(chain) - 15, 60, "a worker")
        workers = children(pid)
        assert node.stop() == 0
        assert all(map(is_gone, workers))
        node.start()
        node.wait_height(len(chain))
        assert node.stop(signal.SIGINT) == 0


def metric(port: int, name: str) -> float:
    """A metric of the node's."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_stopped_worker_does_not_hold_a_sync_up(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(5000), *(generator.busy(600) for _ in range(6))]
    metrics = free_port()
    with ChainServer.of_blocks(PARAMS, chain) as server:
        options = ("--par", "2", "--metrics-port", str(metrics), "--connect", server.address)
        with NodeProcess(tmp_path, "regtest", *options, listen=False) as node:
            node.start()
            assert node.process is not None
            pid = node.process.pid
            wait_until(lambda: bool(children(pid)), 60, "a worker")
            (stopped,) = children(pid)
            os.kill(stopped, signal.SIGSTOP)
            node.wait_height(len(chain), 120)  # the old limit alone was 180 s
            wait_until(lambda: stopped not in children(pid), 60, "the end of the stopped worker")
            wait_until(lambda: bool(children(pid)), 60, "another worker")
            wait_until(
                lambda: any(
                    metric(metrics, f'workers_events_total{{event="{what}"}}') for what in ("replaced", "failed_starts")
                ),
                30,
                "the count",
            )
            assert not any(is_zombie_of(path, pid) for path in Path("/proc").glob("[0-9]*/stat"))
            assert node.output().count("it does not answer") == 1
            assert node.stop() == 0


def is_zombie_of(path: Path, pid: int) -> bool:
    """Whether it is a process that has ended and whom its parent ``pid`` has not waited for."""
    try:
        words = path.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return words[0] == "Z" and int(words[1]) == pid


@pytest.mark.timeout(240)
def test_a_node_that_may_start_nothing_syncs_by_itself(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(4000), *(generator.busy(600) for _ in range(4))]
    with ChainServer.of_blocks(PARAMS, chain) as server:
        options = ("--par", "3", "--connect", server.address)
        with NodeProcess(tmp_path, "regtest", *options, listen=False) as node:
            node.start()
            assert node.process is not None
            pid = node.process.pid
            killed: set[int] = set()
            while node.height() < len(chain) or len(killed) < 8:  # whatever starts dies at once
                for worker in children(pid):
                    killed.add(worker)
                    os.kill(worker, signal.SIGKILL)
                time.sleep(0.05)
            assert node.height() == len(chain)
            wait_until(partial(has_two_workers, pid), 30, "two workers, after all")
            lines = [line for line in node.output().splitlines() if "worker process" in line]
            assert len(lines) <= 4
            assert node.stop() == 0
