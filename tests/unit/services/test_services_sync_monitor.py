"""States follow what happens: without a tick, without a second's wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.services.sync_monitor import RECENT_SAMPLES, SyncMonitor
from btcnode.sync.checkpoint import read_checkpoints
from btcnode.sync.profile import SyncReport
from btcnode.sync.state_machine import SyncEvent, SyncState
from tests.lib.http_text import ADDRESS
from tests.lib.node_parts import NodeLab, regtest_config


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NodeLab]:
    lab = NodeLab(regtest_config(tmp_path))
    yield lab
    lab.close()


def watched(lab: NodeLab) -> SyncMonitor:
    """The monitor, watching until the loop ends."""
    monitor = lab.parts.sync

    async def begin() -> None:
        task = asyncio.get_running_loop().create_task(monitor.watch())

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        lab._stack.push_async_callback(end)

    lab.do(begin())
    return monitor


def states(monitor: SyncMonitor) -> list[str]:
    return [change.new.value for change in monitor.machine.history]


def add_blocks(lab: NodeLab, count: int) -> None:
    lab.do(lab.table.call_async(lab.table.methods["generatetoaddress"], [count, ADDRESS]))


def test_a_block_at_the_tip_is_seen_at_once(lab: NodeLab) -> None:
    monitor = watched(lab)
    add_blocks(lab, 1)
    lab.until(lambda: monitor.machine.state is SyncState.SYNCED)
    assert states(monitor)[-1] == "synced" and monitor.machine.history[-1].height == 1


def test_an_import_is_a_state_of_its_own(lab: NodeLab) -> None:
    monitor = watched(lab)
    importing = monitor.importing()
    lab.thread.call(importing.__enter__)
    lab.until(lambda: monitor.machine.state is SyncState.IMPORT)
    add_blocks(lab, 3)
    assert monitor.machine.state is SyncState.IMPORT
    lab.thread.call(lambda: importing.__exit__(None, None, None))
    lab.until(lambda: monitor.machine.state is SyncState.SYNCED)
    assert states(monitor) == ["import", "synced"]


def test_the_last_flushes_are_kept(lab: NodeLab) -> None:
    monitor = watched(lab)
    database = lab.opened.state.store.database

    def newest() -> int:
        return max((one.height for one in read_checkpoints(database)), default=0)

    for height in range(1, 13):
        add_blocks(lab, 1)
        lab.do(lab.parts.chain.driver.flush())
        while newest() < height:
            time.sleep(0.01)
    heights = [checkpoint.height for checkpoint in read_checkpoints(database)]
    assert heights == sorted(heights) and len(heights) == 8 and heights[-1] == 12
    assert monitor.blocks == 12


def test_new_blocks_at_the_tip_leave_the_record_of_the_last_flush(lab: NodeLab) -> None:
    monitor = watched(lab)
    add_blocks(lab, 2)
    lab.do(lab.parts.chain.driver.flush())
    database = lab.opened.state.store.database
    lab.until(lambda: 2 in [one.height for one in read_checkpoints(database)])
    before = read_checkpoints(database)
    for _ in range(10):
        for event in (SyncEvent.BEHIND, SyncEvent.AT_TIP):
            lab.do(monitor._follow(event, 2))
    assert monitor.machine.entered[SyncState.CATCHING_UP] >= 10
    assert len(read_checkpoints(database)) <= len(before) + 1 and 2 in [
        one.height for one in read_checkpoints(database)
    ]


def test_peers_that_come_and_go_change_the_state(lab: NodeLab) -> None:
    monitor = watched(lab)
    peer = lab.add_peer("21.1.1.1:8333")
    lab.until(lambda: monitor.machine.state is SyncState.HEADERS)
    peer.close()
    lab.until(lambda: monitor.machine.state is SyncState.IDLE)
    assert states(monitor) == ["headers", "idle"]


def first_is_over(lab: NodeLab, monitor: SyncMonitor, report: SyncReport) -> None:
    """As if the first synchronisation had ended with this report; on the loop, where the monitor looks for one."""

    async def keep() -> None:
        monitor._final = report

    lab.do(keep())


def test_the_last_minutes_are_told_at_any_time(lab: NodeLab) -> None:
    monitor = watched(lab)
    monitor.sample()
    assert monitor.recent_report() is None, "one sample is no span"
    add_blocks(lab, 3)
    monitor.sample()
    first = monitor.report()
    assert first is not None
    first_is_over(lab, monitor, first)
    for _ in range(RECENT_SAMPLES):
        monitor.sample()
    add_blocks(lab, 2)
    monitor.sample()
    recent = monitor.recent_report()
    assert recent is not None and recent.blocks == 2, "what is older than the window is not counted"
    assert monitor.report() is first


def test_the_profile_of_a_node_that_does_nothing_counts_what_it_has(lab: NodeLab) -> None:
    profile = lab.do(lab.table.call_async(lab.table.methods["getsyncprofile"], []))
    assert profile["process"]["threads"] >= 1 and profile["process"]["tasks"] >= 1
    assert profile["process"]["allocated_blocks"] > 1000 and profile["state"] == "idle"
