"""The limit of what one place in the source writes to the log file."""

from __future__ import annotations

import logging

import pytest

from btcnode.observe.log_limit import UNLIMITED, WINDOW_BYTES, WINDOW_SECONDS, RateLimit


def record(line: int, text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("btcnode.net", level, "/src/a.py", line, text, (), None, "f")


def test_each_place_has_its_own_hour(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    big = "x" * (WINDOW_BYTES // 2)
    assert [limit.filter(record(1, big)) for _ in range(4)] == [True, True, False, False]
    assert sum("Excessive logging detected from a.py:1 (f)" in line for line in caplog.messages) == 1
    assert limit.filter(record(2, big))
    assert limit.filter(record(1, big, logging.DEBUG))
    free = record(1, big)
    vars(free).update(UNLIMITED)
    assert limit.filter(free)
    now[0] = WINDOW_SECONDS
    assert limit.filter(record(1, "again"))
