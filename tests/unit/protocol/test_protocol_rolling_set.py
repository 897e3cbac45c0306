"""The set of what was confirmed lately."""

from __future__ import annotations

from btcnode.protocol.rolling_set import RollingSet


def test_the_last_ones_stay_and_old_ones_go() -> None:
    seen = RollingSet(10)
    items = [n.to_bytes(2, "big") for n in range(100)]
    for at in range(0, 100, 5):
        seen.add(items[at : at + 5])
        assert all(item in seen for item in items[max(0, at - 5) : at + 5])
    assert sum(item in seen for item in items) <= 20
    assert items[0] not in seen
    seen.clear()
    assert not any(item in seen for item in items)


def test_a_batch_may_be_larger_than_a_generation() -> None:
    seen = RollingSet(3)
    seen.add([bytes([n]) for n in range(50)])
    assert all(bytes([n]) in seen for n in range(50))
