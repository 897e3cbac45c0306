"""Times as the log writes them."""

from __future__ import annotations

from time import gmtime


def iso_time(seconds: int) -> str:
    """``2009-01-03T18:15:05Z``."""
    year, month, day, hour, minute, second, *_ = gmtime(seconds)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
