"""Sync states: what is allowed, what an observation means, what a record of the last run tells."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from btcnode.errors import CorruptionError
from btcnode.storage.database import Database
from btcnode.storage.layout import META_SYNC
from btcnode.sync.checkpoint import Checkpoint, how_it_ended, read_checkpoints, write_checkpoints
from btcnode.sync.state_machine import (
    HISTORY,
    HOVER_SECONDS,
    NOBODY_SECONDS,
    STALL_SECONDS,
    TRANSITIONS,
    IllegalTransition,
    Observation,
    SyncEvent,
    SyncState,
    SyncStateMachine,
    classify,
)

FAR = Observation(
    tip_height=10, best_header_height=1000, initial_download=True, presync=False, peers=3, idle_seconds=0.0,
    headers_grow=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "event"),
    [
        (FAR, SyncEvent.BLOCKS_COME),
        (replace(FAR, presync=True), SyncEvent.PRESYNC),
        (replace(FAR, best_header_height=10), SyncEvent.HEADERS_COME),
        (replace(FAR, best_header_height=10, peers=0), SyncEvent.NOTHING_TO_DO),
        (replace(FAR, peers=0, idle_seconds=10.0), SyncEvent.NOTHING_TO_DO),
        (replace(FAR, idle_seconds=STALL_SECONDS + 1), SyncEvent.NO_PROGRESS),
        (replace(FAR, initial_download=False), SyncEvent.BEHIND),
        (replace(FAR, initial_download=False, best_header_height=10), SyncEvent.AT_TIP),
        (replace(FAR, initial_download=False, idle_seconds=STALL_SECONDS + 1), SyncEvent.NO_PROGRESS),
        (replace(FAR, initial_download=False, idle_seconds=STALL_SECONDS + 1, peers=0), SyncEvent.BEHIND),
        (replace(FAR, stopping=True), SyncEvent.STOP),
        (replace(FAR, importing=True), SyncEvent.IMPORT),
        (replace(FAR, importing=True, initial_download=False), SyncEvent.IMPORT),
        (replace(FAR, importing=True, stopping=True), SyncEvent.STOP),
    ],
)
def test_what_an_observation_means(seen: Observation, event: SyncEvent) -> None:
    assert classify(seen) is event


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        (FAR, STALL_SECONDS),
        (replace(FAR, idle_seconds=50.0), 10.0),
        (replace(FAR, idle_seconds=61.0), None),
        (replace(FAR, peers=0), NOBODY_SECONDS),
        (replace(FAR, peers=0, idle_seconds=7.0), 53.0),
        (replace(FAR, importing=True), None),
        (replace(FAR, initial_download=False, best_header_height=10), None),
        (replace(FAR, initial_download=False), STALL_SECONDS),
        (replace(FAR, best_header_height=10), None),
        (replace(FAR, best_header_height=10, peers=0), None),
        (replace(FAR, best_header_height=10, peers=0, headers_grow=True), NOBODY_SECONDS),
    ],
)
def test_when_time_alone_changes_an_observation(seen: Observation, seconds: float | None) -> None:
    assert seen.seconds_until_late == seconds
    if seconds is not None:
        later = replace(seen, idle_seconds=seen.idle_seconds + seconds + 0.01)
        assert classify(later) is not classify(seen) or not seen.initial_download or seen.peers == 0


def test_a_whole_life() -> None:
    machine = SyncStateMachine(100)
    events = [
        SyncEvent.PRESYNC, SyncEvent.HEADERS_COME, SyncEvent.BLOCKS_COME, SyncEvent.NO_PROGRESS, SyncEvent.BLOCKS_COME,
        SyncEvent.AT_TIP, SyncEvent.BEHIND, SyncEvent.AT_TIP, SyncEvent.STOP,
    ]  # fmt: skip
    for n, event in enumerate(events):
        change = machine.fire(event, 101 + n, n)
        assert change is not None and change.event is event and machine.since == 101 + n
        assert machine.fire(event, 500, n) is None  # the same again changes nothing
        assert machine.since == 101 + n
    assert machine.state is SyncState.SHUTTING_DOWN
    assert len(machine.history) == len(events) - 2  # the short way from the tip and back is none of it
    assert machine.entered[SyncState.BLOCKS] == 2 and machine.refused == 0


def test_what_makes_no_sense_is_refused_and_changes_nothing() -> None:
    refused = 0
    for state, event in itertools.product(SyncState, SyncEvent):
        machine = SyncStateMachine(0)
        machine.state = state
        if event in TRANSITIONS[state]:
            machine.fire(event, 1, 0)
            continue
        refused += 1
        with pytest.raises(IllegalTransition, match=f"while the node is {state}"):
            machine.fire(event, 1, 0)
        assert machine.state is state and machine.refused == 1 and not machine.history
    assert refused > 10


def test_initial_download_does_not_come_back() -> None:
    for state in (SyncState.SYNCED, SyncState.CATCHING_UP):
        assert SyncEvent.BLOCKS_COME not in TRANSITIONS[state]
        assert SyncEvent.HEADERS_COME not in TRANSITIONS[state]
    assert TRANSITIONS[SyncState.SHUTTING_DOWN] == {SyncEvent.STOP}


def test_checkpoints_are_stored(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    assert read_checkpoints(database) == []
    kept = []
    for n, state in enumerate(SyncState):
        kept.append(Checkpoint(1_700_000_000 + n, state, 7 * n, bytes([n]) * 32))
        write_checkpoints(database, kept)
        assert read_checkpoints(database) == kept
    for damage in (b"", bytes(44), b"\xff" * 45, kept[0].pack() + b"x"):
        database.commit(meta_puts={META_SYNC: damage})
        with pytest.raises(CorruptionError, match="last run"):
            read_checkpoints(database)
    database.close()


def test_how_the_last_run_ended() -> None:
    tip, other = b"\x01" * 32, b"\x02" * 32
    clean = Checkpoint(0, SyncState.SHUTTING_DOWN, 50, tip)
    assert how_it_ended(clean, tip, 50, same_branch=True) is None
    killed = how_it_ended(clean, other, 47, same_branch=True)
    assert killed is not None and "while shutting down" in killed and "gone back by 3 blocks" in killed
    crashed = how_it_ended(Checkpoint(0, SyncState.BLOCKS, 10, tip), other, 50, same_branch=True)
    assert crashed is not None and "in state blocks" in crashed and "40 blocks further" in crashed
    same = how_it_ended(Checkpoint(0, SyncState.SYNCED, 50, tip), tip, 50, same_branch=True)
    assert same is not None and "stands where it stood" in same
    fork = how_it_ended(Checkpoint(0, SyncState.SYNCED, 50, tip), other, 50, same_branch=False)
    assert fork is not None and "another branch" in fork


def test_a_node_that_hovers_at_the_tip_keeps_its_history() -> None:
    machine = SyncStateMachine(0)
    machine.fire(SyncEvent.BLOCKS_COME, 1, 0)
    machine.fire(SyncEvent.AT_TIP, 2, 100)
    before = list(machine.history)
    for n in range(HISTORY):
        machine.fire(SyncEvent.BEHIND, 600 * n, 100 + n)
        assert machine.history[-1].new is SyncState.CATCHING_UP, "on the way it is told"
        machine.fire(SyncEvent.AT_TIP, 600 * n + HOVER_SECONDS, 101 + n)
    assert list(machine.history) == before
    assert machine.state is SyncState.SYNCED and machine.entered[SyncState.CATCHING_UP] == HISTORY


@pytest.mark.parametrize("seconds", [HOVER_SECONDS + 1, -1], ids=["long", "the clock was set back"])
def test_a_longer_way_back_to_the_tip_is_remembered(seconds: int) -> None:
    machine = SyncStateMachine(0)
    machine.fire(SyncEvent.AT_TIP, 1, 100)
    machine.fire(SyncEvent.BEHIND, 1000, 100)
    machine.fire(SyncEvent.AT_TIP, 1000 + seconds, 105)
    assert [change.new.value for change in machine.history] == ["synced", "catching-up", "synced"]


def test_a_stall_on_the_way_is_remembered() -> None:
    machine = SyncStateMachine(0)
    for n, event in enumerate((SyncEvent.AT_TIP, SyncEvent.BEHIND, SyncEvent.NO_PROGRESS, SyncEvent.AT_TIP)):
        machine.fire(event, n, 100)
    assert [change.new.value for change in machine.history] == ["synced", "catching-up", "stalled", "synced"]
