"""-cpu-affinity: who runs where, and what is refused."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from btcnode.errors import ConfigError
from btcnode.node.placement import Placement
from btcnode.settings.doors import from_keywords
from btcnode.sync.worker_process import WorkerProcess
from tests.lib.process import NodeProcess

HERE = sorted(os.sched_getaffinity(0))


def placed(tmp_path: Path, text: str) -> Placement:
    return Placement.of(from_keywords({"network": "regtest", "datadir": tmp_path, "cpu_affinity": text}).settings)


def life(placement: Placement) -> list[set[int]]:
    """The processors of the loop's thread while the node opens, while it runs, and behind its end."""

    def live() -> list[set[int]]:
        seen = []
        for step in (placement.begin, placement.pin_loop, placement.end):
            step()
            seen.append(os.sched_getaffinity(0))
        return seen

    with ThreadPoolExecutor(1) as executor:  # processors are a thread's
        return executor.submit(live).result()


def test_without_the_option_nothing_changes(tmp_path: Path) -> None:
    placement = Placement.of(from_keywords({"network": "regtest", "datadir": tmp_path}).settings)
    assert life(placement) == [set(HERE)] * 3
    assert placement.workers == ()


def test_the_loop_has_the_first_and_workers_the_others(tmp_path: Path) -> None:
    placement = placed(tmp_path, ",".join(map(str, reversed(HERE))))
    assert life(placement) == [set(HERE), {HERE[-1]}, set(HERE)]
    assert set(placement.workers) == (set(HERE[:-1]) or set(HERE))


def test_one_for_everything(tmp_path: Path) -> None:
    assert placed(tmp_path, str(HERE[0])).workers == (HERE[0],)


@pytest.mark.parametrize("text", ["", ",", "0,", "a", "0-", "-1", "1-0", "0x1", "0 1", "12345", "\u0661"])
def test_what_is_no_list(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="takes numbers of processors and ranges such as 0,2-3, not"):
        placed(tmp_path, text)


def test_a_processor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"processor 9999 is not this program's to use; it has [0-9]"):
        placed(tmp_path, f"{HERE[0]},9999")


def test_a_system_that_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(ConfigError, match="does not let a program choose"):
        placed(tmp_path, "0")


def test_the_node_itself(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", "--cpu-affinity", f"{HERE[-1]},{HERE[0]}", "--connect", "0") as node:
        node.start()
        assert node.process is not None
        assert os.sched_getaffinity(node.process.pid) == {HERE[-1]}


def test_a_worker_process() -> None:
    worker = WorkerProcess((HERE[0],))
    try:
        assert os.sched_getaffinity(worker.pid) == {HERE[0]}
    finally:
        worker.end(10)


def test_processors_that_went_away_are_no_reason_to_lose_a_worker() -> None:
    worker = WorkerProcess((9999,))
    try:
        assert os.sched_getaffinity(worker.pid) == set(HERE)
    finally:
        worker.end(10)
