"""A short run of ``scripts/fuzz/swiftsync.py``: hintsfiles and spent coins, good and bent."""

from __future__ import annotations

from tests.lib.swift_fuzz import fuzz


def test_bytes_of_strangers_are_read_or_refused() -> None:
    seen = fuzz(400, 1)
    assert min(seen[what] for what in ("hints read", "hints refused", "spent coins read", "spent coins refused")) > 20
