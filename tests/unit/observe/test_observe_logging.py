"""Log lines, categories, files."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from btcnode.errors import ConfigError
from btcnode.observe.logging import (
    MAX_TEXT,
    MAX_WAITING,
    WAIT_SHARE,
    WAITS_S,
    LineFormatter,
    LogSetup,
    LogStream,
    RecentLines,
    shrink_log,
)
from btcnode.side_thread import SideThread
from tests.lib.settings import settings_of


@pytest.fixture
def set_up(tmp_path: Path) -> Iterator[Any]:
    setups: list[LogSetup] = []

    def make(console: TextIO | None = None, recent: RecentLines | None = None, **options: Any) -> LogSetup:
        settings = settings_of(network="regtest", datadir=tmp_path, **options)
        setups.append(LogSetup(settings, console=console, recent=recent))
        return setups[-1]

    yield make
    for setup in setups:
        setup.close()


def test_lines(set_up: Any, tmp_path: Path) -> None:
    console, recent = io.StringIO(), RecentLines(2)
    setup = set_up(console, recent, debug=("net",))
    logging.getLogger("btcnode.net").debug("hello %d", 5)
    logging.getLogger("btcnode.rpc").debug("not wanted")
    logging.getLogger("btcnode.node").info("plain")
    logging.getLogger("btcnode.node").warning("careful")
    logging.getLogger("btcnode.net").error("peer says 'a\r\x1b[0mb\x00'")
    setup.flush()
    text = (tmp_path / "regtest" / "debug.log").read_text()
    assert text == console.getvalue()
    found = [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in text.splitlines()]
    assert found == ["[net] hello 5", "plain", "[warning] careful", "[error] peer says 'a\\x0d\\x1b[0mb\\x00'"]
    assert len(recent.lines) == 2


def test_no_line_is_longer_than_a_client_should_make_it() -> None:
    assert LineFormatter(stamps=False).format(_record("x" * MAX_TEXT)) == "x" * MAX_TEXT
    line = LineFormatter(stamps=False).format(_record("x" * (MAX_TEXT + 1)))
    assert line == "x" * MAX_TEXT + f"... ({MAX_TEXT + 1} characters)"


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("btcnode", logging.INFO, "", 1, "%s", (text,), None)


def test_time_is_utc_with_micros_on_request(set_up: Any, tmp_path: Path) -> None:
    setup = set_up(logtimemicros=True)
    record = logging.LogRecord("btcnode.node", logging.INFO, "", 0, "x", (), None)
    record.created = 1_700_000_000.25
    logging.getLogger("btcnode").handle(record)
    setup.flush()
    assert (tmp_path / "regtest" / "debug.log").read_text() == "2023-11-14T22:13:20.250000Z x\n"


def test_traceback_goes_with_the_line(set_up: Any, tmp_path: Path) -> None:
    setup = set_up()
    try:
        raise ValueError("why")
    except ValueError as error:
        logging.getLogger("btcnode.node").error("failed", exc_info=error)
    setup.flush()
    text = (tmp_path / "regtest" / "debug.log").read_text()
    assert "[error] failed\nTraceback" in text
    assert text.endswith("ValueError: why\n")


def test_no_file(set_up: Any, tmp_path: Path) -> None:
    set_up(debuglogfile=False)
    logging.getLogger("btcnode.node").info("x")
    assert not (tmp_path / "regtest").exists()


def test_reopen_follows_a_rotation(set_up: Any, tmp_path: Path) -> None:
    setup = set_up()
    path = tmp_path / "regtest" / "debug.log"
    logging.getLogger("btcnode.node").info("one")
    path.rename(path.with_suffix(".1"))
    setup.reopen()
    logging.getLogger("btcnode.node").info("two")
    setup.flush()
    assert path.read_text().endswith(" two\n")
    assert path.with_suffix(".1").read_text().endswith(" one\n")


def test_what_a_full_disk_or_a_lost_console_does_not_take_is_lost(
    set_up: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    console = Path("/dev/full").open("w")  # noqa: SIM115  # closed below
    setup = set_up(console=console, debuglogfile="/dev/full")
    for n in range(2000):
        logging.getLogger("btcnode.net").info("line %d of some length", n)
    setup.flush()
    with pytest.raises(OSError):
        console.close()
    logging.getLogger("btcnode.net").info("a line for a console that is closed")
    setup.close()
    assert capfd.readouterr() == ("", "")


class StandsStill(io.StringIO):
    """A terminal whose user has stopped it, until ``go_on``."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def write(self, text: str, /) -> int:
        self.asked.set()
        self.go_on.wait()
        return super().write(text)


