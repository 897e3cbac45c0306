"""The profile of a synchronisation: figures and what they say of the bottleneck."""

from __future__ import annotations

from dataclasses import replace

import pytest

from btcnode.sync.profile import StageSeconds, SyncProfile, SyncSample, describe

IDLE = StageSeconds(store=0.0, validate=0.0, commit=0.0, processes=0.0, workers=2)
START = SyncSample(
    steady=10.0, blocks=0, inputs=0, txs=0, memory=100 << 20, requests_open=5, queued_blocks=3, active_peers=4, peers=8,
    stages=IDLE,
)  # fmt: skip


def profile_of(stages: StageSeconds, **last: int) -> SyncProfile:
    profile = SyncProfile()
    profile.add(START)
    profile.add(
        replace(START, steady=110.0, blocks=500, inputs=9000, txs=4000, memory=300 << 20, stages=stages, **last)
    )
    return profile


def test_figures() -> None:
    report = profile_of(IDLE).report()
    assert report is not None
    assert (report.duration, report.blocks, report.inputs, report.txs) == (100.0, 500, 9000, 4000)
    assert (report.blocks_per_second, report.inputs_per_second) == (5.0, 90.0)
    assert (report.mean_memory, report.peak_memory) == (200 << 20, 300 << 20)
    assert (report.mean_peers, report.most_peers) == (4.0, 4)
    lines = describe(report)
    assert "500 blocks with 9000 inputs in 100 s" in lines[0] and "300 MiB at most" in lines[1]


def test_nothing_to_tell_yet() -> None:
    profile = SyncProfile()
    assert profile.report() is None
    profile.add(START)
    assert profile.report() is None


@pytest.mark.parametrize(
    ("stages", "last", "word"),
    [
        (replace(IDLE, processes=180.0), {}, "scripts"),
        (replace(IDLE, validate=60.0, store=30.0), {}, "validation"),
        (replace(IDLE, validate=60.0, store=30.0, processes=190.0), {}, "processor"),
        (replace(IDLE, commit=80.0), {}, "disk"),
        (IDLE, {"queued_blocks": 0}, "peers"),
        (IDLE, {}, "none"),
    ],
)
def test_the_bottleneck_follows_from_the_figures(stages: StageSeconds, last: dict[str, int], word: str) -> None:
    report = profile_of(stages, **last).report()
    assert report is not None and report.bottleneck.startswith(word)


def test_memory_over_time_stays_small() -> None:
    profile = SyncProfile()
    for n in range(10_000):
        profile.add(replace(START, steady=float(n), memory=n))
    assert len(profile.history) <= SyncProfile.MAX_HISTORY
    times = [seconds for seconds, _ in profile.history]
    assert times == sorted(times) and times[0] == 0.0 and profile.memory_peak == 9999
