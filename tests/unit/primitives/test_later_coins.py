"""Coins that are listed when somebody looks."""

from __future__ import annotations

import threading

import pytest

from btcnode.primitives.later_coins import LaterCoins, all_of

COINS = {bytes([n]) * 32 + bytes(4): b"coin %d" % n for n in range(3)}
OTHER = b"\x09" * 36


def test_they_are_listed_once_and_only_for_who_may_mean_them() -> None:
    calls: list[int] = []

    def make() -> dict[bytes, bytes]:
        calls.append(1)
        return COINS.copy()

    later = LaterCoins(3, {outpoint[:32] for outpoint in COINS}, make)
    assert len(later) == 3 and OTHER not in later and later.get(OTHER) is None
    with pytest.raises(KeyError):
        later[OTHER]
    assert calls == []
    first = next(iter(COINS))
    assert later.get(first) == COINS[first] and first[:32] + b"\x01" * 4 not in later
    assert later == COINS == later and list(later) == list(COINS)
    assert all_of(later) is all_of(later) and all_of(later) == COINS
    assert calls == [1]


def test_two_may_look_at_the_same_time() -> None:
    first = next(iter(COINS))
    seen: list[bytes | None] = []
    begun: list[int] = []

    def make() -> dict[bytes, bytes]:
        if not begun:
            begun.append(1)
            other = threading.Thread(target=lambda: seen.append(later.get(first)))
            other.start()
            other.join()
        return COINS.copy()

    later = LaterCoins(3, {first[:32]}, make)
    assert later.get(first) == COINS[first] and seen == [COINS[first]]


def test_other_coins_are_taken_as_they_are() -> None:
    assert all_of(COINS) is COINS
