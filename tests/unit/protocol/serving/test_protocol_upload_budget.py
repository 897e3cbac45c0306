from __future__ import annotations

import pytest

from btcnode.errors import ConfigError
from btcnode.protocol.serving.upload_budget import BLOCK_RESERVE, UploadBudget
from tests.lib.settings import settings_of

DAY = 24 * 3600


def test_without_a_target_there_is_no_limit() -> None:
    budget = UploadBudget(0)
    budget.record(10**12, 100)
    assert not budget.reached(100, historical=True)
    assert (budget.bytes_left(), budget.time_left(100)) == (0, 0)


def test_old_blocks_leave_a_reserve_for_new_ones() -> None:
    budget = UploadBudget(800 * 2**20)
    assert budget.time_left(1000) == DAY
    budget.record(2**20, 1000)
    assert not budget.reached(1000, historical=True)
    budget.record(800 * 2**20 - 144 * BLOCK_RESERVE - 2**20, 1000)
    assert budget.reached(1000, historical=True)
    assert not budget.reached(1000, historical=False)
    assert budget.bytes_left() == 144 * BLOCK_RESERVE
    assert not budget.reached(1000 + DAY // 2, historical=True)  # half the reserve is free by then
    budget.record(144 * BLOCK_RESERVE, 2000)
    assert budget.reached(2000, historical=False)
    assert budget.bytes_left() == 0


def test_a_new_cycle_begins_with_the_next_block() -> None:
    budget = UploadBudget(1000)
    budget.record(1000, 0)
    assert budget.reached(DAY, historical=False)
    assert budget.time_left(DAY + 5) == 0
    budget.record(1, DAY + 1)
    assert budget.bytes_left() == 999
    assert budget.time_left(DAY + 1) == DAY


def test_a_clock_that_was_set_back_does_not_make_a_cycle_longer() -> None:
    budget = UploadBudget(1000)
    budget.record(1000, 400 * DAY)
    assert budget.reached(400 * DAY, historical=False)
    assert not budget.reached(30 * DAY, historical=False)
    budget.record(1000, 30 * DAY)
    assert budget.reached(30 * DAY, historical=False)
    assert budget.time_left(30 * DAY) == DAY


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("5", 5 << 20), ("7k", 7000), ("2K", 2048), ("1g", 10**9)])
def test_units(text: str, value: int) -> None:
    assert settings_of(network="regtest", maxuploadtarget=text).connections.maxuploadtarget_bytes == value


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "12x", "9" * 30])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Unable to parse -maxuploadtarget"):
        settings_of(network="regtest", maxuploadtarget=text)
