from __future__ import annotations

import pytest

from btcnode.consensus.locks import (
    LOCKTIME_THRESHOLD,
    SEQUENCE_DISABLE_FLAG,
    SEQUENCE_TYPE_FLAG,
    is_final,
    sequence_locks,
    sequence_locks_met,
)

FINAL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("lock", "sequences", "height", "time", "final"),
    [
        (0, [0], 0, 0, True),
        (99, [0], 100, 0, True),
        (100, [0], 100, 2**32, False),
        (100, [FINAL], 100, 0, True),
        (100, [FINAL, FINAL - 1], 100, 0, False),
        (LOCKTIME_THRESHOLD - 1, [0], LOCKTIME_THRESHOLD, 0, True),
        (LOCKTIME_THRESHOLD, [0], 2**31 - 1, LOCKTIME_THRESHOLD, False),
        (LOCKTIME_THRESHOLD, [0], 0, LOCKTIME_THRESHOLD + 1, True),
        (FINAL, [0], 2**31 - 1, FINAL, False),
    ],
)
def test_finality(lock: int, sequences: list[int], height: int, time: int, final: bool) -> None:
    assert is_final(lock, sequences, height, time) is final


def no_times(height: int) -> int:
    raise AssertionError(f"median time past of {height} is not needed")


@pytest.mark.parametrize("version", [0, 1])
def test_old_versions_have_no_relative_locks(version: int) -> None:
    assert sequence_locks(version, [100], [50], no_times) == (-1, -1)


@pytest.mark.parametrize("version", [2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_cve_2024_34478_versions_are_unsigned(version: int) -> None:
    assert sequence_locks(version, [100], [50], no_times) == (149, -1)


def test_heights_and_times() -> None:
    asked = []

    def mtp_at(height: int) -> int:
        asked.append(height)
        return 1_000_000 + height

    sequences = [SEQUENCE_DISABLE_FLAG | 0xFFFF, 10, SEQUENCE_TYPE_FLAG | 3, SEQUENCE_TYPE_FLAG | 0xFF0001, 0xF0002]
    locks = sequence_locks(2, sequences, [900, 100, 200, 0, 101], mtp_at)
    assert asked == [199, 0]
    assert locks == (109, max(1_000_199 + 3 * 512 - 1, 1_000_000 + 512 - 1))


def test_when_locks_are_met() -> None:
    locks = (109, 5000)
    assert sequence_locks_met(locks, 110, 5001)
    assert not sequence_locks_met(locks, 109, 5001)
    assert not sequence_locks_met(locks, 110, 5000)
    assert sequence_locks_met((-1, -1), 0, 0)
