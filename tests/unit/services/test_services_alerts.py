"""Warnings: which stand, in which order, and who is told."""

from __future__ import annotations

from btcnode.protocol.connections.time_offsets import MAX_OFFSETS, MIN_OFFSETS, TimeOffsets
from btcnode.services.alerts import Alert, Alerts


def test_one_warning_of_each_kind_in_order() -> None:
    told: list[str] = []
    alerts = Alerts(told.append)
    assert alerts.raise_alert(Alert.CLOCK, "clock")
    assert alerts.raise_alert(Alert.INVALID_CHAIN, "fork")
    assert alerts.raise_alert(Alert.UNKNOWN_RULES, "bit 1")
    assert not alerts.raise_alert(Alert.UNKNOWN_RULES, "bit 2")
    assert alerts.warnings() == ["bit 1", "fork", "clock"]
    assert told == ["fork", "bit 1"]
    alerts.lower_alert(Alert.INVALID_CHAIN)
    alerts.lower_alert(Alert.INVALID_CHAIN)
    assert alerts.warnings() == ["bit 1", "clock"]
    assert alerts.raise_alert(Alert.INVALID_CHAIN, "fork again")
    assert told[-1] == "fork again"


def test_offsets_need_a_few_samples_and_forget_the_oldest() -> None:
    offsets = TimeOffsets()
    for _ in range(MIN_OFFSETS - 1):
        offsets.add(5000)
    assert offsets.median() == 0
    offsets.add(-1)
    assert offsets.median() == 5000
    for _ in range(MAX_OFFSETS // 2 + 3):
        offsets.add(2)
    assert offsets.median() == 2
    for _ in range(MAX_OFFSETS):
        offsets.add(7)
    assert offsets.median() == 7