def behind(setup: LogSetup) -> Awaitable[None]:
    """What is to be awaited: the log has not got all."""
    waits = setup.behind()
    assert waits is not None
    return waits


def stand_still(set_up: Any) -> tuple[LogSetup, StandsStill]:
    """Logging to a stream that takes nothing, which is known by now."""
    console = StandsStill()
    setup = set_up(console, debuglogfile=False, logtimestamps=False)
    logging.getLogger("btcnode.net").info("line 0")
    console.asked.wait()
    return setup, console


def test_many_lines_at_once_are_not_all_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait is a turn of another thread: where processors are busy that is milliseconds for the loop."""
    now = [100.0]
    waits: list[float] = []

    def wait(thread: SideThread, seconds: float) -> bool:
        waits.append(now[0])
        now[0] += 0.003
        return True

    monkeypatch.setattr(SideThread, "wait", wait)
    out = io.StringIO()
    stream = LogStream(out, lambda: now[0])
    record = logging.LogRecord("btcnode.x", logging.INFO, __file__, 0, "paid", (), None)
    for _ in range(300):
        stream.emit(record)
    few = len(waits)
    assert WAITS_S / 0.003 <= few <= 2 * WAITS_S / 0.003
    now[0] += WAITS_S / WAIT_SHARE
    stream.emit(record)
    assert len(waits) == few + 1, "a line that comes alone is"
    for _ in range(100):  # a line a tenth of a second
        now[0] += 0.1
        stream.emit(record)
    assert len(waits) == few + 101
    monkeypatch.undo()
    stream.close()
    assert out.getvalue() == "paid\n" * 401


def test_a_start_that_hurries_waits_for_warnings_alone(set_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    wait = SideThread.wait

    def seen(thread: SideThread, seconds: float) -> bool:
        waits.append(console.getvalue())
        return wait(thread, 60.0)

    monkeypatch.setattr(SideThread, "wait", seen)
    console, log = io.StringIO(), logging.getLogger("btcnode.node")
    setup = set_up(console, debuglogfile=False, logtimestamps=False)
    setup.hurry()
    log.info("one")
    log.info("two")
    assert not waits
    log.warning("three")
    assert (len(waits), console.getvalue()) == (1, "one\ntwo\n[warning] three\n")
    log.info("four")
    assert len(waits) == 1
    setup.take_time()
    assert (len(waits), console.getvalue()[-5:]) == (2, "four\n")
    log.info("five")
    assert (len(waits), console.getvalue()[-5:]) == (3, "five\n")
    setup.take_time()
    assert len(waits) == 3


def test_a_stream_that_stands_still_keeps_nobody_waiting_and_loses_nothing(set_up: Any) -> None:
    setup, console = stand_still(set_up)  # whoever waits for the stream does not come back from here
    lines = [f"line {n}" for n in range(1_000)]
    for line in lines[1:]:
        logging.getLogger("btcnode.net").info("%s", line)
    console.go_on.set()
    setup.flush()
    assert console.getvalue().splitlines() == lines


def test_lines_that_were_not_waited_for_are_there_when_the_log_is_settled(
    set_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("btcnode.observe.logging.ANSWER_PATIENCE_S", 60.0)
    console = StandsStill()
    setup = set_up(console, logtimestamps=False)

    async def work() -> None:
        assert setup.behind() is None  # nothing was logged
        logging.getLogger("btcnode.net").info("of a block", extra={"unlimited": True})
        settled = asyncio.ensure_future(behind(setup))
        await asyncio.sleep(0.01)
        assert not settled.done()
        console.go_on.set()
        await settled
        assert console.getvalue() == "of a block\n"

    asyncio.run(work())


def test_answers_wait_for_a_stream_that_who_logs_does_not_wait_for_any_more(
    set_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that had no turn for a tenth of a second, as processors are busy, is soon there."""
    monkeypatch.setattr("btcnode.observe.logging.ANSWER_PATIENCE_S", 60.0)
    setup, console = stand_still(set_up)

    async def work() -> None:
        waits = behind(setup)
        console.go_on.set()
        await waits
        assert console.getvalue() == "line 0\n"

    asyncio.run(work())


