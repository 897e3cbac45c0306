"""Figures over time, and what is drawn of them."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest
from rich.console import Console

from btcnode.observe.display import render, show_live
from btcnode.observe.progress import (
    SAMPLES,
    STATES,
    RateMeter,
    Rates,
    Snapshot,
    duration,
    headers_progress,
    log_progress,
    plain_line,
)
from btcnode.sync.state_machine import SyncState
from tests.lib.process import until

NOW = 1_700_000_000
START = Snapshot("regtest", NOW, blocks=100, headers=1000, tip_time=NOW - 90_000, header_time=NOW - 6000, progress=0.2)
KNOWN = 84_000 / 90_000  # of the time between tip and now: what lies before the newest header


def test_rates_and_time_left() -> None:
    meter = RateMeter()
    assert meter.add(0.0, START) == Rates()
    later = replace(START, blocks=200, headers=1100, transactions=5000, progress=0.4, bytes_received=1000)
    rates = meter.add(10.0, later)
    assert (rates.blocks, rates.headers, rates.transactions, rates.bytes_received) == (10, 10, 500, 100)
    assert rates.seconds_left == pytest.approx(30 * KNOWN)


def test_nothing_is_left_after_the_newest_header() -> None:
    """A chain that ended long ago: the years since then are none of the work."""
    meter = RateMeter()
    old = replace(START, tip_time=NOW - 1010, header_time=NOW - 1000, progress=0.0)
    meter.add(0.0, old)
    rates = meter.add(10.0, replace(old, blocks=200, progress=0.001))
    assert rates.seconds_left == pytest.approx(10 / 1010 * 0.999 / 0.0001)


def test_only_the_last_minute_counts() -> None:
    meter = RateMeter(60)
    for second in range(0, 300, 10):
        rates = meter.add(float(second), replace(START, blocks=min(second, 200)))
    assert rates.blocks == 0.0
    assert rates.seconds_left is None


def test_a_start_is_no_work() -> None:
    """What was done before this start, and pauses, are in no rate."""
    meter = RateMeter(60)
    assert meter.add(0.0, Snapshot("regtest", NOW, "Loading", loaded=False)) == Rates()
    assert meter.add(1.0, replace(START, blocks=800_000, transactions=10**9)) == Rates()
    for second in range(2, 40):
        assert meter.add(float(second), replace(START, blocks=800_000, transactions=10**9)).blocks == 0
    rates = meter.add(41.0, replace(START, blocks=800_020, progress=0.3, transactions=10**9 + 100))
    assert (rates.blocks, rates.transactions, rates.seconds_left) == (10.0, 50.0, None)
    rates = meter.add(49.0, replace(START, blocks=800_100, progress=0.4))
    assert rates.blocks == 10.0 and rates.seconds_left == pytest.approx(30 * KNOWN)


def test_a_reorganisation_is_no_negative_rate() -> None:
    meter = RateMeter()
    meter.add(0.0, START)
    assert meter.add(1.0, replace(START, blocks=90, progress=0.19)).blocks == 0


def test_headers_progress() -> None:
    assert headers_progress(START) == pytest.approx(1000 / 1010)
    assert headers_progress(replace(START, header_time=NOW + 50)) == 1.0
    assert headers_progress(replace(START, headers=0)) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (59.6, "1 min 0 s"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (1e9, "more than 999 d"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_plain_line() -> None:
    line = plain_line(
        replace(START, cache_bytes=1 << 20, cache_coins=7, peers_in=1, peers_out=2), Rates(1, 2, 3, 4, 60)
    )
    assert line == (
        "Progress: blocks=100 headers=1000 progress=0.200000 tx/s=3 blocks/s=1.0 peers=3 cache=1.0MiB(7txo)"
        " eta=1 min 0 s"
    )


def drawn(snapshot: Snapshot, *lines: str) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render(snapshot, Rates(), lines))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_display() -> None:
    text = drawn(replace(START, status="Loading block index…"), "a [red]line", "b" * 500)
    for part in ("btcnode regtest", "Loading block index…", "20.00 %", "99.01 %", "a [red]line"):
        assert part in text
    assert "b" * 101 not in text and "Time left" not in text


def test_before_the_chain_is_loaded_no_figure_is_shown() -> None:
    text = drawn(Snapshot("regtest", NOW, "Loading block index…", loaded=False), "a line")
    assert "Loading block index…" in text and "a line" in text and "Blocks" not in text


SYNCED = replace(START, state="synced", progress=1.0, tip_time=NOW - 600, peers_out=1)


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (SYNCED, "in sync"),
        (replace(SYNCED, peers_out=0), "waits for peers"),
        (replace(SYNCED, peers_out=0, peers_in=1), "in sync"),
        (replace(SYNCED, tip_time=NOW - 86_400), "has all blocks that its peers know"),
        (replace(SYNCED, state="blocks"), "fetches and checks blocks"),
        (replace(SYNCED, state="import"), "imports blocks from files"),
        (replace(SYNCED, state="stalled"), "stalled"),
        (replace(SYNCED, status="stops: ..."), "stops: ..."),
    ],
)
def test_in_sync_is_said_when_it_is_true(snapshot: Snapshot, said: str) -> None:
    text = drawn(snapshot)
    assert said in text
    assert ("in sync" in text) is (said == "in sync")


def test_every_state_has_words() -> None:
    assert set(STATES) == {state.value for state in SyncState}


def test_without_peers_there_is_advice() -> None:
    assert "Try this." in drawn(replace(START, advice="Try this."))


def test_live_display_draws_and_ends() -> None:
    output = io.StringIO()

    async def run() -> None:
        console = Console(file=output, width=100, force_terminal=True)
        task = asyncio.create_task(show_live(lambda: START, ["x"], console))
        await until(lambda: "btcnode" in output.getvalue())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_log_lines_appear_while_something_changes(caplog: pytest.LogCaptureFixture) -> None:
    state, looks = [START], 0

    def look() -> Snapshot:
        nonlocal looks
        looks += 1
        return state[0]

    async def several_lines() -> int:
        """Let so many looks pass that lines were due three times; returns how many there are."""
        enough = looks + 3 * SAMPLES + 1
        await until(lambda: looks >= enough)
        return len(caplog.records)

    async def run() -> None:
        task = asyncio.create_task(log_progress(look, interval=0.02))
        first = await several_lines()
        state[0] = replace(START, blocks=101)
        assert (first, await several_lines()) == (1, 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with caplog.at_level("INFO", "btcnode.validation"):
        asyncio.run(run())
