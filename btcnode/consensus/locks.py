"""Lock times: absolute (nLockTime) and relative (BIP68)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from btcnode.primitives.tx import SEQUENCE_FINAL

LOCKTIME_THRESHOLD = 500_000_000  # a lock time below is a height, else Unix seconds
SEQUENCE_DISABLE_FLAG = 1 << 31  # the sequence number is no relative lock
SEQUENCE_TYPE_FLAG = 1 << 22  # relative to the coin's median time past, else to its height
SEQUENCE_MASK = 0xFFFF
SEQUENCE_GRANULARITY = 9  # time locks count in units of 512 seconds
MIN_BIP68_VERSION = 2  # compared unsigned: versions that look negative have relative locks too (CVE-2024-34478)


def is_final(lock_time: int, sequences: Sequence[int], height: int, time: int) -> bool:
    """Whether a transaction may be in a block of ``height`` with the lock-time cutoff ``time`` (Unix seconds).

    The cutoff is the median time past of the block's parent from BIP113 on, the block's own timestamp before.
    """
    if lock_time == 0 or lock_time < (height if lock_time < LOCKTIME_THRESHOLD else time):
        return True
    return all(sequence == SEQUENCE_FINAL for sequence in sequences)


def sequence_locks(
    version: int, sequences: Sequence[int], coin_heights: Sequence[int], mtp_at: Callable[[int], int]
) -> tuple[int, int]:
    """BIP68: the last height and the last median time at which the transaction is still locked (-1 for none).

    ``coin_heights`` are the heights that the spent coins were created at, ``mtp_at(height)`` the median time past
    of the ancestor there.
    """
    min_height = min_time = -1
    if version < MIN_BIP68_VERSION:
        return min_height, min_time
    for sequence, coin_height in zip(sequences, coin_heights, strict=True):
        if sequence & SEQUENCE_DISABLE_FLAG:
            continue
        delay = sequence & SEQUENCE_MASK
        if sequence & SEQUENCE_TYPE_FLAG:
            coin_time = mtp_at(max(coin_height - 1, 0))
            min_time = max(min_time, coin_time + (delay << SEQUENCE_GRANULARITY) - 1)
        else:
            min_height = max(min_height, coin_height + delay - 1)
    return min_height, min_time


def sequence_locks_met(locks: tuple[int, int], height: int, prev_mtp: int) -> bool:
    """Whether a block at ``height``, whose parent's median time past is ``prev_mtp``, is behind both locks."""
    return locks[0] < height and locks[1] < prev_mtp