def test_a_stream_that_stands_still_is_not_waited_for_again(set_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.observe.logging.ANSWER_PATIENCE_S", 0.01)
    console = StandsStill()
    setup = set_up(console, logtimestamps=False)

    async def work() -> None:
        logging.getLogger("btcnode.net").info("of a block", extra={"unlimited": True})
        await behind(setup)
        assert setup.behind() is None

    asyncio.run(work())
    assert console.getvalue() == ""
    console.go_on.set()


def test_a_loop_that_ended_while_the_log_was_awaited_does_not_end_the_log(
    set_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = StandsStill()
    setup = set_up(console, logtimestamps=False)

    async def work() -> None:
        logging.getLogger("btcnode.net").info("one", extra={"unlimited": True})
        await behind(setup)

    monkeypatch.setattr("btcnode.observe.logging.ANSWER_PATIENCE_S", 0.01)
    asyncio.run(work())
    console.go_on.set()
    logging.getLogger("btcnode.net").info("two", extra={"unlimited": True})
    setup.flush()
    assert console.getvalue() == "one\ntwo\n"


def test_what_waits_for_a_stream_is_bounded(set_up: Any) -> None:
    setup, console = stand_still(set_up)
    kept = MAX_WAITING // (MAX_TEXT + 1)
    for _ in range(kept + 30):
        logging.getLogger("btcnode.net").info("x" * MAX_TEXT)
    console.go_on.set()
    setup.flush()
    lines = console.getvalue().splitlines()
    assert lines[0] == "line 0" and lines[-1].startswith("[warning] ") and " lines are missing here" in lines[-1]
    missing = int(lines[-1].removeprefix("[warning] ").split()[0])
    assert len(lines) - 2 + missing == kept + 30 and missing >= 30
    assert len(console.getvalue()) <= MAX_WAITING + MAX_TEXT + 200
    logging.getLogger("btcnode.net").info("again")
    setup.flush()
    assert console.getvalue().endswith("\nagain\n")


def test_half_of_a_pair_does_not_end_the_log(set_up: Any, tmp_path: Path) -> None:
    console = (tmp_path / "console").open("w", encoding="utf-8")
    setup = set_up(console, logtimestamps=False)
    logging.getLogger("btcnode.rpc").info("a \ud800 b")
    logging.getLogger("btcnode.rpc").info("c")
    setup.flush()
    assert (tmp_path / "console").read_text() == (tmp_path / "regtest/debug.log").read_text() == "a \\ud800 b\nc\n"
    console.close()


def test_a_mistake_in_a_log_call_is_told(set_up: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_up(logratelimit=False)
    logging.getLogger("btcnode.net").info("no room for %s", 1, 2)  # noqa: PLE1205
    assert "not all arguments converted" in capfd.readouterr().err


def test_a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file(set_up: Any, tmp_path: Path) -> None:
    setup = set_up()
    path = tmp_path / "regtest/debug.log"
    old = path.rename(path.with_name("old.log"))
    path.mkdir()
    setup.reopen()
    logging.getLogger("btcnode.net").info("still here")
    setup.flush()
    ends = [f"Could not open debug log file {path}", "still here"]
    assert all(any(line.endswith(end) for line in old.read_text().splitlines()) for end in ends)


def test_a_large_log_is_cut_at_a_line(tmp_path: Path) -> None:
    path = tmp_path / "debug.log"
    path.write_bytes(b"".join(b"%09d\n" % n for n in range(1_200_000)))
    shrink_log(path)
    text = path.read_bytes()
    assert 9_999_000 < len(text) <= 10_000_000
    assert text.startswith(b"0200001\n") or re.match(rb"\d{9}\n", text)
    assert text.endswith(b"001199999\n")
    before = path.stat().st_size
    shrink_log(path)
    assert path.stat().st_size == before


def test_a_log_that_cannot_be_written_is_one_line(set_up: Any, tmp_path: Path) -> None:
    (tmp_path / "regtest").write_text("")
    with pytest.raises(ConfigError, match="Could not open debug log file"):
        set_up()
